"""Compares limiar's answers in a root with those on this machine: the golden images' tensors and logits, and a scan."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.inference.classifier import decide
from virtualpi import PROJECT, Failed
from virtualpi.device import Device
from virtualpi.namespace import Root
from virtualpi.outcome import Outcome

ASK = PROJECT / "tests" / "harness" / "virtualpi" / "guest" / "ask.py"
FLOAT_TOLERANCE = 1e-6  # of the largest logit: float32 sums in another order
# Largest difference of int8 logits between XNNPACK and the built-in kernels, which round halves differently: of 4,000 logits
# that the reference model gave for CT patches (x86-64), 39 % differed by one step, 1.5 % by two, 0.05 % by three.
STEPS = 3
_AARCH64 = 183  # e_machine in elf.h
_PACKAGES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "onnxruntime": "onnxruntime"}
_PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b"}  # in /proc/cpuinfo


class Place(Struct, frozen=True):
    """What guest/where.py prints."""

    uname: str
    cpu_part: str
    python: str


class Facts(Struct, frozen=True):
    """What guest/ask.py prints."""

    loaded: dict[str, int]  # library -> e_machine
    machines: dict[str, list[str]]  # e_machine -> how many libraries, and three of them
    runtimes: dict[str, str]  # name -> version
    kernels: dict[str, str]  # "FILE RUNTIME" -> Runtime.kernels
    steps: dict[str, float]  # "FILE RUNTIME" -> what one step of a quantized logit is


class Answers(NamedTuple):
    """What one Python answered."""

    facts: Facts
    said: str  # stderr
    tensors: np.ndarray  # uint8 [N, H, W, C]
    logits: dict[str, np.ndarray]  # "FILE RUNTIME" -> float32 [N, K]


class Line(Struct, frozen=True):
    """The fields needed from a line of `limiar scan`."""

    path: str
    decision: str
    file: str = ""
    verified: str = ""
    confidence: float = 0.0


def ask_here(python: Path, bundle: Bundle, folder: Path, runtimes: Sequence[str], files: Sequence[str]) -> Answers:
    """The answers of a Python of this machine; `folder` is for its files. Raises Failed."""
    out = folder / "answers.npz"
    command = [str(python), "-P", str(ASK), str(bundle.path), str(out), ",".join(runtimes), ",".join(files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{python} gives no answers: {done.stderr.strip()[-600:]}")
    return _read(done, out)


def ask_there(root: Root, device: Device, runtimes: Sequence[str], files: Sequence[str]) -> Answers:
    """The answers of a root's Python, which sees the bundle as /bundle and a folder for files as /w. Raises Failed."""
    words = ("/bundle", "/w/answers.npz", ",".join(runtimes), ",".join(files))
    done = root.run("python3", "-P", "/guest/ask.py", *words, environ=device.environ)
    return _read(done, root.binds["/w"] / "answers.npz")


def _read(done: "subprocess.CompletedProcess[str]", path: Path) -> Answers:
    with np.load(path, allow_pickle=False) as arrays:
        logits = {name: arrays[name] for name in arrays.files}
    return Answers(msgspec.json.decode(done.stdout, type=Facts), done.stderr, logits.pop("tensors"), logits)


def is_on(where: str, root: Root, cpu: str) -> Outcome:
    """Does the root's Python run on the intended processor? Raises Failed if it does not even start."""
    done = root.run("python3", "-P", "/guest/where.py")
    place = msgspec.json.decode(done.stdout, type=Place)
    found, must = f"{place.uname}, CPU part {place.cpu_part}", f"aarch64, CPU part {_PARTS[cpu]}"
    return Outcome(where, "machine", f"{found}, Python {place.python}", must, found == must)


def is_whole(where: str, here: Answers, there: Answers) -> Iterator[Outcome]:
    """Are all libraries AArch64, and the kernels the same as here?"""
    facts = there.facts
    # For OpenCV and the runtimes, the libraries that the process has mapped; for all others, those in the root.
    for package in ("cv2", *(_PACKAGES[name] for name in facts.runtimes)):
        mapped = {Path(path).name: kind for path, kind in facts.loaded.items() if f"/{package}/" in path}
        found = ", ".join(f"{name.partition('.')[0]} {kind}" for name, kind in sorted(mapped.items())[:2]) or "none"
        yield Outcome(where, f"ELF machine of {package}", found, str(_AARCH64), set(mapped.values()) == {_AARCH64})
    kinds = [f"{paths[0]} x {kind}" for kind, paths in sorted(facts.machines.items())]
    others = [path for kind, paths in facts.machines.items() if kind != str(_AARCH64) for path in paths[1:]]
    yield Outcome(
        where, "ELF machines of all libraries", " ".join([*kinds, *others]), str(_AARCH64), not others and bool(kinds)
    )
    for name, kernels in facts.kernels.items():
        # LiteRT uses XNNPACK for every file; tflite-runtime leaves uint8 inputs to its built-in kernels, here and there.
        wanted = "XNNPACK" if name.endswith(" litert") else here.facts.kernels[name]
        yield Outcome(where, f"{name}: kernels", kernels, wanted, kernels == wanted)
    if "XNNPACK" in facts.kernels.values():
        greeting = next((line for line in there.said.splitlines() if "XNNPACK delegate" in line), "none")
        yield Outcome(where, "said at the start", greeting, "an XNNPACK delegate", greeting != "none")
    broken = next((line for line in there.said.splitlines() if "Error in cpuinfo" in line), "none")
    yield Outcome(where, '"Error in cpuinfo"', broken, "none", broken == "none")


