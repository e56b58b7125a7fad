#!/usr/bin/env python3
"""Damages DICOM files in many ways, and has the decoder and `limiar scan` read them: each is answered or refused by a code.

    tests/harness/damaged_dicom.py [--count 2000] [--scans 300] [--seed N] [--keep DIR]

Files of every transfer syntax are made here, then damaged (tests/writers/dicom_damage.py): bits flipped in header and pixels,
files cut anywhere, elements with other lengths and values, twice, swapped or missing, sequences 20,000 deep, lost sectors, and
bombs: a few bytes that would be gigabytes. A child decodes them. None may end it, take over 300 MB or over 5 s of processor
time, none that is cut may be answered, and no message may hold the patient's name. --scans of them, and all bombs, go through
`limiar scan`.
Controls: pydicom alone, which answers files that are cut, and takes the memory that a bomb asks for; and a decoder that dies.
Exit status 1 if a file did what none may, or a control did not.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "writers"))
from dicom_bundles import dicom_bundle  # type: ignore[import-not-found]  # noqa: E402
from dicom_damage import PLANTED, bombs, damaged, whole_files  # type: ignore[import-not-found]  # noqa: E402

MEMORY_MB = 300  # of a process that decodes, whatever the image
CPU_S = 5.0  # of one file; a scan gives up after 5 s
LIMIT_MB = 3000  # of the child's address space: a bomb that goes off must not take this machine
ANSWERED = "answered"


class Found(NamedTuple):
    """What became of one file."""

    outcome: str  # ANSWERED, a code, or what no file may do
    message: str = ""
    cpu_s: float = 0.0
    peak_mb: float = 0.0  # of the child, until then


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=2000, help="damaged files (default: %(default)s)")
    options.add_argument("--scans", type=int, default=300, help="of these through `limiar scan` (default: %(default)s)")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--keep", type=Path, metavar="DIR", help="write the files that failed here")
    asked = options.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="limiar-damaged-dicom-") as name:
        folder = Path(name)
        files = written(folder / "files", asked.count, random.Random(asked.seed))
        found = decoded(files, "limiar")
        print_tally(found)
        failures = {file: fault for file, one in found.items() if (fault := wrong(file, one))}
        scanned = dict(list(files.items())[: asked.scans]) | {file: path for file, path in files.items() if "bomb" in file}
        failures |= scan_faults(dicom_bundle(folder / "bundle"), scanned)
        controls = [*control_of_cuts(files), *control_of_memory(files), *control_of_crashes(files)]
        for file, fault in failures.items():
            print(f"FAILED {file}: {fault}")
            if asked.keep:
                asked.keep.mkdir(parents=True, exist_ok=True)
                (asked.keep / file).write_bytes(files[file].read_bytes())
    print(f"{len(files)} files, {len(failures)} failed")
    return 1 if failures or not all(controls) else 0


def written(folder: Path, count: int, rng: random.Random) -> dict[str, Path]:
    """Damaged files and bombs, by name: number, syntax, damage."""
    folder.mkdir()
    good = whole_files()
    files = {}
    for number in range(count):
        syntax = list(good)[number % len(good)]
        damage, data = damaged(good[syntax], rng)
        files[f"{number:05}-{syntax}-{damage}.dcm"] = data
    files |= {f"bomb-{name}.dcm": data for name, data in bombs(good)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}


def decoded(files: Mapping[str, Path], decoder: str) -> dict[str, Found]:
    """What a child makes of each file; another child goes on after one that ended."""
    left, found = dict(files), {}
    while left:
        asked = "\n".join(map(str, left.values()))
        command = [sys.executable, __file__, "--child", decoder]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said, complaint = child.communicate(asked)
        for line in said.splitlines():
            name, *rest = json.loads(line)
            found[name] = Found(*rest)
            del left[name]
        if left:
            found[next(iter(left))] = Found("ENDED", f"status {child.returncode}: {complaint[-300:]}")
            del left[next(iter(left))]
        elif complaint:
            found["stderr"] = Found("STDERR", complaint[-300:])
    return found


def child(decoder: str) -> None:
    """Reads paths from stdin, decodes each file, and prints a line of JSON."""
    import resource
    import time

    from limiar.edge_app.bench.start import memory_mb

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_MB << 20, LIMIT_MB << 20))
    read = {"limiar": by_limiar, "pydicom": by_pydicom, "dies": dying}[decoder]
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        data, started = path.read_bytes(), time.process_time()
        outcome, message = read(data)
        spent, peak = time.process_time() - started, memory_mb("VmHWM")
        print(json.dumps([path.name, outcome, message, round(spent, 3), round(peak, 1)]), flush=True)


def by_limiar(data: bytes) -> tuple[str, str]:
    from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, Window
    from limiar.edge_app.errors import ImageError
    from limiar.edge_app.image.read import decode, opened

    spec = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(window=Window(centre=40, width=400)))
    try:
        for frame in range(min(opened(data, "a.dcm", spec).frames, 4)):
            decode(data, "a.dcm", spec, frame).pixels()
    except ImageError as error:
        return error.code, error.message
    return ANSWERED, ""


def by_pydicom(data: bytes) -> tuple[str, str]:
    """As programs use it: whatever it can give."""
    import io
    import warnings

    import pydicom

    warnings.simplefilter("ignore")
    try:
        _ = pydicom.dcmread(io.BytesIO(data), force=True).pixel_array
    except Exception as error:
        return type(error).__name__, str(error)
    return ANSWERED, ""


def dying(_: bytes) -> tuple[str, str]:
    os.abort()


def wrong(file: str, found: Found) -> str:
    """What the file did that none may, or ""."""
    if found.outcome in ("ENDED", "STDERR") or (found.outcome != ANSWERED and not found.outcome.startswith("E-")):
        return f"{found.outcome} {found.message}"
    if found.outcome == ANSWERED and ("-cut." in file or "bomb-" in file):
        return ANSWERED
    if found.cpu_s > CPU_S:
        return f"{found.cpu_s} s of processor time"
    if PLANTED in found.message:
        return f"a message with the patient's name: {found.message}"
    return f"{found.peak_mb} MB" if found.peak_mb > MEMORY_MB else ""


def scan_faults(bundle: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """What went wrong in `limiar scan` over the files: each must have its line, whatever the others were."""
    paths = b"\0".join(os.fsencode(path) for path in files.values())
    command = [
        sys.executable,
        "-P",
        "-m",
        "limiar",
        "scan",
        str(bundle),
        "-0",
        "--jsonl",
        "-",
        "--db",
        str(bundle.with_name("results.db")),
    ]
    done = subprocess.run(command, input=paths, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    faults: dict[str, str] = {}
    if done.returncode != 4 or "Traceback" in said or PLANTED in said:
        faults["limiar scan"] = f"exit status {done.returncode}: {done.stderr.decode()[-300:]}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    by_name = {Path(line["path"]).name: line for line in lines}
    for file in files:
        line = by_name.get(file, {"code": "NO LINE"})
        code = line.get("code", ANSWERED)
        if code in ("NO LINE", "E-IMAGE-CRASH", "E-IMAGE-TIMEOUT") or (
            code == ANSWERED and ("-cut." in file or "bomb-" in file)
        ):
            faults[file] = f"limiar scan: {code}"
    codes = Counter(line.get("code", ANSWERED) for line in lines)
    print(f"limiar scan: {len(files)} files, " + ", ".join(f"{code} {count}" for code, count in codes.most_common()))
    return faults


def control_of_cuts(files: Mapping[str, Path]) -> Iterator[bool]:
    cuts = {name: path for name, path in files.items() if "-cut." in name}
    answered = sum(one.outcome == ANSWERED for one in decoded(cuts, "pydicom").values())
    print(f"control: pydicom alone answers {answered} of {len(cuts)} files that are cut")
    yield answered > 0


def control_of_memory(files: Mapping[str, Path]) -> Iterator[bool]:
    (found,) = decoded({name: path for name, path in files.items() if name == "bomb-deflated-2-GB.dcm"}, "pydicom").values()
    print(f"control: pydicom alone takes {found.peak_mb:.0f} MB for a file that inflates: {found.outcome}")
    yield found.peak_mb > MEMORY_MB


def control_of_crashes(files: Mapping[str, Path]) -> Iterator[bool]:
    found = decoded(dict(list(files.items())[:2]), "dies")
    print(f"control: a decoder that dies is seen {len(found)} times")
    yield all(wrong(name, one) for name, one in found.items())


def print_tally(found: Mapping[str, Found]) -> None:
    kinds = Counter(
        (name.removesuffix(".dcm").rsplit("-", 1)[-1] if "bomb" not in name else "bomb", one.outcome)
        for name, one in found.items()
    )
    for kind in sorted({kind for kind, _ in kinds}):
        outcomes = sorted(
            ((outcome, count) for (which, outcome), count in kinds.items() if which == kind), key=lambda one: -one[1]
        )
        print(f"  {kind:<14}" + ", ".join(f"{outcome} {count}" for outcome, count in outcomes))
    slowest, peak = max(one.cpu_s for one in found.values()), max(one.peak_mb for one in found.values())
    print(f"the slowest file: {slowest:.2f} s of processor time; memory: {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        sys.exit(0)
    sys.exit(main())
