#!/usr/bin/env python3
"""How do time and memory of an archive grow with its images? Prints a row for each step and size, and says what is not flat.

    studies/archive_growth.py [--rows 10000,100000,1000000] [--workers 2] [--results FILE]

Images are small PNGs with many names each (hard links), so a million of them take no disk: `plan` and `run` do all their work,
and `merge` keeps one row of each picture. A second archive has made answers, no two of the same picture: there `merge` has to
sort and keep every row. Memory is the proportional set size (smaps_rollup) of all processes of a step together, at
its largest; what the disk needs beside it is not counted.

Exit status 1 if something went missing, or if the largest archive takes a third more time for a row than the one before it, or
100 MB more memory: `merge` has buffers of 262,144 rows, which a small archive does not fill.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limiar.edge_app.archive.columns import COLUMNS, RowFile
from limiar.edge_app.archive.make_plan import plan_archive
from limiar.edge_app.archive.plan import Archive
from limiar.edge_app.archive.status import archive_status
from limiar.edge_app.health.sensors import tree

PROJECT = Path(__file__).resolve().parents[1]
BUNDLE = PROJECT / "models" / "lung-nodule"
PICTURES = 500  # that differ; a file has at most 65,000 names on ext4
CHUNK_IMAGES = 5_000  # so that even 10,000 images are work for two
LONGER = 4 / 3  # for a row: more is growth
MORE_MB = 100.0
ENOUGH_ROWS = 100_000  # below, what starting takes hides all else
LOOK_S = 0.2


class Step(msgspec.Struct, frozen=True):
    """A command, and what it took."""

    name: str
    rows: int
    seconds: float
    peak_mb: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes, from small to large (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk-images", type=int, default=CHUNK_IMAGES, help="(default: %(default)s)")
    parser.add_argument("--results", type=Path, help="write what was measured there, as JSON")
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.rows.split(",")]
    print("| step | rows | s | rows/s | peak MB |\n|---|--:|--:|--:|--:|", flush=True)
    steps = []
    with tempfile.TemporaryDirectory(prefix="limiar-growth-") as folder:
        pictures = draw(Path(folder) / "pictures")
        for rows in sizes:
            for step in (
                *linked(Path(folder) / str(rows), pictures, rows, asked),
                *made(Path(folder) / f"m{rows}", rows, asked),
            ):
                steps.append(step)
                line = f"{step.rows:,} | {step.seconds:.1f} | {step.rows / step.seconds:,.0f} | {step.peak_mb:.0f}"
                print(f"| {step.name} | {line} |", flush=True)
    if asked.results:
        asked.results.write_bytes(msgspec.json.encode(steps))
    grown = list(growth(steps))
    print("\n".join(grown) or "neither the time for a row nor memory grew")
    return int(bool(grown))


def growth(steps: list[Step]) -> Iterator[str]:
    """What grew from the last size but one to the largest, as sentences."""
    for name in dict.fromkeys(step.name for step in steps):
        sizes = [step for step in steps if step.name == name]
        for before, last in list(itertools.pairwise(sizes))[-1:]:
            longer = last.seconds / last.rows / (before.seconds / before.rows)
            if before.rows >= ENOUGH_ROWS and longer > LONGER:
                yield f"{name}: a row takes {longer:.2f} times as long"
            if before.rows >= ENOUGH_ROWS and last.peak_mb > before.peak_mb + MORE_MB:
                yield f"{name}: it takes {last.peak_mb - before.peak_mb:.0f} MB more memory"


def draw(folder: Path) -> list[Path]:
    """Small grey PNGs, all different."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    shade = np.linspace(20, 180, 50).astype(np.uint8)
    paths = [folder / f"{number:04d}.png" for number in range(PICTURES)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 60, (50, 50), np.uint8) + shade)
    return paths


