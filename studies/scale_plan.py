#!/usr/bin/env python3
"""A thousand million images on paper: what they would cost, how large chunks should be, and what breaks first.

    studies/scale_plan.py [--images 1000000000] [--cores 64] [--price 0.04] [--svg docs/scale.svg] [--measured FILE]

First it measures this machine: a chunk's start-up, images per core and second, the bytes of an answer, and how fast plan,
status, merge and compare are. --measured FILE keeps that, or takes it from there. Then it computes the rest, and simulates
cores of which some are slow and each may be taken away at any time, for chunks of several sizes, without and with second copies
of chunks. A core's time is what a scan's processes use of all cores, so a scan beside it changes it little.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import heapq
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.append(str(PROJECT / "tests" / "writers"))

from archives import row, write_archive  # type: ignore[import-not-found]  # noqa: E402
from limiar.edge_app.archive.compare import compare_archives  # noqa: E402
from limiar.edge_app.archive.make_plan import plan_archive  # noqa: E402
from limiar.edge_app.archive.merge import merge_archive  # noqa: E402
from limiar.edge_app.archive.plan import open_archive  # noqa: E402
from limiar.edge_app.archive.status import archive_status  # noqa: E402
from limiar.edge_app.report.chart import Axes, draw_chart, draw_line  # noqa: E402

BUNDLE = PROJECT / "models" / "lung-nodule"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)  # images of a chunk
SHOWN_MOST = 100  # %, of the plot's upright axis
HOUR = 3600.0
_EXPONENTS = {3: "1,000", 4: "10,000", 5: "100,000", 6: "1 M"}  # of the plot's axis: what is longer is cut off
CHUNK = 10_000  # images: the default of `archive plan`
LISTED = 1000  # objects that an S3 service lists in a request
REQUEST_S = 0.05  # assumed: from a request to its answer
ASKED_AT_ONCE = 16  # objects, or their sizes, that a process asks for at the same time (edge_app/archive/objects.py)
KEY_BYTES = {"merge": 49, "compare": 2 * 64}  # bytes on the disk, of an image: as `merge` and `compare` have it
STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fcfcfb; } text { fill: #1b1b1a; } .head, .tick { fill: #6d6b66; }
.tick { font-size: 11px; } .grid { stroke: #dddbd5; stroke-dasharray: 1 3; } .line { fill: none; stroke-linejoin: round; }
.line.first { stroke: #b9b3a4; stroke-width: 4; } .line.second { stroke: #2a6fb8; stroke-width: 2; }
"""


class Measured(msgspec.Struct, frozen=True):
    """Of this machine, on one core."""

    start_s: float  # of a chunk, before its first image
    images_per_s: float
    row_bytes: float  # of an answer in Parquet
    path_bytes: float  # of an image in a plan
    planned_per_s: float  # files on a local disk
    footers_per_s: float  # chunks that `status` reads
    merged_per_s: float
    compared_per_s: float


class Cluster(msgspec.Struct, frozen=True):
    """What the simulation takes for given."""

    cores: int
    images: int
    start_s: float
    images_per_s: float
    spread: float  # standard deviation of a core's speed, as its logarithm
    slow: float  # share of the cores that are slower
    slow_by: float
    lost_h: float  # mean time until a core is taken away, with what it was doing
    back_s: float  # until it comes back


class Outcome(msgspec.Struct, frozen=True):
    """What a simulated run came to."""

    seconds: float
    worked_s: float  # of all cores
    wasted_s: float  # of it, for chunks that were lost, or done by another core meanwhile
    starts_s: float  # of it, before the first image of a chunk
    lost: int
    copies: int