def compared(where: str, bundle: Bundle, here: Answers, there: Answers, files: Sequence[str]) -> Iterator[Outcome]:
    """Compares tensors byte for byte, logits by runtime, and decisions, for these files on every runtime that answered here."""
    asked = [name for name in here.logits if name.partition(" ")[0] in files]
    answered = f"{len(there.logits)} of {len(asked)}"
    yield Outcome(where, "files and runtimes that answer", answered, "all", list(there.logits) == asked != [])
    versions = ", ".join(f"{name} {version}" for name, version in there.facts.runtimes.items())
    must = ", ".join(f"{name} {version}" for name, version in here.facts.runtimes.items())
    yield Outcome(where, "runtimes", versions, f"{must}, as here", versions == must)
    same = here.tensors.shape == there.tensors.shape and here.tensors.tobytes() == there.tensors.tobytes()
    yield Outcome(where, f"{len(there.tensors)} golden tensors", "equal" if same else "DIFFER", "equal", same)
    for name in (name for name in asked if name in there.logits):
        logits, file = there.logits[name], name.partition(" ")[0]
        allowed = 0.0 if bundle.model(file)[0].precision == "int8" else FLOAT_TOLERANCE
        largest = float(np.abs(here.logits[name]).max())
        differ = float(np.abs(logits.astype(np.float64) - here.logits[name]).max()) / largest
        others = _decided_otherwise(bundle, file, here.logits[name], logits)
        found = f"{differ:.1e} of the largest logit, {others} decisions"
        yield Outcome(where, f"{name}: differs", found, f"<= {allowed:g}, 0 decisions", differ <= allowed and others == 0)


def _decided_otherwise(bundle: Bundle, file: str, before: np.ndarray, after: np.ndarray) -> int:
    """The number of images that get another label; those that either side refers do not count."""
    if not np.isfinite(after).all():
        return len(after)  # such logits decide nothing
    model, _ = bundle.model(file)
    decided = [[decide(row, bundle.manifest.labels, model.decision).decision for row in rows] for rows in (before, after)]
    return sum(one != other and REFER not in (one, other) for one, other in zip(*decided, strict=True))


def steps_apart(where: str, one: Answers, other: Answers, file: str) -> Outcome:
    """How much two runtimes differ, in steps of the file's quantized logits."""
    (first, step), (second, _) = ((answers.logits[name], answers.facts.steps[name]) for answers, name in _of(file, one, other))
    steps = float(np.abs(first.astype(np.float64) - second).max()) / step
    return Outcome(where, f"{file}: one runtime and the other", f"{steps:.2f} steps", f"<= {STEPS}", steps <= STEPS + 0.001)


def _of(file: str, *both: Answers) -> list[tuple[Answers, str]]:
    return [(answers, next(name for name in answers.logits if name.startswith(f"{file} "))) for answers in both]


def read_scan(done: "subprocess.CompletedProcess[str]") -> list[Line]:
    """The lines of `limiar scan`, by path. Raises Failed if it was refused."""
    if done.returncode not in (0, 4):  # 4: some images were refused, on both sides
        raise Failed(f"limiar scan ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return sorted(
        (msgspec.json.decode(line, type=Line) for line in done.stdout.splitlines()), key=lambda line: Path(line.path).name
    )


def scan_here(python: Path, bundle: Bundle, images: Path, folder: Path, runtime: str) -> list[Line]:
    """The lines of a scan by a Python of this machine; `folder` is for its database."""
    words = ("scan", bundle.path, images, "--runtime", runtime, "--db", folder / f"{runtime}.db", "--jsonl", "-")
    environ = {**os.environ, "LIMIAR_STATE": str(folder)}  # so that other runs on this machine do not count
    command = (python, "-P", "-m", "limiar", *words)
    return read_scan(subprocess.run(command, env=environ, capture_output=True, text=True, check=False))


def scans_compared(where: str, here: Sequence[Line], there: Sequence[Line]) -> Iterator[Outcome]:
    """Did one runtime give the same images the same labels here and there, outside the refer band?"""
    names = [[Path(line.path).name for line in lines] for lines in (here, there)]
    yield Outcome(where, "limiar scan: images", str(len(there)), str(len(here)), bool(here) and names[0] == names[1])
    pairs = list(zip(here, there, strict=False))
    others = sum(one.decision != two.decision and REFER not in (one.decision, two.decision) for one, two in pairs)
    referred = sum(line.decision == REFER for line in there)
    largest = max((abs(one.confidence - two.confidence) for one, two in pairs), default=0.0)
    said = f"{others} other, {referred} referred, confidence within {largest:.1e}"
    passed = others == 0 and largest <= FLOAT_TOLERANCE
    yield Outcome(where, "limiar scan: decisions", said, f"0 other, confidence within {FLOAT_TOLERANCE:g}", passed)
    by = ", ".join(sorted({line.verified for line in there if line.decision != "refused"}))
    yield Outcome(where, "limiar scan: verified by", by, "bundle or device", by in ("bundle", "device"))
