"""The real aarch64 wheels under QEMU's user mode, on the processors of Raspberry Pi 3, 4 and 5, Debian 12 and 13.

limiar is built as a wheel, installed with a device's own requirements, and asked `doctor`, `verify` and `scan`. Its answers for
the bundle's golden images are compared with those of the same runtimes on this machine. Without --cpu: everything on a
Cortex-A72, and the int8 files on a Cortex-A53 (Debian 12) and a Cortex-A76 (13). OUT gets JSON for `limiar convert --verified`.

    scripts/virtual_pi user
    scripts/virtual_pi user --cpu cortex-a76 --suite trixie --json
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
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
    ENVIRON,
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
PATHS: Mapping[Sequence[str], str] = {DEFAULT: "/opt/limiar:/opt/onnx", TFLITE: "/opt/tflite"}
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
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as name:
        scratch = Path(name)
        limiar = wheelhouse.build_wheel(scratch)
        here = Here(bundle, images, scratch)

        def visit(suite: str) -> list[Outcome]:
            folder = scratch / suite
            folder.mkdir()
            progress(f"{suite}: root and wheels")
            device = make_device(suite, limiar, folder)
            outcomes = list(installed(device))
            with opened(device, bundle, folder, {"/images": images}) as root:
                outcomes += everything(device, at(root, asked.cpu or ALL), bundle, here, asked.out)
                if not asked.cpu:
                    outcomes += answers(device, at(root, QUICK[suite]), bundle, here, INT8)
            return outcomes

        with concurrent.futures.ThreadPoolExecutor() as pool:
            suites = [asked.suite] if asked.suite else list(PYTHONS)
            outcomes = [outcome for found in pool.map(visit, suites) for outcome in found]
    report(outcomes, asked.json)


def installed(device: Device) -> Iterator[Outcome]:
    """What pip put there."""
    size = size_mb(device.limiar)
    yield Outcome(device.suite, "limiar and what it needs", f"{size:.0f} MB", f"<= {SIZE_MB} MB", size <= SIZE_MB)
    found = [path.name for folder in device.binds.values() for path in folder.glob("tensorflow*")]
    yield Outcome(device.suite, "TensorFlow", ", ".join(found) or "none", "none", not found)


def answers(device: Device, root: Root, bundle: Bundle, here: Here, files: Sequence[str]) -> Iterator[Outcome]:
    """The golden images on every runtime."""
    where = f"{device.suite}, {root.cpu}"
    there = {}
    for runtimes in runtimes_of(device):
        progress(f"{where}: answers of {', '.join(runtimes)}")
        there[runtimes] = ask_there(root, PATHS[runtimes], runtimes, files)
        yield from is_there(where, here.answers[runtimes], there[runtimes], root.cpu)
        yield from compared(where, bundle, here.answers[runtimes], there[runtimes])
    if TFLITE in there:
        yield steps_apart(where, there[DEFAULT], there[TFLITE], "tflite_int8")


def everything(device: Device, root: Root, bundle: Bundle, here: Here, out: Path) -> Iterator[Outcome]:
    """The answers of all files, and what a person asks: doctor, verify, scan."""
    where = f"{device.suite}, {root.cpu}"
    yield from answers(device, root, bundle, here, FILES)
    progress(f"{where}: limiar doctor")
    problems = "; ".join(json.loads(limiar(root, DEFAULT, "doctor", "--json").stdout)["problems"]) or "none"
    yield Outcome(where, "limiar doctor: problems", problems, "none", problems == "none")
    for runtimes in runtimes_of(device):
        progress(f"{where}: limiar verify and scan, {', '.join(runtimes)}")
        yield from verified(where, root, runtimes, out / f"{device.suite}-{root.cpu}-{runtimes[0]}.json")
        lines = read_scan(limiar(root, runtimes, "scan", "/bundle", "/images", "--runtime", runtimes[0], "--jsonl", "-"))
        yield from scans_compared(f"{where}, {runtimes[0]}", here.scan, lines)


def runtimes_of(device: Device) -> list[tuple[str, ...]]:
    """What its Pythons have, one after the other."""
    return [DEFAULT, TFLITE] if device.tflite else [DEFAULT]


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
    environ = {"PYTHONPATH": PATHS[runtimes], "LIMIAR_STATE": "/tmp/limiar"}  # noqa: S108  # a /tmp of its own
    return root.run("python3", "-P", "-m", "edge_app", *words, environ=ENVIRON | environ, check=False)


@contextlib.contextmanager
def opened(device: Device, bundle: Bundle, work: Path, more: Mapping[str, Path] | None = None) -> Iterator[Root]:
    """The device's root with the bundle as /bundle and `work`, for files, as /w. more: what else there is, as in Root.binds.

    One root for all that is asked: what Python has compiled once it finds there.
    """
    binds = {**device.binds, "/bundle": bundle.path, "/guest": ASK.parent, "/w": work, **(more or {})}
    with scratch_root(device.root, qemu=qemu.user_mode(), binds=binds) as root:
        yield root


def at(root: Root, cpu: str) -> Root:
    """The same on another processor."""
    return dataclasses.replace(root, cpu=cpu)
