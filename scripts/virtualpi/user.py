"""The real aarch64 wheels under QEMU's user mode, on the processors of Raspberry Pi 3, 4 and 5, Debian 12 and 13.

limiar is built as a wheel, installed with a device's own requirements, and asked `doctor`, `verify` and `scan`. Its answers for
the bundle's golden images are compared with those of the same runtimes on this machine. Without --suite and --cpu: everything on
a Cortex-A72 in both suites, and the int8 files on a Cortex-A53 and a Cortex-A76. OUT gets what `limiar convert --verified` takes.

    scripts/virtual_pi user
    scripts/virtual_pi user --cpu cortex-a76 --suite trixie --json
"""

import argparse
import concurrent.futures
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

import wheelhouse
from edge_app.bundle import Bundle, open_bundle
from edge_app.files import write_whole
from edge_app.verify import Verification
from virtualpi import PROJECT, Unavailable, qemu
from virtualpi.answers import (
    ASK,
    Answers,
    ask_here,
    ask_there,
    compared,
    is_there,
    read_scan,
    scan_here,
    scans_compared,
    steps_apart,
)
from virtualpi.device import PYTHONS, Device, make_device, size_mb
from virtualpi.namespace import Root, scratch_root
from virtualpi.outcome import Outcome, progress, report

SIZE_MB = 280  # a device's packages, without the onnx extra
INT8 = ("tflite_int8", "onnx_int8")
FILES = (*INT8, "tflite_fp32", "onnx_fp32")
DEFAULT, TFLITE = ("litert", "onnxruntime"), ("tflite-runtime",)
PATHS = {DEFAULT: "/opt/limiar:/opt/onnx", TFLITE: "/opt/tflite"}
ALL, QUICK = "cortex-a72", {"bookworm": "cortex-a53", "trixie": "cortex-a76"}


class Here:
    """What this machine answers."""

    def __init__(self, bundle: Bundle, images: Path, folder: Path) -> None:
        """Raises Failed or Unavailable."""
        done = subprocess.run([sys.executable, PROJECT / "scripts" / "environment.py", "tflite-runtime"], check=False)
        if done.returncode:
            raise Unavailable("the answers of tflite-runtime on this machine cannot be had: see above")
        self.answers: Mapping[Sequence[str], Answers] = {
            DEFAULT: ask_here(Path(sys.executable), bundle, folder, DEFAULT, FILES),
            TFLITE: ask_here(PROJECT / ".venv-tflite" / "bin" / "python", bundle, folder, TFLITE, FILES),
        }
        self.scan = scan_here(bundle, images, folder)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", choices=[f"cortex-{cpu}" for cpu in qemu.CPUS], help="everything on this processor alone")
    parser.add_argument("--suite", choices=list(PYTHONS), help="in this suite alone")
    parser.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    parser.add_argument("--images", type=Path, help="what is scanned (default: the bundle's golden images)")
    parser.add_argument("--out", type=Path, default=PROJECT / "out" / "virtual_pi", help="default: out/virtual_pi")
    parser.add_argument("--json", action="store_true", help="the table as JSON")


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    bundle, images = open_bundle(asked.bundle), (asked.images or asked.bundle / "golden").resolve()
    suites = [asked.suite] if asked.suite else list(PYTHONS)
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as name, concurrent.futures.ThreadPoolExecutor() as pool:
        scratch = Path(name)
        limiar = wheelhouse.build_wheel(scratch)
        devices = {suite: pool.submit(make_device, suite, limiar, _made(scratch / suite)) for suite in suites}
        here = Here(bundle, images, scratch)
        running = [
            pool.submit(lambda suite=suite: list(visits(devices[suite].result(), bundle, images, here, asked)))
            for suite in suites
        ]
        outcomes = [outcome for future in running for outcome in future.result()]
    report(outcomes, asked.json)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def visits(device: Device, bundle: Bundle, images: Path, here: Here, asked: argparse.Namespace) -> Iterator[Outcome]:
    """All that is asked of one suite."""
    yield from installed(device)
    yield from everything(device, asked.cpu or ALL, bundle, images, here, asked.out)
    if not asked.cpu:
        yield from answers(device, QUICK[device.suite], bundle, here, INT8)


