#!/usr/bin/env python3
"""What does `limiar scan` cost compared with a bare loop over the same files? Prints the table that the README quotes.

    studies/bench_scan.py [--bundle models/lung-nodule] [--images 30000] [--rounds 3] [--json FILE]

Everything is measured in one run: the variants take turns, each figure is the median of its rounds, and on a shared machine
only ratios are worth quoting. All images are generated, no two are equal, every scan gets a fresh database, and its inferences
are counted. Inference always has one thread.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.bundle.open import open_bundle

LARGE_IMAGES = 400  # JPEGs of one megapixel
START_ROUNDS = 15

# The bare loop: what you would write without limiar. argv: model file, list of paths.
BARE = """
import sys, time
import numpy as np
from io import BytesIO
from PIL import Image
import cv2
from ai_edge_litert.interpreter import Interpreter
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.resize import model_input  # the same resize

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, = interpreter.get_input_details()
index, dtype = given["index"], given["dtype"]
output = interpreter.get_output_details()[0]["index"]
spec = InputSpec(height=given["shape"][1], width=given["shape"][2], channels=3)
paths = open(sys.argv[2]).read().split()
started = time.perf_counter()
for path in paths:
    with open(path, "rb") as file:
        data = file.read()
    pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    pixels = model_input(pixels, spec)
    interpreter.set_tensor(index, (pixels ^ 128).view(dtype) if dtype is np.int8 else pixels.astype(dtype, copy=False))
    interpreter.invoke()
    logits = interpreter.get_tensor(output)[0]
    label = int(logits.argmax())
print(len(paths), time.perf_counter() - started)
"""

# One image from start to answer: only what it takes, with the same four imports.
BARE_ONE = """
import sys
import numpy as np
from PIL import Image
import cv2
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, = interpreter.get_input_details()
for path in open(sys.argv[2]).read().split():
    pixels = np.asarray(Image.open(path).convert("RGB"))
    pixels = cv2.resize(pixels, (given["shape"][2], given["shape"][1]), interpolation=cv2.INTER_LINEAR_EXACT)
    dtype, pixels = given["dtype"], pixels[None]
    interpreter.set_tensor(given["index"], (pixels ^ 128).view(dtype) if dtype is np.int8 else pixels.astype(dtype, copy=False))
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
print(int(logits.argmax()))
"""

# The same loop again, with limiar's steps added one after the other.
STEPS = """
import hashlib, sys, time
import numpy as np
from io import BytesIO
from PIL import Image
from limiar.edge_app.bundle.manifest import Decision, InputSpec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.runtimes import open_runtime

runtime = open_runtime("litert", open(sys.argv[1], "rb").read())
spec = InputSpec(height=int(sys.argv[3]), width=int(sys.argv[4]), channels=3)
classifier = Classifier(runtime, ("neg", "pos"), spec, Decision())
whole = Classifier(runtime, ("neg", "pos"), spec, Decision(), open_bundle(sys.argv[5]).manifest.envelope)
paths = open(sys.argv[2]).read().split()

def lenient(data): return np.asarray(Image.open(BytesIO(data)).convert("RGB"))
def plain(path): return open(path, "rb").read()
def infer(picture): runtime.logits(model_input(picture, spec))
def hashed(read):
    def both(path):
        data = read(path)
        hashlib.sha256(data).digest()
        return data
    return both

loops = {
    "read, Pillow, resize, invoke": (plain, lenient, infer),
    "+ one strict open, regular file, unchanged": (read_file, lenient, infer),
    "+ sha256": (hashed(read_file), lenient, infer),
    "+ container walked (CRC, end, one image)": (hashed(read_file), decode, infer),
    "+ assessable, softmax, decision, time": (hashed(read_file), decode, classifier.answer),
    "+ compared with the training images": (hashed(read_file), decode, whole.answer),
}
best = dict.fromkeys(loops, float("inf"))
for _ in range(5):
    for name, (read, decoded, answer) in loops.items():
        started = time.perf_counter()
        for path in paths:
            answer(decoded(read(path)))
        best[name] = min(best[name], time.perf_counter() - started)
