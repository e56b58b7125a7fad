"""Whole machines in QEMU, with Debian's kernel: a release check. limiar is built as a wheel and installed as on a device.

-M virt, a Cortex-A72: `limiar camera` with vivid (V4L2) and libcamera's virtual camera through to stored results, the memory
of `limiar scan`, and power cuts in the middle of a scan: what was reported must be there at the next boot. Two controls must
lose results: SQLite that does not wait for the disk (synchronous=OFF), and ext4 that never has the disk flush its cache
(barrier=0). Then -M raspi3b and -M raspi4b with Debian's device trees: `limiar doctor`, `limiar verify`, memory.

    scripts/virtual_pi machine
    scripts/virtual_pi machine --cuts 20 --log machine.log
"""

import argparse
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from virtualpi import PROJECT, Failed, page
from virtualpi.boot import BOARDS, VIRT, Board, Said, booted
from virtualpi.image import Image, make_image
from virtualpi.logwrites import LogError
from virtualpi.outcome import Outcome, progress, report
from virtualpi.powercuts import IMAGES, KEPT, Kind, Rows, Series, cut_again_and_again, make_disk

SCAN_MB = 110  # the largest process of `limiar scan`
CONTROLS = (
    Kind("control: SQLite does not wait for the disk", limiar="control"),
    Kind("control: ext4 never has the disk flush", mount="barrier=0"),
)
CONTROL_CUTS = 1  # one is enough to lose something
PLACE = ("uname -m", "CPU part", "board")  # where it ran; not on the page
CAMERAS = {"v4l2": "v4l2:/dev/video0", "picamera": "picamera:0"}  # command of guest/jobs -> the source's name


class Peak(msgspec.Struct):
    """What guest/peak.py prints last."""

    largest_mb: float
    together_mb: float


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuts", type=int, default=3, help="cut the power so many times (default: 3; for a release 20)")
    parser.add_argument("--seed", type=int, help="seed for the times of the cuts (default: random, and printed)")
    log = PROJECT / "out" / "virtual_pi" / "machine.log"
    parser.add_argument(
        "--log",
        type=Path,
        default=log,
        help="write the machines' output and every cut here (default: out/virtual_pi/machine.log)",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    page.option(parser)


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    if asked.docs:
        times, outcomes = page.measured("machine")
        page.write("machine", times + [(f"{one.where}: {one.what}", one.found) for one in outcomes if one.what not in PLACE])
        return
    seed = random.randrange(2**32) if asked.seed is None else asked.seed  # not a secret
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="limiar-machine-") as name,
        asked.log.open("w", encoding="utf-8", buffering=1) as log,
    ):
        progress("the disk, the kernel, the device trees")
        image = make_image(Path(name))
        try:
            outcomes = [*_cameras(image, log), *_cuts(image, asked.cuts, seed, Path(name), log)]
            for board in BOARDS:
                outcomes += _board(board, image, log)
        except (Failed, LogError) as error:
            raise Failed(f"{error}: see {asked.log}") from None
        log.writelines(f"{one.where}: {one.what}: {one.found}, must be {one.must}\n" for one in outcomes)
    report(outcomes, asked.json)


def _cameras(image: Image, log: TextIO) -> Iterator[Outcome]:
    progress("-M virt: cameras")
    where = VIRT.machine
    with booted(VIRT, image, {"job": "cameras"}, log) as guest:
        answers = guest.answers()
    yield from _place(VIRT, answers)
    rows = msgspec.json.decode(answers["rows"].out, type=Rows)
    for command, source in CAMERAS.items():
        said = answers[command]
        frames = sum("confidence" in json.loads(line) for line in said.out.splitlines())  # a refused frame has no row
        kept = rows.frames.get(source, 0)
        passed = said.status == 0 and frames == kept > 0
        found = f"{frames} frames answered, {kept} results stored" if said.status == 0 else said.err.splitlines()[-1]
        yield Outcome(where, f"limiar camera {source}", found, "as many, and some", passed)
    yield _scan_memory(where, answers)


