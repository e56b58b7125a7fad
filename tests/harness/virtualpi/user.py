"""The real aarch64 wheels under QEMU's user mode, on the processors of Raspberry Pi 3, 4 and 5, Debian 12 and 13.

limiar is built as a wheel, installed with a device's own requirements, and asked `doctor`, `verify`, `scan` and `bench`. Its
answers for the bundle's golden images are compared with those of the same runtimes on this machine. Without --cpu: everything
on a Cortex-A72, and the int8 files on a Cortex-A53 (Debian 12) or a Cortex-A76 (13). OUT gets JSON for
`limiar convert --verified`.

    scripts/virtual_pi user
    scripts/virtual_pi user --cpu cortex-a76 --suite trixie --json
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

import wheelhouse
from limiar.edge_app.bench.result import BenchResult
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.doctor import Diagnosis
from limiar.edge_app.inference.verify import Verification
from limiar.edge_app.system.files import write_whole
from virtualpi import PROJECT, Failed, Unavailable, page, qemu
from virtualpi.answers import (
    ASK,
    Answers,
    Line,
    ask_here,
    ask_there,
    compared,
    is_on,
    is_whole,
    read_scan,
    scan_here,
    scans_compared,
    steps_apart,
)
from virtualpi.device import PYTHONS, Device, make_device, size_mb
from virtualpi.namespace import Root, scratch_root
from virtualpi.outcome import Outcome, progress, report
from virtualpi.pictures import WHAT, Levels, levels_compared, levels_here, levels_there, made_files, test_files, written

SIZE_MB = 280  # a device's packages, without the onnx extra
INT8 = ("tflite_int8", "onnx_int8")
SAME_SIZE = 0.02
FILES = (*INT8, "tflite_fp32", "onnx_fp32")
ON_PAGE = (
    "limiar and what it needs",
    "tflite_int8 litert: differs",
    "tflite_fp32 litert: differs",
    "limiar scan: decisions",
    WHAT,
)
RUNTIMES = {"onnx": ("litert", "onnxruntime"), "tflite": ("tflite-runtime",)}  # extra -> the runtimes that are compared
DEVICES = (("bookworm", "onnx"), ("trixie", "onnx"), ("bookworm", "tflite"))  # no tflite-runtime for trixie's Python
ALL, QUICK = "cortex-a72", {"bookworm": "cortex-a53", "trixie": "cortex-a76"}


T = TypeVar("T")


class Here(NamedTuple):
    """What this machine answers, by extra."""

    bundle: Bundle
    answers: Mapping[str, Answers]
    scans: Mapping[str, Sequence[Line]]
    dicom: Levels


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", choices=[f"cortex-{cpu}" for cpu in qemu.CPUS], help="run everything on this processor only")
    parser.add_argument("--suite", choices=list(PYTHONS), help="only in this suite")
    parser.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    parser.add_argument("--images", type=Path, help="scan these images (default: the bundle's golden images)")
    parser.add_argument(
        "--out",
        type=Path,
        default=PROJECT / "out" / "virtual_pi",
        help="write JSON for `limiar convert --verified` here (default: out/virtual_pi)",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    page.option(parser)


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    if asked.docs:
        if asked.cpu or asked.suite or asked.images:
            raise Unavailable("--docs needs the whole level: leave --cpu, --suite and --images out")
        times, outcomes = page.measured("user")
        page.write("user", times + [(f"{one.where}: {one.what}", one.found) for one in outcomes if one.what in ON_PAGE])
        return
    images = (asked.images or asked.bundle / "golden").resolve()
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as name:
        scratch = Path(name)
        limiar = wheelhouse.build_wheel(scratch)
        here = asked_here(open_bundle(asked.bundle.resolve()), images, scratch)
        binds = {"/images": images, "/dicom": scratch / "dicom"}

        wanted = [names for names in DEVICES if asked.suite in (None, names[0])]
        with concurrent.futures.ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            running = {names: pool.submit(visit, *names, limiar, here, binds, asked) for names in wanted}
            visits = {names: future.result() for names, future in running.items()}
    outcomes = [outcome for found, _ in visits.values() for outcome in found]
    if ("bookworm", "tflite") in visits:
        (_, ones), (_, others) = (visits["bookworm", extra] for extra in RUNTIMES)
        outcomes += [steps_apart(f"bookworm, {cpu}", ones[cpu], others[cpu], "tflite_int8") for cpu in ones]
    report(outcomes, asked.json)


def asked_here(bundle: Bundle, images: Path, folder: Path) -> Here:
    """This machine's answers. Raises Failed or Unavailable."""
    done = subprocess.run([sys.executable, PROJECT / "scripts" / "environment.py", "tflite-runtime"], check=False)
    if done.returncode:
        raise Unavailable("tflite-runtime's answers on this machine are not available: see above")
    pythons = {"onnx": Path(sys.executable), "tflite": PROJECT / ".venv-tflite" / "bin" / "python"}
    answers = {extra: ask_here(python, bundle, folder, RUNTIMES[extra], FILES) for extra, python in pythons.items()}
    scans = {extra: scan_here(python, bundle, images, folder, RUNTIMES[extra][0]) for extra, python in pythons.items()}
    return Here(bundle, answers, scans, levels_here(written(folder / "dicom", made_files() | test_files())))