for name, seconds in best.items():
    print(f"{seconds / len(paths) * 1e6:.2f}\\t{name}")
"""


class Ratio(msgspec.Struct, frozen=True):
    """A ratio, the bound that it must keep, and whether it does."""

    what: str
    ratio: float
    bound: str = ""  # ">=0.5" or "<=1.4"; empty if it is only reported

    @property
    def holds(self) -> bool:
        if not self.bound:
            return True
        limit = float(self.bound[2:])
        return self.ratio >= limit if self.bound.startswith(">=") else self.ratio <= limit


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=Path("models/lung-nodule"))
    options.add_argument("--images", type=int, default=30_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as on a device, where what is imported has been compiled before
    with tempfile.TemporaryDirectory(prefix="limiar-bench-") as folder:
        ratios = measure(asked.bundle, asked.images, asked.rounds, Path(folder))
    print(f"\n{'measured':<72} {'ratio':>7}  must be")
    for found in ratios:
        print(f"{found.what:<72} {found.ratio:>7.2f}  {found.bound}{'' if found.holds else '   NOT REACHED'}")
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(ratios)))
    return 0 if all(found.holds for found in ratios) else 3


def measure(bundle: Path, images: int, rounds: int, folder: Path) -> list[Ratio]:
    """All figures; the variants take turns."""
    opened = open_bundle(bundle)
    spec = opened.manifest.input
    model = folder / "model.tflite"
    model.write_bytes(opened.model()[1])
    # First of all: once this process has loaded numpy and the rest, PSS would count only half of their shared pages.
    bare_mb, scan_mb = memory_mb(bundle, model, folder)
    lenet = folder / "lenet.tflite"
    lenet.write_bytes(lenet_fp32(folder))
    say(f"writing {images} patches and {LARGE_IMAGES} images of one megapixel")
    small = listed(folder / "small", patches(images))
    large = listed(folder / "large", megapixels())
    part = folder / "part.txt"
    part.write_text("\n".join(small.read_text().split()[: images // 6]))

    rates: dict[str, list[float]] = {}
    for round_ in range(rounds):
        say(f"round {round_ + 1} of {rounds}")
        variants: dict[str, Callable[[], float]] = {
            "bare": lambda: bare(model, small),
            "bare lenet": lambda: bare(lenet, part),
            "scan": lambda: scanned(bundle, small, folder, workers=1),
            "scan 2": lambda: scanned(bundle, small, folder, workers=2),
            "bare large": lambda: bare(model, large),
            "scan large": lambda: scanned(bundle, large, folder, workers=1),
        }
        for name, variant in variants.items():
            rates.setdefault(name, []).append(variant())
    rate = {name: statistics.median(values) for name, values in rates.items()}
    print("images a second, whole process, median of the rounds (lowest to highest)")
    for name, values in rates.items():
        print(f"  {name:<12} {rate[name]:>8.0f}  ({min(values):.0f} to {max(values):.0f})")

    say("steps")
    steps = run(STEPS, model, part, str(spec.height), str(spec.width), bundle).splitlines()
    print("\nmicroseconds an image, one after the other in one process, best of 5")
    before = 0.0
    for line in steps:
        cost, name = line.split("\t")
        print(f"  {name:<46} {float(cost):>7.1f}  {float(cost) - before:>+7.1f}")
        before = float(cost)
    whole = 1e6 / rate["scan"]
    print(f"  {'limiar scan: + worker, pipe, store, JSON, start':<46} {whole:>7.1f}  {whole - before:>+7.1f}")

    say("invoke")
    compact_us, lenet_us = invoke_us(model.read_bytes(), lenet.read_bytes(), spec)
    print(f"\ninvoke, one thread: {opened.manifest.default_file} {compact_us:.1f} us, LeNet fp32 {lenet_us:.1f} us (medians)")
    say("start and memory")
    start, memory_one = starts(bundle, model, small, folder)
    print(f"peak memory, one image, all processes: bare script {bare_mb:.1f} MB, limiar scan {scan_mb:.1f} MB (PSS)")
    return [
        Ratio("limiar scan / bare loop, 50x50 PNG, one worker", rate["scan"] / rate["bare"], ">=0.75"),
        Ratio("limiar scan / bare loop, 1-megapixel JPEG, one worker", rate["scan large"] / rate["bare large"], ">=0.9"),
        Ratio(f"two workers / one, {images} images, start-up counted", rate["scan 2"] / rate["scan"], ">=1.7"),
        Ratio("limiar scan, one worker / bare loop with LeNet fp32", rate["scan"] / rate["bare lenet"], ">=2"),
        Ratio(f"{opened.manifest.default_file} invoke / LeNet fp32 invoke", compact_us / lenet_us, "<=0.083"),
        Ratio("limiar scan / bare script, one image, start to answer", start, "<=1.25"),
        Ratio("limiar scan / bare script, peak memory of the largest process", memory_one, "<=1.4"),
        Ratio("limiar scan / bare script, peak memory of all processes (PSS)", scan_mb / bare_mb, "<=1.4"),
    ]


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def lenet_fp32(folder: Path) -> bytes:
    """The course's LeNet with random weights as float TFLite: latency does not depend on what it learned."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    from limiar.convert.export.to_tflite import convert_tflite
    from limiar.convert.source.keras_model import export_saved_model
    from limiar.edge_app.system.stderr import captured_stderr
    from limiar.train.config import INPUT
    from limiar.train.fit.models import build

    with captured_stderr():
        export_saved_model(build("lenet", INPUT, 2, dropout=0.0), INPUT, folder / "lenet")
        return convert_tflite(folder / "lenet", "fp32", np.zeros((0, 40, 40, 3), np.uint8))