def linked(folder: Path, pictures: list[Path], rows: int, asked: argparse.Namespace) -> Iterator[Step]:
    """Pictures with many names: planned, answered, merged."""
    for number in range(rows):
        below = folder / "images" / f"{number // 1000:06d}"
        if number % 1000 == 0:
            below.mkdir(parents=True)
        os.link(pictures[number % len(pictures)], below / f"{number:09d}.png")
    out, merged = folder / "work", folder / "answers.parquet"
    yield measured(
        "plan", rows, folder, "plan", out, "--bundle", BUNDLE, "--chunk-images", asked.chunk_images, folder / "images"
    )
    yield measured("run", rows, folder, "run", out, "--workers", asked.workers, "--scratch", folder / "scratch")
    status = archive_status(out)
    assert (status.rows, status.refused) == (rows, {}), status
    yield measured("status", rows, folder, "status", out)
    yield measured("merge, few pictures", rows, folder, "merge", out, "--out", merged)
    assert pq.read_metadata(merged).num_rows == min(rows, len(pictures))


def made(folder: Path, rows: int, asked: argparse.Namespace) -> Iterator[Step]:
    """Answers that were made, each of a picture of its own: merged."""
    folder.mkdir()
    names = (b"/made/%09d.png" % number for number in range(rows))  # of files that are not there: nobody reads them
    archive = plan_archive(folder / "work", BUNDLE, names, chunk_images=asked.chunk_images)
    rng = np.random.default_rng(rows)
    for chunk in archive.chunks():
        write_answers(archive, chunk.number, rng)
    yield measured("merge, all different", rows, folder, "merge", archive.out, "--out", folder / "answers.parquet")
    assert pq.read_metadata(folder / "answers.parquet").num_rows == rows


def write_answers(archive: Archive, number: int, rng: np.random.Generator) -> None:
    """A chunk's file, as a scan of pictures that all differ would give it."""
    chunk, plan = archive.chunk(number), archive.plan
    count = chunk.images
    shares = rng.dirichlet(np.ones(len(plan.labels)), count)
    ends = np.arange(count + 1, dtype=np.int32) * len(plan.labels)
    best = shares.argmax(axis=1)
    label = pa.array(np.array(plan.labels)[best], pa.string())
    known = {
        "chunk": pa.array(np.full(count, number, np.int32)),
        "row": pa.array(np.arange(count, dtype=np.int32)),
        "path": pa.array([path.decode() for path in archive.paths(chunk)], pa.large_string()),
        "sha256": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), count, [None, pa.py_buffer(rng.bytes(32 * count))]),
        "decision": label,
        "label": label,
        "confidence": pa.array(shares.max(axis=1)),
        "probabilities": pa.ListArray.from_arrays(pa.array(ends), pa.array(shares.ravel())),
        "outside": pa.array([[]] * count, pa.list_(pa.string())),
        **{name: pa.array(rng.gamma(2, 0.2, count)) for name in ("decode_ms", "resize_ms", "infer_ms")},
    }
    same = {"bundle": plan.bundle, "file": plan.file, "runtime": plan.runtime, "verified": "cpu", "app": plan.app}
    arrays = [
        known[field.name] if field.name in known else pa.array([same.get(field.name)] * count, field.type) for field in COLUMNS
    ]
    with RowFile(archive.done_path(chunk), plan.labels, archive.sha256, chunk.name) as file:
        file.write(pa.RecordBatch.from_arrays(arrays, schema=COLUMNS))
        file.publish(images=count, refused={})


def measured(name: str, rows: int, folder: Path, *words: object) -> Step:
    """Runs `limiar archive` with these words. Raises CalledProcessError."""
    environment = {**os.environ, "LIMIAR_STATE": str(folder / "state"), "TMPDIR": str(folder)}
    command = [sys.executable, "-P", "-m", "limiar", "archive", *map(str, words)]
    started, peak = time.monotonic(), 0
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(pss_kb, tree(process.pid))))
            time.sleep(min(LOOK_S, (time.monotonic() - started) / 20))  # a short step is looked at more often
        seconds = time.monotonic() - started
        assert process.stderr
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=process.stderr.read())
    return Step(name, rows, seconds, peak * 1024 / 1e6)


def pss_kb(pid: int) -> int:
    """A process's memory; what several share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return int(next((line.split()[1] for line in lines if line.startswith("Pss:")), 0))


if __name__ == "__main__":
    sys.exit(main())