def visit(
    suite: str, extra: str, limiar: Path, here: Here, binds: Mapping[str, Path], asked: argparse.Namespace
) -> tuple[list[Outcome], dict[str, Answers]]:
    """All checks on one device, and its answers by processor. limiar: its wheel; binds: as in Root. Raises Failed."""
    progress(f"{suite}: root and wheels for limiar[{extra}]")
    files = {asked.cpu: FILES} if asked.cpu else {ALL: FILES, QUICK[suite]: INT8}
    there = {}
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as folder, tempfile.TemporaryDirectory() as work:
        device = make_device(suite, limiar, Path(folder), extra)
        outcomes = list(installed(device))
        with opened(device, here.bundle, Path(work), binds) as root:
            for cpu, names in files.items():
                where = f"{suite}, {cpu}"
                outcomes.append(is_on(where, at(root, cpu), cpu))
                if not outcomes[-1].passed:
                    report(outcomes[-1:])  # raises Failed: further checks would mean nothing
                progress(f"{where}: answers of {', '.join(RUNTIMES[extra])}")
                there[cpu] = ask_there(at(root, cpu), device, RUNTIMES[extra], names)
                outcomes += is_whole(where, here.answers[extra], there[cpu])
                outcomes += compared(where, here.bundle, here.answers[extra], there[cpu], names)
            outcomes += commands(here, device, at(root, asked.cpu or ALL), asked.out)
            if extra == "onnx":
                progress(f"{suite}: {len(here.dicom)} DICOM files")
                where = f"{suite}, {asked.cpu or ALL}"
                outcomes.append(levels_compared(where, here.dicom, levels_there(at(root, asked.cpu or ALL), device)))
    return outcomes, there


def installed(device: Device) -> Iterator[Outcome]:
    """Checks what pip installed there."""
    where = f"{device.suite}, without [{device.extra}]"
    base = sum(map(size_mb, device.folders[:2]))
    yield Outcome(where, "limiar and what it needs", f"{base:.0f} MB", f"<= {SIZE_MB} MB", base <= SIZE_MB)
    found = [path.name for folder in device.folders for path in folder.glob("tensorflow*")]
    yield Outcome(where, "TensorFlow", ", ".join(found) or "none", "none", not found)


def commands(here: Here, device: Device, root: Root, out: Path) -> Iterator[Outcome]:
    """What a person runs: doctor, verify, scan, bench. The JSON of verify goes to `out` if it passed."""
    where, runtimes = f"{device.suite}, {root.cpu}", RUNTIMES[device.extra]
    progress(f"{where}: limiar doctor, verify, scan and bench, {', '.join(runtimes)}")
    if device.extra == "onnx":  # once a suite: it imports every package in a process of its own
        diagnosis = read(limiar(root, device, "doctor", "--json"), Diagnosis)
        problems = "; ".join(diagnosis.problems) or "none"
        yield Outcome(where, "limiar doctor: problems", problems, "none", problems == "none")
        yield Outcome(where, "limiar doctor: emulator", f"{diagnosis.emulator}", "qemu", diagnosis.emulator == "qemu")
    yield from verified(where, root, device, out / f"{device.suite}-{root.cpu}-{runtimes[0]}.json")
    lines = read_scan(limiar(root, device, "scan", "/bundle", "/images", "--runtime", runtimes[0], "--jsonl", "-"))
    yield from scans_compared(f"{where}, {runtimes[0]}", here.scans[device.extra], lines)
    yield from benched(where, root, device)


