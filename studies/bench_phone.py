#!/usr/bin/env python3
"""How long does the page for phones take to its first answer, and an image, beside native LiteRT; and how large is it?

    studies/bench_phone.py [--bundle models/lung-nodule] [--rounds 5] [--megapixels 12] [--markdown]

Makes both forms of the page and opens them in headless Chromium: as a person sees it (from the address to the first answer in
the list, with the file chosen as soon as the page takes one), and its worker by itself, which is given the bundle's golden
images and one photograph, made up. The desktop's own code answers the same images by turns with the worker, so the ratio is
worth quoting also on a shared machine; the times are those of this machine, and no phone's.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import base64
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from playwright.sync_api import Page

PROJECT = Path(__file__).resolve().parents[1]
sys.path.append(str(PROJECT / "tests" / "harness"))

from browsers import Browsers, Person  # noqa: E402
from limiar.edge_app.bundle.open import open_bundle  # noqa: E402
from limiar.edge_app.image.read import decode  # noqa: E402
from limiar.edge_app.inference.classifier import Classifier  # noqa: E402
from limiar.edge_app.inference.session import Session  # noqa: E402
from limiar.edge_app.phone.phone import phone  # noqa: E402
from phone_modules import served  # noqa: E402

STAGES = ("decode", "resize", "infer")
QUALITY = 90  # of the photograph, as JPEG
NOISE = 12.0  # levels: the last bits of a sensor, which a file pays for
KINDS = {  # part of the page -> what its name begins with
    "LiteRT": ("vendor/litert.",),
    "decoders (JPEG, WebP)": ("vendor/jpeg.", "vendor/webp."),
    "scripts (the runtime's and the decoders' loaders with them)": ("app.js", "worker.js", "sw.js"),
    "words, licences, style, icons": (
        "words.json",
        "LICENSES.txt",
        "app.css",
        "icon",
        "manifest.webmanifest",
        "index.html",
        "page.json",
    ),
    "the bundle": ("bundle/",),
}
# The worker alone, as work.js talks to it.
_OPEN = """async () => {
  const page = await (await fetch("page.json")).text();
  globalThis.worker = new Worker("worker.js");
  globalThis.ask = message => new Promise((resolve, reject) => {
    worker.onmessage = ({data}) => data.ok ? resolve(data) : reject(new Error(data.message));
    worker.onerror = event => reject(new Error(event.message));
    worker.postMessage({id: 1, ...message});
  });
  const given = Object.keys(JSON.parse(page).parts).filter(name => /^(bundle|vendor)\\//.test(name));
  const read = async name => [name, new Uint8Array(await (await fetch(name)).arrayBuffer())];
  const parts = Object.fromEntries(await Promise.all(given.map(read)));
  return (await ask({kind: "start", page, parts})).started.ms;
}"""
_ANSWER = """async files => {
  const all = [];
  for (const {name, data} of files) {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    all.push((await ask({kind: "answer", bytes, name, map: false})).line);
  }
  return all;
}"""


class Opened(NamedTuple):
    """How long a person waits, in ms since the address was entered."""

    ready: float  # every check has passed
    answered: float  # the first answer is in the list


class Image(NamedTuple):
    """A file to answer."""

    name: str
    data: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=12.0, help="of the photograph")
    parser.add_argument("--markdown", action="store_true", help="print tables as docs/phone.md has them")
    asked = parser.parse_args()
    golden = sorted(path for path in (asked.bundle / "golden").iterdir() if path.suffix != ".json")
    with tempfile.TemporaryDirectory() as scratch, Browsers() as browsers:
        folder, file = Path(scratch, "folder"), Path(scratch, "page.html")
        phone(asked.bundle, folder)
        phone(asked.bundle, file)
        show = markdown if asked.markdown else plain
        show(("", "checked, s", "first answer, s"), opening(browsers, folder, file, golden[0], asked.rounds))
        groups = {
            f"{len(golden)} golden images": [Image(path.name, path.read_bytes()) for path in golden],
            f"a photograph, {asked.megapixels:g} megapixels": [photograph(asked.megapixels)],
        }
        head = ("ms an image", "decode", "resize", "infer", "all", "desktop", "ratio")
        show(head, answering(browsers, folder, asked.bundle, groups, asked.rounds))
        show(("part of the page", "bytes", "as gzip"), sizes(folder, file))


def opening(browsers: Browsers, folder: Path, file: Path, image: Path, rounds: int) -> Iterator[tuple[str, ...]]:
    """How long a person waits for the page."""
    first, again, whole = [], [], []
    for _ in range(rounds):
        with ExitStack() as server:
            url = server.enter_context(served(("/", folder)))
            with browsers.person(url) as person:
                first.append(opened(person.page, f"{url}/index.html", image))
                person.page.evaluate("async () => { await navigator.serviceWorker.ready }")
                server.close()
                again.append(opened(person.page.context.new_page(), f"{url}/index.html", image))
        with browsers.person(file.as_uri()) as person:
            whole.append(opened(person.page, file.as_uri(), image))
    waited = {"a folder, first visit": first, "again, without its server": again, "one file, from the disk": whole}
    for name, found in waited.items():
        yield name, *(f"{statistics.median(each) / 1000:.1f}" for each in zip(*found, strict=True))


def opened(page: Page, url: str, image: Path) -> Opened:
    """Opens the page and answers one image."""
    page.goto(url)
    page.wait_for_selector("button.primary:enabled")
    ready = now(page)
    page.set_input_files("#choose-images", image)
    page.wait_for_selector("ol.stream li.row")
    return Opened(ready, now(page))


def now(page: Page) -> float:
    """The page's own clock, ms since it was asked for."""
    return float(page.evaluate("performance.now()"))


def answering(
    browsers: Browsers, folder: Path, bundle: Path, groups: dict[str, list[Image]], rounds: int
) -> Iterator[tuple[str, ...]]:
    """What an image takes in the page's worker and in the desktop's code, by turns."""
    classifier, _ = Session(open_bundle(bundle)).load()
    with worker(browsers, folder) as in_the_page:
        for name, images in groups.items():
            pairs = [(in_the_page(images), natively(classifier, images)) for _ in range(rounds + 1)]
            pairs = pairs[1:]  # the first compiles, and fills caches
            stages = [statistics.median(page[at] for page, _ in pairs) for at in range(len(STAGES))]
            desktop = statistics.median(sum(other) for _, other in pairs)
            ratio = statistics.median(sum(page) / sum(other) for page, other in pairs)
            numbers = (*stages, sum(stages), desktop)
            yield name, *(f"{ms:.2f}" if ms < 10 else f"{ms:.0f}" for ms in numbers), f"{ratio:.1f}"


@contextmanager
def worker(browsers: Browsers, folder: Path) -> Iterator[Callable[[Sequence[Image]], list[float]]]:
    """A worker that has started: images -> mean ms of each stage."""
    with served(("/", folder)) as url, browsers.person(url) as person:
        started(person, url)

        def answered(images: Sequence[Image]) -> list[float]:
            files = [{"name": image.name, "data": base64.b64encode(image.data).decode()} for image in images]
            lines: list[dict[str, Any]] = person.page.evaluate(_ANSWER, files)
            refused = [line for line in lines if "ms" not in line]
            if refused:
                sys.exit(f"studies/bench_phone.py: {refused[0]}")
            return [statistics.fmean(line["ms"][stage] for line in lines) for stage in STAGES]

        yield answered


def started(person: Person, url: str) -> None:
    """A page with a worker of its own beside the page's, which is left alone."""
    person.page.goto(f"{url}/index.html")
    person.page.wait_for_selector("button.primary:enabled")
    person.page.evaluate(_OPEN)


def natively(classifier: Classifier, images: Sequence[Image]) -> list[float]:
    """Mean ms of each stage, with the map, as the page reads it each time."""
    found = []
    for image in images:
        began_s = time.perf_counter()
        picture = decode(image.data, image.name, classifier.input)
        answer, _ = classifier.explain(picture, time.perf_counter() - began_s)
        found.append(answer.ms)
    return [statistics.fmean(getattr(ms, stage) for ms in found) for stage in STAGES]


def photograph(megapixels: float) -> Image:
    """Smooth shapes with a sensor's noise, 4:3, as a colour JPEG."""
    rng = np.random.default_rng(0)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    shapes = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(shapes + rng.normal(0, NOISE, shapes.shape), 0, 255).astype(np.uint8)
    return Image("photograph.jpg", cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def sizes(folder: Path, file: Path) -> Iterator[tuple[str, ...]]:
    """Bytes by kind of part, as they lie there and as a server that packs would send them."""
    left = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    total = [0, 0]
    for kind, beginnings in KINDS.items():
        paths = [left.pop(name) for name in sorted(left) if name.startswith(beginnings)]
        stored, packed = (sum(map(count, paths)) for count in (stored_bytes, packed_bytes))
        total = [total[0] + stored, total[1] + packed]
        yield kind, f"{stored:,}", f"{packed:,}"
    if left:
        sys.exit(f"studies/bench_phone.py: parts of no kind: {sorted(left)}")
    yield "the folder", *(f"{count:,}" for count in total)
    yield "one file", f"{file.stat().st_size:,}", f"{packed_bytes(file):,}"


def stored_bytes(path: Path) -> int:
    return path.stat().st_size


def packed_bytes(path: Path) -> int:
    """What is packed already, or does not shrink, goes as it is."""
    data = path.read_bytes()
    return min(len(data), len(gzip.compress(data, 9)))


def markdown(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> None:
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def plain(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> None:
    for row in (head, *rows):
        print(f"{row[0]:60}{''.join(f'{cell:>16}' for cell in row[1:])}", flush=True)
    print()


if __name__ == "__main__":
    main()
