#!/usr/bin/env python3
"""Draws the pictures of docs/page.md: a real service with a page, generated patches, a camera, reviews and a made-up day.

tests/harness/page_pictures.py docs/page
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from browsers import Browsers, Code
from limiar.edge_app.image.read import decode
from limiar.edge_app.install.install import install
from limiar.edge_app.page.history import EVERY_S, FILE, SAMPLES, Sample
from limiar.edge_app.results.review import review
from limiar.edge_app.store.reader import Entry, Filter, Reader
from limiar.train.data.phantoms import phantoms
from network_camera import NetworkCamera, Pixels
from page_device import PageDevice
from ports import free_port

REFERENCE = Path(__file__).resolve().parents[2] / "models" / "lung-nodule"
MOST_BYTES = 200_000  # of a picture
SCALE = 1.5  # pixels of a picture for one of the page
PATCHES = 330
EARLIER = 312  # of the patches: at once; the others come one by one
REVIEWED = 48
PEOPLE = ("Ana Souza", "Rui Lima", "Ana Souza")
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include>/etc/fonts/fonts.conf</include>
<alias binding="strong"><family>DejaVu Sans</family><prefer><family>Inter</family></prefer></alias></fontconfig>"""
DRAWN = "() => [...document.images].every(one => one.complete || one.getBoundingClientRect().top > innerHeight)"
SIDE = 50  # px, of a patch