def patches(count: int) -> Iterator[bytes]:
    """PNGs of 50x50, grey, all different: phantoms, each used again with other noise."""
    import numpy as np
    from PIL import Image

    from limiar.train.data.phantoms import phantoms

    rng = np.random.default_rng(0)
    drawn = [np.asarray(Image.open(io.BytesIO(data))) for _, data in phantoms(min(count, 500), seed=0)]
    for index in range(count):
        noisy = drawn[index % len(drawn)].astype(np.int16) + rng.integers(-3, 4, (50, 50))
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        yield file.getvalue()


def megapixels() -> Iterator[bytes]:
    """JPEGs of 1000x1000, RGB, all different, with the detail of a photograph."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(LARGE_IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).resize(
            (1000, 1000), Image.Resampling.BICUBIC
        )
        noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-12, 13, (1000, 1000, 3))
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        yield file.getvalue()


def listed(folder: Path, images: Iterator[bytes]) -> Path:
    """Writes images, and returns a file that lists their paths."""
    folder.mkdir()
    paths = []
    for index, data in enumerate(images):
        suffix = "jpg" if data.startswith(b"\xff\xd8") else "png"
        paths.append(folder / f"{index:06d}.{suffix}")
        paths[-1].write_bytes(data)
    file = folder.with_suffix(".txt")
    file.write_text("\n".join(map(str, paths)))
    return file


def run(script: str, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


def bare(model: Path, paths: Path) -> float:
    """Images a second of the bare loop, including its start."""
    started = time.perf_counter()
    count = int(run(BARE, model, paths).split()[0])
    return count / (time.perf_counter() - started)


def scanned(bundle: Path, paths: Path, folder: Path, workers: int) -> float:
    """Images a second of `limiar scan` with a fresh database, including its start. Fails unless every image was inferred."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh, paths.open("rb") as stdin:
        command = [*limiar(), "scan", str(bundle), "-", "--db", f"{fresh}/results.db", "--workers", str(workers)]
        started = time.perf_counter()
        done = subprocess.run(command, stdin=stdin, capture_output=True, check=True)
        seconds = time.perf_counter() - started
    count = len(paths.read_text().split())
    inferred = sum(not json.loads(line)["stored"] for line in done.stdout.splitlines())
    if inferred != count:
        raise SystemExit(
            f"only {inferred} of {count} images were inferred, so the figures mean nothing: look for refused or stored ones"
        )
    return count / seconds


