#!/usr/bin/env python3
"""Draws the pictures of docs/phone.md: the reference bundle's page in Chromium, with generated patches.

tests/harness/phone_pictures.py docs/phone
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from browsers import Browsers, Code
from limiar.edge_app.phone.phone import phone
from limiar.train.data.phantoms import phantoms
from page_pictures import smaller
from phone_modules import served

REFERENCE = Path(__file__).resolve().parents[2] / "models" / "lung-nodule"
PATCHES = 24
WIDTH, HEIGHT, SCALE = 390, 844, 1.5  # px of the window; pixels of a picture for one of the page

# name, view, language, dark
SHOTS: tuple[tuple[str, str, Code, bool], ...] = (
    ("answers", "", "en", False),
    ("answer", "answer/{last}", "en", False),
    ("model", "model", "pt", True),
)


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="limiar-") as name:
        folder = Path(name)
        phone(REFERENCE, folder / "page")
        files = chosen(folder)
        with served(("/", folder / "page")) as url, Browsers() as browsers:
            for shot, view, code, dark in SHOTS:
                (out / f"{shot}.png").write_bytes(smaller(shoot(browsers, url + "/", files, view, code, dark)))


def chosen(folder: Path) -> list[Path]:
    """What a person chooses: patches, and one that was cut."""
    files = []
    for at, (name, data) in enumerate(phantoms(PATCHES, seed=3)):
        path = folder / Path(name).name
        path.write_bytes(data[:400] if at == PATCHES - 3 else data)
        files.append(path)
    return files


def shoot(browsers: Browsers, url: str, files: list[Path], view: str, code: Code, dark: bool) -> bytes:
    """A PNG file of a view, once all files are answered."""
    seen: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "dark": dark,
        "device_scale_factor": SCALE,
        "reduced_motion": "reduce",
    }
    with browsers.person(url, code, **seen) as person:
        person.goes("index.html")
        person.page.wait_for_selector(".dock .primary:enabled")
        person.page.set_input_files("#choose-images", files)
        person.page.wait_for_selector(".notice.good")
        last = person.page.get_attribute(".row", "data-id")
        person.page.evaluate("view => { location.hash = view; }", f"/{view.format(last=last)}")
        person.page.wait_for_selector({"": ".row", "model": ".prose h3"}.get(view, ".one canvas"))
        person.page.evaluate("scrollTo(0, 0)")
        picture = person.page.screenshot()
        if person.faults or person.refusals:
            sys.exit(f"{view}: {person.faults} {person.refusals}")
        return picture


if __name__ == "__main__":
    main()