def benched(where: str, root: Root, device: Device) -> Iterator[Outcome]:
    """`limiar bench` runs, says that an emulator's times mean nothing, and keeps nothing."""
    words = ("/bundle", "--preset", "quick", "--count", "20", "--file", "tflite_int8", "--runtime", RUNTIMES[device.extra][0])
    done = limiar(root, device, "bench", *words, "--json", "-")
    result = read(done, BenchResult)
    measured = done.returncode == 0 and [one.whole and one.whole.count for one in result.measurements] == [20]
    yield Outcome(where, "limiar bench", f"exit status {done.returncode}", "exit status 0, 20 calls measured", measured)
    (warning,) = [note for note in result.notes if "emulat" in note] or ["none"]
    yield Outcome(where, "limiar bench: warning", warning, "that times mean nothing", warning != "none")
    if device.extra == "onnx":  # LiteRT, which is measured, is in the same folder as what every runtime needs
        there, found = sum(map(size_mb, device.folders[:2])), result.installed
        said = (found.base_bytes + sum(found.runtime_bytes.values())) / 1e6 if found and not found.unknown else 0.0
        near = abs(said - there) <= SAME_SIZE * there
        yield Outcome(where, "limiar bench: installed size", f"{said:.0f} MB", f"{there:.0f} MB, within {SAME_SIZE:.0%}", near)
    kept = limiar(root, device, "bench", *words, "--save-best")
    code = kept.stderr.strip().rpartition("\n")[2].partition(":")[0]
    yield Outcome(where, "limiar bench --save-best", code, "E-BENCH-UNFIT", (kept.returncode, code) == (1, "E-BENCH-UNFIT"))


def verified(where: str, root: Root, device: Device, out: Path) -> Iterator[Outcome]:
    """Every file on every runtime there; what passed is kept for `limiar convert --verified`."""
    out.unlink(missing_ok=True)  # an earlier run's file says nothing about this one
    done = limiar(root, device, "verify", "/bundle", "--json")
    found = read(done, Verification)
    for check in found.checks:
        if check.runtime in RUNTIMES[device.extra]:
            differ = f"{check.largest_difference:.3g} in {check.images} images" if check.passed else check.message
            must = f"passed, <= {check.tolerance}"
            yield Outcome(where, f"verify: {check.file} on {check.runtime} {check.version}", differ, must, check.passed is True)
    passed = done.returncode == 0 and found.passed and found.machine == "aarch64"
    yield Outcome(where, "limiar verify", f"exit status {done.returncode}, {found.cpu}", "exit status 0", passed)
    if passed:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        progress(f"{out}: for `limiar convert --verified`")


def read(done: "subprocess.CompletedProcess[str]", kind: type[T]) -> T:
    """The JSON that a command printed, whatever its exit status. Raises Failed if it printed something else."""
    try:
        return msgspec.json.decode(done.stdout, type=kind)
    except msgspec.DecodeError:
        said = (done.stdout + done.stderr).strip()[-600:]
        raise Failed(f"`{' '.join(map(str, done.args))}` ended with {done.returncode}:\n{said}") from None


def limiar(root: Root, device: Device, *words: str) -> "subprocess.CompletedProcess[str]":
    """Runs `limiar` in the root."""
    return root.run("python3", "-P", "-m", "limiar", *words, environ=device.environ, check=False)


@contextlib.contextmanager
def opened(device: Device, bundle: Bundle, work: Path, more: Mapping[str, Path] | None = None) -> Iterator[Root]:
    """The device's root with the bundle as /bundle and `work`, for files, as /w. more: further binds, as in Root.binds."""
    binds = {**device.binds, "/bundle": bundle.path, "/guest": ASK.parent, "/w": work, **(more or {})}
    with scratch_root(device.root, qemu=qemu.user_mode(), binds=binds) as root:
        yield root


def at(root: Root, cpu: str) -> Root:
    """The same root with another processor."""
    return dataclasses.replace(root, cpu=cpu)