def measure(count: int, rows: int) -> Measured:
    """About a minute. count: images that are answered; rows: made-up answers that are merged and compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        (folder / "images").mkdir()
        for number in range(count):
            ramp = np.linspace(rng.integers(0, 90), 180, 50).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / f"{number:05d}.png"), rng.integers(0, 60, (50, 50), np.uint8) + ramp)
        started = time.perf_counter()
        whole = plan_archive(folder / "whole", BUNDLE, [folder / "images"], chunk_images=count, chunk_bytes=10**9)
        planned_s = time.perf_counter() - started
        part = plan_archive(folder / "part", BUNDLE, [folder / "images"], chunk_images=max(1, count // 20))
        short, long = run_s(part.out, count // 20), run_s(whole.out, count)
        per_image = (long - short) / (count - count // 20)
        done = sum(path.stat().st_size for path in (whole.out / "done").iterdir())
        lists = sum(path.stat().st_size for path in (whole.out / "chunks").rglob("*.list"))
        old = write_archive(folder / "old", made(rows, 0))
        new = write_archive(folder / "new", made(rows, 1))
        merged_s = timed(lambda: merge_archive(old, folder / "merged.parquet"))
        compared_s = timed(lambda: compare_archives(old, new, scratch=folder))
        status_s = timed(lambda: archive_status(old))
        return Measured(
            start_s=round(max(0.05, short - per_image * (count // 20)), 2),
            images_per_s=round(1 / per_image, 1),
            row_bytes=round(done / count, 1),
            path_bytes=round(lists / count, 1),
            planned_per_s=round(count / planned_s),
            footers_per_s=round(open_archive(old).plan.chunks / status_s),
            merged_per_s=round(rows / merged_s),
            compared_per_s=round(rows / compared_s),
        )


def run_s(out: Path, count: int) -> float:
    """Seconds of a core that `limiar archive run --chunk 0` takes, with the processes of its scan; the median of three."""
    found = []
    for _ in range(3):
        for path in (out / "done").iterdir():
            path.unlink()
        command = [sys.executable, "-P", "-m", "limiar", "archive", "run", str(out), "--chunk", "0"]
        environment = {**os.environ, "LIMIAR_STATE": str(out / "state")}
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run(command, check=True, capture_output=True, env=environment)
        found.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    assert open_archive(out).chunk(0).images == count
    return sorted(found)[1]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def made(rows: int, side: int) -> Iterator[list[object]]:
    """Chunks of made-up answers; of 50 images one is decided differently on the other side."""
    for first in range(0, rows, 5000):
        numbers = range(first, min(rows, first + 5000))
        yield [row(k, "neg" if side and k % 50 == 0 else "pos", 0.9 - 0.1 * side) for k in numbers]


def simulate(cluster: Cluster, chunk_images: int, copies: bool, seed: int) -> Outcome:
    """Cores that take chunk after chunk; with copies, one that finds none left does what has been at work longest once more."""
    rng = random.Random(seed)  # noqa: S311 nothing is kept secret by it
    chunks = -(-cluster.images // chunk_images)
    speeds = [
        math.exp(rng.gauss(0, cluster.spread)) / (cluster.slow_by if rng.random() < cluster.slow else 1)
        for _ in range(cluster.cores)
    ]
    waiting = deque(range(chunks))
    working: dict[int, dict[int, float]] = {}  # chunk -> core -> since when
    ends: list[tuple[float, int, int, int]] = []  # when, core, its turn, chunk; -1: the core is back
    turns = [0] * cluster.cores  # an end of an earlier turn does not count: the core has been told to stop
    lost_at = [rng.expovariate(1 / (cluster.lost_h * HOUR)) for _ in range(cluster.cores)]
    worked = wasted = starts = 0.0
    done = lost = copied = 0
    oldest: deque[int] = deque()  # chunks in the order in which they were begun
    idle: list[int] = []

    def begin(core: int, now: float) -> None:
        nonlocal copied
        if waiting:
            chunk = waiting.popleft()
        elif copies and (chunk := next((one for one in oldest if one in working and len(working[one]) == 1), -1)) >= 0:
            copied += 1
        else:
            idle.append(core)
            return
        images = min(chunk_images, cluster.images - chunk * chunk_images)
        working.setdefault(chunk, {})[core] = now
        oldest.append(chunk)
        takes = cluster.start_s + images / (cluster.images_per_s * speeds[core])
        heapq.heappush(ends, (min(now + takes, lost_at[core]), core, turns[core], chunk))

    for core in range(cluster.cores):
        begin(core, 0.0)
    now = 0.0
    while done < chunks:
        now, core, turn, chunk = heapq.heappop(ends)
        if turn != turns[core]:
            continue
        turns[core] += 1
        if chunk < 0:
            begin(core, now)
            continue
        took = now - working[chunk].pop(core)
        worked += took
        starts += min(took, cluster.start_s)
        if now >= lost_at[core]:
            lost, wasted = lost + 1, wasted + took
            lost_at[core] = now + cluster.back_s + rng.expovariate(1 / (cluster.lost_h * HOUR))
            heapq.heappush(ends, (now + cluster.back_s, core, turns[core], -1))
            if not working[chunk]:
                del working[chunk]
                waiting.appendleft(chunk)
                if idle:
                    begin(idle.pop(), now)
            continue
        done += 1
        for other, since in working.pop(chunk).items():  # a copy that came too late
            turns[other] += 1
            worked, wasted = worked + now - since, wasted + now - since
            begin(other, now)
        while oldest and oldest[0] not in working:
            oldest.popleft()
        begin(core, now)
    return Outcome(now, worked, wasted, starts, lost, copied)


def tell(found: Measured, cluster: Cluster, price: float, gigabyte: float, requests: float) -> None:
    """The tables of docs/scale.md."""
    million_h = (1e6 / found.images_per_s + 1e6 / CHUNK * found.start_s) / HOUR
    images, chunks = cluster.images, -(-cluster.images // CHUNK)
    print("| measured here, of one core | |\n|---|---|")
    print(f"| a chunk before its first image | {found.start_s:.2f} s |")
    print(f"| images | {found.images_per_s:,.0f} a second |")
    print(f"| an answer in Parquet | {found.row_bytes:.0f} bytes |")
    for what, rate in (
        ("plan, of files on a local disk", found.planned_per_s),
        ("merge", found.merged_per_s),
        ("compare", found.compared_per_s),
    ):
        print(f"| {what} | {rate:,.0f} images a second |")
    print(f"| status | {found.footers_per_s:,.0f} chunks a second |")
    print(f"| assumed: from a request to an object store to its answer | {REQUEST_S * 1e3:.0f} ms |")
    print(f"\n| of a million images, chunks of {CHUNK:,} | |\n|---|---|")
    print(f"| core-hours | {million_h:.2f} |")
    print(f"| at {price:g} a core-hour | {million_h * price:.3f} |")
    print(f"| reading objects, at {requests:g} a million requests | {requests:.2f} |")
    print(f"| answers | {found.row_bytes / 1e3:.2f} GB, {found.row_bytes / 1e3 * gigabyte:.4f} a month at {gigabyte:g} a GB |")
    print(f"\n| {images:,} images, chunks of {CHUNK:,} | |\n|---|---|")
    print(f"| answering, {cluster.cores} cores | {images / 1e6 * million_h / cluster.cores:.1f} hours |")
    print(f"| answering, in all | {images / 1e6 * million_h:,.0f} core-hours, {images / 1e6 * million_h * price:,.0f} |")
    fetched_h = images * REQUEST_S / ASKED_AT_ONCE / cluster.cores / HOUR
    print(f"| fetching before that, if they are objects: {ASKED_AT_ONCE} at once a core | {fetched_h:.1f} hours |")
    print(f"| plan.json, chunks.jsonl, lists | {chunks * 128 / 1e6:.0f} MB and {images * found.path_bytes / 1e9:.0f} GB |")
    print(f"| done/ | {chunks:,} files, {images * found.row_bytes / 1e9:,.0f} GB |")
    print(f"| plan, of files: one process | {images / found.planned_per_s / HOUR:.1f} hours |")
    listed_h = images / LISTED * REQUEST_S / HOUR
    print(f"| plan, of a bucket: {images // LISTED:,} requests one after the other | {listed_h:.1f} hours |")
    asked_h = images * REQUEST_S / ASKED_AT_ONCE / HOUR
    print(f"| plan, of a list of objects: a request for each, {ASKED_AT_ONCE} at once | {asked_h / 24:.0f} days |")
    print(f"| status | {chunks / found.footers_per_s:.0f} s |")
    for what, rate in (("merge", found.merged_per_s), ("compare", found.compared_per_s)):
        print(f"| {what}: one process | {images / rate / HOUR:.1f} hours, {images * KEY_BYTES[what] / 1e9:.0f} GB of keys |")


def tell_simulation(cluster: Cluster, seeds: int) -> dict[bool, list[tuple[int, float, float]]]:
    """Prints a row for each size of chunk; returns (images, % over the ideal time, % wasted) without and with copies."""
    ideal_s = cluster.images / cluster.images_per_s / cluster.cores
    print(f"\n| images in a chunk | takes | over the ideal {ideal_s / HOUR:.2f} h | wasted | start-up | with copies | wasted |")
    print("|---|---|---|---|---|---|---|")
    found: dict[bool, list[tuple[int, float, float]]] = {False: [], True: []}
    for size in SIZES:
        if -(-cluster.images // size) < cluster.cores:
            continue
        cells = [f"{size:,}", f"{cluster.start_s + size / cluster.images_per_s:,.0f} s"]
        for copies in (False, True):
            runs = [simulate(cluster, size, copies, seed) for seed in range(seeds)]
            over, waste, starts = (
                100 * sum(values) / len(runs)
                for values in (
                    [run.seconds / ideal_s - 1 for run in runs],
                    [run.wasted_s / run.worked_s for run in runs],
                    [run.starts_s / run.worked_s for run in runs],
                )
            )
            cells += [f"+{over:.1f} %", f"{waste:.2f} %", *([] if copies else [f"{starts:.2f} %"])]
            found[copies].append((size, over, waste))
        print(f"| {' | '.join(cells)} |")
    return found


def draw(found: dict[bool, list[tuple[int, float, float]]]) -> bytes:
    """Two plots beside each other: time over the ideal, and work that was wasted."""
    parts = []
    low, high = math.log10(found[False][0][0]), math.log10(found[False][-1][0])
    for place, (title, of) in enumerate((("time over the ideal, %", 1), ("wasted work, %", 2))):
        lines = [[one[of] for one in found[copies]] for copies in (False, True)]
        top = min(SHOWN_MOST, max(1.0, *(value for line in lines for value in line)) * 1.1)
        step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20, 25) if top / step <= 6)
        axes = Axes((low, high), (0.0, top))
        legend = {"first": "without second copies", "second": "with second copies"}
        drawn = [
            draw_line(axes, (np.log10([one[0] for one in found[copies]]), np.minimum(line, top)), style)
            for copies, line, style in zip((False, True), lines, legend, strict=True)
        ]
        ticks = range(math.ceil(low), math.floor(high) + 1)
        across = (ticks, np.arange(0, top, step), lambda tick: _EXPONENTS.get(int(tick), f"1e{int(tick)}"))
        svg = draw_chart(title, axes, ("images in a chunk", title), legend, drawn, *across)
        parts.append(svg.replace("<svg ", f'<svg x="{350 * place}" height="320" ', 1))
    start = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 320" width="690" height="320">'
    return f"{start}<style>{STYLE}</style>{''.join(parts)}</svg>\n".encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000_000)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--price", type=float, default=0.04, help="of a core-hour")
    parser.add_argument("--gigabyte", type=float, default=0.023, help="of a GB kept for a month")
    parser.add_argument("--requests", type=float, default=0.4, help="of a million requests to an object store")
    parser.add_argument("--spread", type=float, default=0.1, help="of the cores' speeds")
    parser.add_argument("--slow", type=float, default=0.02, help="share of the cores that are slow")
    parser.add_argument("--slow-by", type=float, default=5.0)
    parser.add_argument("--lost-hours", type=float, default=24.0, help="mean time until a core is taken away")
    parser.add_argument("--back-minutes", type=float, default=10.0, help="until it comes back")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000, help="images to measure with")
    parser.add_argument("--rows", type=int, default=100_000, help="made-up answers to measure with")
    parser.add_argument("--measured", type=Path, help="JSON: what was measured, kept or taken from there")
    parser.add_argument("--svg", type=Path, help="writes the plot")
    given = parser.parse_args()
    if given.measured and given.measured.exists():
        found = msgspec.json.decode(given.measured.read_bytes(), type=Measured)
    else:
        found = measure(given.count, given.rows)
        if given.measured:
            given.measured.write_bytes(msgspec.json.encode(found))
    cluster = Cluster(
        given.cores, given.images, found.start_s, found.images_per_s, given.spread, given.slow, given.slow_by,
        given.lost_hours, 60 * given.back_minutes,
    )  # fmt: skip
    tell(found, cluster, given.price, given.gigabyte, given.requests)
    drawn = tell_simulation(cluster, given.seeds)
    if given.svg:
        given.svg.write_bytes(draw(drawn))


if __name__ == "__main__":
    main()