def limiar() -> list[str]:
    return [sys.executable, "-m", "limiar"]


def invoke_us(compact: bytes, lenet: bytes, spec: InputSpec) -> tuple[float, float]:
    """Median time of an invoke, in microseconds, of two models that take turns."""
    import numpy as np

    from limiar.edge_app.runtimes import open_runtime

    image = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
    runtimes = [open_runtime("litert", model, threads=1) for model in (compact, lenet)]
    times: list[list[int]] = [[], []]
    for turn in range(2_200):
        for runtime, taken in zip(runtimes, times, strict=True):
            started = time.perf_counter_ns()
            runtime.logits(image)
            if turn >= 200:  # warm-up
                taken.append(time.perf_counter_ns() - started)
    return statistics.median(times[0]) / 1000, statistics.median(times[1]) / 1000


def starts(bundle: Path, model: Path, paths: Path, folder: Path) -> tuple[float, float]:
    """Ratios of limiar to a bare script: start to answer of one image, and peak memory (RSS) of the largest process."""
    one = folder / "one.txt"
    one.write_text(paths.read_text().split()[0])
    script = [sys.executable, "-c", BARE_ONE, str(model)]
    times: dict[str, list[float]] = {"bare": [], "scan": []}
    peaks: dict[str, list[int]] = {"bare": [], "scan": []}
    for turn in range(START_ROUNDS + 1):
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            scan = [*limiar(), "scan", str(bundle), one.read_text(), "--db", f"{fresh}/results.db"]
            for name, command in (("bare", [*script, str(one)]), ("scan", scan)):
                started = time.perf_counter()
                child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                assert child.stdout is not None
                answer = child.stdout.read()
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
                assert answer, command
                assert child.returncode == 0, command
                if turn:  # the first pair warms the disk cache
                    times[name].append(time.perf_counter() - started)
                    peaks[name].append(used.ru_maxrss)
    bare_s, scan_s = statistics.median(times["bare"]), statistics.median(times["scan"])
    print(f"one image, start to answer: bare script {bare_s * 1e3:.0f} ms, limiar scan {scan_s * 1e3:.0f} ms (medians)")
    largest = statistics.median(peaks["scan"]) / statistics.median(peaks["bare"])
    return scan_s / bare_s, largest


def memory_mb(bundle: Path, model: Path, folder: Path) -> tuple[float, float]:
    """Peak memory of all processes of a bare script and of limiar scan over one image, MB: medians of five runs."""
    image = next(path for path in sorted(bundle.glob("golden/*.png")))
    one = folder / "golden.txt"
    one.write_text(str(image.resolve()))
    scan = [*limiar(), "scan", str(bundle), str(image), "--again", "--db", str(folder / "memory.db")]
    bare = [sys.executable, "-c", BARE_ONE, str(model), str(one)]
    runs = [(peak_pss_mb(bare), peak_pss_mb(scan)) for _ in range(5)]
    return statistics.median(mb for mb, _ in runs), statistics.median(mb for _, mb in runs)


def peak_pss_mb(command: list[str]) -> float:
    """The largest sum, over a process and its children, of the memory that is theirs: shared pages counted once (PSS)."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum(map(pss_kb, [child.pid, *children(child.pid)])))
        time.sleep(0.002)
    return peak / 1024


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    sys.exit(main())
