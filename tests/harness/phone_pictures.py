#!/usr/bin/env python3
"""Draws the pictures of docs/phone.md: the page of the reference bundle in Chromium, with generated patches and a film of them.

tests/harness/phone_pictures.py docs/phone
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import limiar
from browsers import Browsers, Code, Person
from limiar.edge_app.image.read import decode
from limiar.train.data.phantoms import phantoms
from page_pictures import smaller
from phone_modules import served
from y4m import write_y4m

REFERENCE = Path(__file__).resolve().parents[2] / "models" / "lung-nodule"
SCALE = 1.5  # pixels of a picture for one of the page
PATCHES, FILMED = 24, 3  # patches that are chosen; which of them the camera sees
FRAMES, SIDE = 60, 480

# name, address in the page, width and height of the window in px, language, dark
SHOTS: tuple[tuple[str, str, int, int, Code, bool], ...] = (
    ("answers", "#/", 390, 844, "en", False),
    ("camera", "#/camera", 390, 844, "en", False),
    ("model", "#/model", 390, 844, "pt", True),
    ("desk", "answer", 1280, 900, "en", False),
)


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="limiar-") as name:
        folder = Path(name)
        limiar.phone(REFERENCE, folder / "page")
        patches = list(phantoms(PATCHES, seed=1))
        for file, data in patches:
            (folder / file).write_bytes(data)
        (folder / "cut.png").write_bytes(patches[0][1][:400])
        write_y4m(folder / "film.y4m", film(decode(patches[FILMED][1]).pixels()))
        flags = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={folder / 'film.y4m'}")
        chosen = [folder / file for file, _ in patches] + [folder / "cut.png"]
        with Browsers(*flags) as browsers, served(("/", folder / "page")) as url:
            for shot in SHOTS:
                take(browsers, f"{url}/", chosen, shot, out)


def film(patch: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """A patch on a screen, as a camera sees it: larger than a model's input, with noise."""
    rng = np.random.default_rng(0)
    large = cv2.resize(patch, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(float)
    for _ in range(FRAMES):
        yield (large + rng.normal(0, 2.0, large.shape)).round().clip(0, 255).astype(np.uint8)


def take(browsers: Browsers, url: str, chosen: list[Path], shot: tuple[str, str, int, int, Code, bool], out: Path) -> None:
    """Takes one picture, as a person with a fresh browser gets there."""
    name, address, width, height, code, dark = shot
    seen: dict[str, Any] = {"width": width, "height": height, "dark": dark, "device_scale_factor": SCALE}
    with browsers.person(url, code, **seen, reduced_motion="reduce", permissions=["camera"]) as person:
        person.goes("")
        person.page.wait_for_selector("button.primary:enabled")
        if name == "camera":
            look_through(person)
        elif name == "model":
            person.goes(address)
            person.page.locator(".prose h3").first.wait_for()
        else:
            person.page.set_input_files("#choose-images", chosen)
            person.page.locator(".notice.good, .notice.warn").wait_for()
        if address == "answer":
            person.page.locator("ol.stream li.row a").nth(1).click()
            person.page.locator(".one canvas").nth(1).wait_for()  # the map
        picture = person.page.screenshot()
    if person.faults:
        sys.exit(f"{name}: {person.faults}")
    (out / f"{name}.png").write_bytes(smaller(picture))


def look_through(person: Person) -> None:
    """Starts the camera, and waits until its frames agree."""
    person.goes("#/camera")
    person.page.locator(".dock button.primary:enabled").click()
    person.page.locator(".live .dots .agrees").nth(4).wait_for()


if __name__ == "__main__":
    main()