def installed(device: Device) -> Iterator[Outcome]:
    """What pip put there."""
    size = size_mb(device.limiar)
    yield Outcome(device.suite, "limiar and what it needs", f"{size:.0f} MB", f"<= {SIZE_MB} MB", size <= SIZE_MB)
    found = [path.name for folder in device.binds.values() for path in folder.glob("tensorflow*")]
    yield Outcome(device.suite, "TensorFlow", ", ".join(found) or "none", "none", not found)


def answers(
    device: Device, cpu: str, bundle: Bundle, here: Here, files: Sequence[str], binds: Mapping[str, Path] | None = None
) -> Iterator[Outcome]:
    """The golden images on every runtime. binds: what else to put into the root, a planted fault."""
    where = f"{device.suite}, {cpu}"
    there = {}
    with opened(device, cpu, bundle, binds) as root:
        for runtimes in (DEFAULT, TFLITE) if device.tflite else (DEFAULT,):
            progress(f"{where}: {', '.join(runtimes)}")
            there[runtimes] = ask_there(root, PATHS[runtimes], runtimes, files)
            yield from is_there(where, there[runtimes], cpu)
            yield from compared(where, bundle, here.answers[runtimes], there[runtimes])
    if TFLITE in there:
        yield steps_apart(where, there[DEFAULT], there[TFLITE], "tflite_int8")


def everything(device: Device, cpu: str, bundle: Bundle, images: Path, here: Here, out: Path) -> Iterator[Outcome]:
    """The answers of all files, and what a person asks: doctor, verify, scan."""
    where = f"{device.suite}, {cpu}"
    yield from answers(device, cpu, bundle, here, FILES)
    with opened(device, cpu, bundle, {"/images": images}) as root:
        progress(f"{where}: limiar doctor")
        doctor = json.loads(limiar(root, DEFAULT, "doctor", "--json").stdout)
        problems = "; ".join(doctor["problems"]) or "none"
        yield Outcome(where, "limiar doctor: problems", problems, "none", problems == "none")
        for runtimes in (DEFAULT, TFLITE) if device.tflite else (DEFAULT,):
            progress(f"{where}: limiar verify and scan, {', '.join(runtimes)}")
            yield from verified(where, root, runtimes, out / f"{device.suite}-{cpu}-{runtimes[0]}.json")
            words = ("/bundle", "/images", "--runtime", runtimes[0], "--jsonl", "-")
            lines = read_scan(limiar(root, runtimes, "scan", *words))
            yield from scans_compared(f"{where}, {runtimes[0]}", here.scan, lines)


def verified(where: str, root: Root, runtimes: Sequence[str], out: Path) -> Iterator[Outcome]:
    """Every file on every runtime there; what passed is kept for `limiar convert --verified`."""
    done = limiar(root, runtimes, "verify", "/bundle", "--json")
    found = msgspec.json.decode(done.stdout, type=Verification)
    for check in found.checks:
        if check.runtime in runtimes:
            differ = f"{check.largest_difference:.3g} in {check.images} images" if check.passed else check.message
            must = f"passed, <= {check.tolerance}"
            yield Outcome(where, f"verify: {check.file} on {check.runtime} {check.version}", differ, must, check.passed is True)
    passed = done.returncode == 0 and found.passed and found.machine == "aarch64"
    yield Outcome(where, "limiar verify", f"exit status {done.returncode}, {found.cpu}", "exit status 0", passed)
    if passed:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        progress(f"{out}: for `limiar convert --verified`")


def limiar(root: Root, runtimes: Sequence[str], *words: str) -> "subprocess.CompletedProcess[str]":
    """The command, with its state in the root's /tmp."""
    environ = {"PYTHONPATH": PATHS[tuple(runtimes)], "LIMIAR_STATE": "/tmp/limiar", "LANG": "C.UTF-8"}  # noqa: S108  # its own /tmp
    return root.run("python3", "-P", "-m", "edge_app", *words, environ=environ, check=False)


@contextlib.contextmanager
def opened(device: Device, cpu: str, bundle: Bundle, more: Mapping[str, Path] | None = None) -> Iterator[Root]:
    """The device's root with the bundle as /bundle and a folder for files as /w."""
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as work:
        binds = {**device.binds, "/bundle": bundle.path, "/guest": ASK.parent, "/w": Path(work), **(more or {})}
        with scratch_root(device.root, qemu=qemu.user_mode(), cpu=cpu, binds=binds) as root:
            yield root