# name, path, width and height of the window in px (None: the whole page), language, dark, on the wall
SHOTS: tuple[tuple[str, str, int, int | None, Code, bool, bool], ...] = (
    ("live", "/", 1280, 1000, "en", False, False),
    ("live-wall", "/", 1920, 1080, "en", True, True),
    ("live-phone", "/", 390, 844, "pt", False, False),
    ("results", "/results", 1280, 900, "en", False, False),
    ("result", "/results/{pos}", 1280, None, "en", False, False),
    ("review", "/review", 1280, 820, "en", False, False),
    ("review-phone", "/review", 390, 844, "pt", True, False),
    ("health", "/health", 1280, 1250, "en", True, False),
    ("bundle", "/bundle", 1280, 1250, "en", False, False),
)


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="limiar-") as name, NetworkCamera(passing(), rate_hz=10) as camera:
        folder = Path(name)
        (folder / "fonts.conf").write_text(FONTS)  # as on systems with a screen, if it is here
        os.environ["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
        more = f"""name = "ct-room"
[[camera]]
name = "viewing-box"
source = "{camera.address}"
roi = [{SIDE}, 20, {SIDE}, {SIDE}]
keep = "png"
every_s = 20
[update]
good_after = 1
"""
        device = PageDevice(folder, REFERENCE, more=more, patches=PATCHES)
        install(device.state, device.packed(2, device.key))
        with device, Browsers() as browsers:
            device.ready()
            live_in(device)
            look_back(device)
            for patch in device.patches[EARLIER:]:
                device.answer([patch])
                time.sleep(1.0)
            with wall(device.state) as wall_url:
                shoot(browsers, device, wall_url, out)


def passing() -> Callable[[int], Pixels]:
    """What a camera over a viewing box sees: patches that go by."""
    strip = np.hstack([decode(data).pixels() for _, data in phantoms(12, seed=1)]).astype(int)

    def seen(number: int) -> Pixels:
        at = number // 5 % (strip.shape[1] - 3 * SIDE)
        picture = np.full((96, 160, 3), 60)
        picture[20 : 20 + SIDE, : 3 * SIDE] = strip[:, at : at + 3 * SIDE]
        noisy = picture + np.random.default_rng(number).normal(0, 1.0, picture.shape)
        return noisy.round().clip(0, 255).astype(np.uint8)

    return seen


def look_back(device: PageDevice) -> None:
    """Gives the page a day to look back on, made up, and two samples of its own after it."""
    free = shutil.disk_usage(device.state).free
    (page,) = (pid for pid in device.children() if b"page" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    (device.state / FILE).write_bytes(msgspec.json.encode(day(time.time(), free)))
    os.kill(page, signal.SIGKILL)  # otherwise it would write what it knows
    time.sleep(EVERY_S + 5)
    device.ready()


def day(now: float, free: int) -> list[Sample]:
    """A day of a device in a clinic; now: seconds since 1970; free: bytes at its end."""
    rng = np.random.default_rng(0)
    samples = []
    for k in range(SAMPLES - 1, 0, -1):
        busy = max(0.02, math.sin((SAMPLES - k) / SAMPLES * 1.6 * math.pi - 0.5 * math.pi)) ** 0.7
        samples.append(
            Sample(
                time_s=round(now - k * EVERY_S),
                answers=float(rng.poisson(22 * busy)),
                referred=round(0.26 + 0.03 * math.sin(k / 170) + float(rng.normal(0, 0.004)), 4),
                queue=float(rng.poisson(0.4 * busy)),
                memory=round(172e6 + 3e6 * busy + float(rng.normal(0, 3e5))),
                free=free + k * 40_000,
            )
        )
    return samples


def live_in(device: PageDevice) -> None:
    """What a device has after a while: answers, files that are none, reviews."""
    device.answer(device.patches[:EARLIER])
    device.put("scan-cut.png", device.patches[0].read_bytes()[:400])
    device.wait(device.quarantined)
    with Reader(device.db) as reader:
        referred = list(reader.entries(Filter(kinds=("file",), decision="refer"), limit=REVIEWED // 2))
        others = list(reader.entries(Filter(kinds=("file",), confidence=(0.96, 1.0)), limit=REVIEWED // 2))
    for k, entry in enumerate(sorted(referred + others, key=lambda one: one.id)):
        truth = true_label(entry)
        why = "" if truth == entry.label else "small, at the edge of the vessel"
        review(device.db, entry.id, None if truth == entry.label else truth, PEOPLE[k % len(PEOPLE)], why)


def true_label(entry: Entry) -> str:
    """That of a phantom, from its name."""
    return os.fsdecode(entry.path or b"").removesuffix(".png").rpartition("_")[2]


@contextmanager
def wall(state: Path) -> Iterator[str]:
    """The same page once more, for a wall screen."""
    port = free_port()
    command = [
        sys.executable,
        "-P",
        "-m",
        "limiar",
        "page",
        "--read-only",
        "--listen",
        f"127.0.0.1:{port}",
        "--state",
        str(state),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        process.stderr.readline()  # it is there
        yield f"http://127.0.0.1:{port}/"
        process.terminate()


def shoot(browsers: Browsers, device: PageDevice, wall_url: str, out: Path) -> None:
    """Takes all pictures."""
    with Reader(device.db) as reader:
        pos = next(reader.entries(Filter(kinds=("file",), decision="pos", reviewed=True), newest=True, limit=1)).id
    for name, path, width, height, code, dark, on_wall in SHOTS:
        seen: dict[str, Any] = {"width": width, "height": height or 900, "dark": dark, "device_scale_factor": SCALE}
        with browsers.person(wall_url if on_wall else device.url, code, **seen, reduced_motion="reduce") as person:
            person.goes(path.format(pos=pos))
            person.page.wait_for_function(DRAWN)
            picture = person.page.screenshot(full_page=height is None)
        if person.faults or person.refusals:
            sys.exit(f"{path}: {person.faults} {person.refusals}")
        (out / f"{name}.png").write_bytes(smaller(picture))


def smaller(picture: bytes) -> bytes:
    """The same with as many colours as fit into MOST_BYTES."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for drawn in (image, *(image.quantize(colours, kmeans=1, dither=Image.Dither.NONE) for colours in (256, 128, 64, 32))):
        file = io.BytesIO()
        drawn.save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    main()
