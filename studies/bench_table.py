#!/usr/bin/env python3
"""What each model file of two networks costs, on every runtime and number of threads: the tables of docs/benchmarking.md.

    studies/bench_table.py [--lenet BUNDLE] [--preset quick|normal] [--threads 1,2] [--json FOLDER]

The figures are those of `limiar bench`, on generated patches of 50x50 pixels. tflite-runtime needs an older numpy, so it is
measured in an environment of its own, after the others. Beside them stands the bare loop of studies/bench_scan.py over the
same patches. Without --lenet, the course's LeNet is trained on phantoms first, for a minute.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

import environment
from bench_scan import BARE, listed, patches, run, say
from limiar.edge_app.bench.result import BenchResult, Measurement
from limiar.edge_app.bundle.open import open_bundle

COMPACT = Path("models/lung-nodule")
PATCHES = 1000  # as many as bench answers of a folder
ROUNDS = 5  # of the bare loop; the median counts
RUNTIMES = {
    "litert,onnxruntime": environment.DESKTOP / "python",
    "tflite-runtime": environment.PROJECT / environment.ENVIRONMENTS["tflite-runtime"].folder / "bin" / "python",
}
BARE_FILES = ("tflite_int8", "tflite_fp32")
COLUMNS = (
    "file",
    "runtime",
    "threads",
    "invoke p50, µs",
    "95 % interval",
    "invoke p99",
    "image to answer p50",
    "first answer, ms",
    "peak, MiB",
)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lenet", type=Path, help="a bundle of the course's LeNet")
    options.add_argument("--preset", default="quick", choices=["quick", "normal"])
    options.add_argument("--threads", default="1,2")
    options.add_argument("--json", type=Path, help="a folder for what bench measured")
    asked = options.parse_args()
    environment.make(environment.ENVIRONMENTS["tflite-runtime"])
    with tempfile.TemporaryDirectory(prefix="limiar-bench-") as made:
        folder = Path(made)
        kept = asked.json or folder / "json"
        kept.mkdir(parents=True, exist_ok=True)
        paths = listed(folder / "patches", patches(PATCHES))
        for name, bundle in (("compact", COMPACT), ("lenet", asked.lenet or lenet(folder))):
            print(f"\n### {name}\n")
            for line in table(name, bundle, paths, asked.preset, asked.threads, kept):
                print(line, flush=True)
    return 0


def lenet(folder: Path) -> Path:
    """A BUNDLE of the course's LeNet, trained on phantoms."""
    say("training LeNet")
    for command in (
        ("phantoms", folder / "images", "--count", "1500", "--seed", "1"),
        ("train", folder / "images", "--out", folder / "run", "--model", "lenet", "--quick", "--set", "epochs=6"),
        ("convert", folder / "run", "--out", folder / "bundle", "--allow-undecided"),
    ):
        limiar(RUNTIMES["litert,onnxruntime"], *command)
    return folder / "bundle"


def table(name: str, bundle: Path, paths: Path, preset: str, threads: str, kept: Path) -> Iterator[str]:
    """One network's, as Markdown."""
    yield row(COLUMNS)
    yield row(["---"] * 3 + ["---:"] * (len(COLUMNS) - 3))
    for runtimes, python in RUNTIMES.items():
        say(f"limiar bench {name}, {runtimes}")
        measured = kept / f"{name}-{runtimes}.json"
        how = ("--images", paths.with_suffix(""), "--runtime", runtimes, "--preset", preset, "--threads", threads)
        limiar(python, "bench", bundle, *how, "--json", measured)
        result = msgspec.json.decode(measured.read_bytes(), type=BenchResult)
        for one in result.measurements:
            yield row(cells(one))
        for reason in (*result.invalid, *result.notes):
            print(f"{name}, {runtimes}: {reason}", file=sys.stderr)
    opened = open_bundle(bundle)
    say(f"bare loop, {name}")
    taken: dict[str, list[float]] = {file: [] for file in BARE_FILES}
    for _, file in itertools.product(range(ROUNDS), BARE_FILES):
        with tempfile.NamedTemporaryFile(suffix=".tflite") as model:
            model.write(opened.model(file)[1])
            model.flush()
            count, seconds = run(BARE, model.name, paths).split()
        taken[file].append(float(seconds) / int(count) * 1e6)
    for file, us in taken.items():
        yield row([file, "the bare loop: file to label", "1", "", "", "", f"{statistics.median(us):.0f}", "", ""])


def cells(one: Measurement) -> list[str]:
    p50 = next(found for found in one.invoke.percentiles if found.percent == 50)
    return [
        one.file,
        f"{one.runtime} {one.version}",
        str(one.threads),
        figure(p50.us),
        f"{figure(p50.low_us)} to {figure(p50.high_us)}",
        figure(one.invoke.p99_us),
        figure(one.whole.p50_us if one.whole else None),
        f"{one.start.answered_ms:.0f}",
        f"{one.start.peak_mb:.0f}",
    ]


def figure(us: float | None) -> str:
    return "-" if us is None else f"{us:.1f}" if us < 100 else f"{us:.0f}"


def row(cells: "list[str] | tuple[str, ...]") -> str:
    return f"| {' | '.join(cells)} |"


def limiar(python: Path, *arguments: object) -> None:
    done = subprocess.run([python, "-m", "limiar", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"limiar {arguments[0]} failed: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