def _cuts(image: Image, cuts: int, seed: int, folder: Path, log: TextIO) -> Iterator[Outcome]:
    fresh = make_disk(folder, cuts)
    for kind in (KEPT, *CONTROLS):
        disk = folder / "cut.disk"
        subprocess.run(["cp", "--sparse=always", fresh, disk], check=True)
        series = cut_again_and_again(kind, cuts if kind is KEPT else CONTROL_CUTS, seed, image, disk, log)
        yield _cut_outcome(series, seed)


def _cut_outcome(series: Series, seed: int) -> Outcome:
    dropped = sum(cut.dropped for cut in series.cuts)
    cuts = "1 cut" if len(series.cuts) == 1 else f"{len(series.cuts)} cuts"
    found = f"{cuts}, {dropped} writes dropped, {series.reported} reported, {series.lost} lost"
    if series.kind is KEPT:
        must = "0 lost, 0 corrupt"
        in_the_middle = all(0 < cut.reported < IMAGES for cut in series.cuts)
        passed = in_the_middle and bool(series.cuts) and series.lost == series.corrupt == 0
    else:
        must, passed = "some lost", series.lost > 0
    return Outcome(f"{VIRT.machine}, seed {seed}", series.kind.name, f"{found}, {series.corrupt} corrupt", must, passed)


def _board(board: Board, image: Image, log: TextIO) -> Iterator[Outcome]:
    progress(f"-M {board.machine}")
    with booted(board, image, {"job": "board"}, log) as guest:
        answers = guest.answers()
    yield from _place(board, answers)
    doctor = json.loads(answers["doctor"].out)
    named, problems = doctor["machine"]["board"] or "no board", doctor["problems"]
    passed = named.startswith(board.name) and not problems
    yield Outcome(board.machine, "limiar doctor", "; ".join([named, *problems]), f"{board.name}, no problem", passed)
    verdict = answers["verify"].out.splitlines()[-2]
    passed = answers["verify"].status == 0 and verdict == "PASS"
    yield Outcome(board.machine, "limiar verify models/lung-nodule", verdict, "PASS", passed)
    yield _scan_memory(board.machine, answers)
    yield _fits(board, answers)


def _place(board: Board, answers: Mapping[str, Said]) -> Iterator[Outcome]:
    """Did it run on the intended machine?"""
    architecture, name = answers["architecture"].out, answers["board"].out
    parts = {line.split()[-1] for line in answers["cpu"].out.splitlines() if line.startswith("CPU part")}
    found = (
        (architecture, "aarch64", architecture == "aarch64"),
        (", ".join(sorted(parts)), board.cpu_part, parts == {board.cpu_part}),
        (name, board.name, name.startswith(board.name)),
    )
    for what, (met, must, passed) in zip(PLACE, found, strict=True):
        yield Outcome(board.machine, what, met, must, passed)


def _scan_memory(where: str, answers: Mapping[str, Said]) -> Outcome:
    peak = _peak(answers["scan"])
    found = f"{peak.largest_mb:.1f} MB the largest process, {peak.together_mb:.1f} MB together"
    passed = answers["scan"].status == 0 and 0 < peak.largest_mb <= SCAN_MB
    return Outcome(where, "memory of limiar scan", found, f"<= {SCAN_MB} MB the largest process", passed)


def _fits(board: Board, answers: Mapping[str, Said]) -> Outcome:
    """Is there room for limiar, and as much again for the rest of a device?"""
    sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in answers["memory"].out.splitlines()}
    available_mb = sizes["MemAvailable:"]
    most_mb = max(_peak(answers[name]).together_mb for name in ("scan", "verify"))
    found = f"{most_mb:.1f} MB at most, of {available_mb:.0f} MB available, {sizes['MemTotal:']:.0f} MB in all"
    return Outcome(board.machine, "memory fits", found, "<= half of what is available", 0 < most_mb <= available_mb / 2)


def _peak(said: Said) -> Peak:
    return msgspec.json.decode(said.out.splitlines()[-1], type=Peak)
