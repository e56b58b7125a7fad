"""Gets the wheels of a device on another machine: for 64-bit ARM, and any Python that pip has wheels for.

scripts/install_pi reads locks with it on the device itself, so it imports only the standard library.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from environment import uv_settings

PROJECT = Path(__file__).resolve().parents[1]
DEVICE = PROJECT / "requirements" / "device-newest.lock"
# Minor versions of glibc 2 that wheels are named after: Raspberry Pi OS 12 has 2.36, 13 a newer one.
_GLIBC = range(17, 37)
PIP = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check")


class WheelhouseError(Exception):
    """A command failed: str() is the command and the end of its output."""


class Wheel(NamedTuple):
    """A wheel in a folder."""

    name: str  # as registries write it: "ai-edge-litert"
    version: str
    path: Path


def machine_options(python: str, arch: str = "aarch64") -> list[str]:
    """pip's options for a machine with Python "3.11" and that architecture."""
    platforms = [f"manylinux2014_{arch}", *(f"manylinux_2_{minor}_{arch}" for minor in _GLIBC)]
    options = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    return options + [word for platform in platforms for word in ("--platform", platform)]


def make_wheelhouse(folder: Path, limiar: Path, python: str) -> list[Wheel]:
    """Writes every wheel of a device, and requirements.txt with their sha256. limiar: its wheel. Raises WheelhouseError."""
    folder.mkdir()
    download(folder, python)
    shutil.copy(limiar, folder)
    made = wheels(folder)
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{sha256(wheel.path)}\n" for wheel in made]
    (folder / "requirements.txt").write_text("".join(lines))
    # What a device will do, as far as another machine can check: everything is there, and every hash is right.
    offline = ("--no-index", "--find-links", folder, "--require-hashes", "--requirement", folder / "requirements.txt")
    with tempfile.TemporaryDirectory(prefix="limiar-wheelhouse-") as target:
        _run(*PIP, "install", "--quiet", "--dry-run", "--target", target, *offline, *machine_options(python))
    return made


def download(folder: Path, python: str, lock: Path = DEVICE, extras: Sequence[str] = ("onnx",), arch: str = "aarch64") -> None:
    """Downloads the packages that limiar and its extras need, as a lock says, and checks the hashes. Raises WheelhouseError."""
    with tempfile.TemporaryDirectory(prefix="limiar-wheelhouse-") as scratch:
        locked = Path(scratch, "device.lock")
        locked.write_text("".join(locked_for_devices(lock, extras)))
        exact = ("--require-hashes", "--requirement", str(locked), "--dest", str(folder))
        _run(*PIP, "download", "--quiet", *exact, *machine_options(python, arch))


def install(
    target: Path, wheelhouse: Path, requirements: Sequence[str], python: str, *options: str, arch: str = "aarch64"
) -> None:
    """Installs into a folder for that machine's PYTHONPATH, from a wheelhouse alone. Raises WheelhouseError.

    requirements: names, or paths of wheels; options: those that uv and pip share, such as "--no-deps".
    """
    # From there alone, whatever this machine's settings of uv name.
    environ = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
    _uv_install(target, python, arch, environ, "--no-index", "--find-links", str(wheelhouse), *options, *requirements)


def install_locked(target: Path, locked: Sequence[str], python: str, arch: str = "aarch64") -> None:
    """Installs only these entries of locks into a folder for that machine's PYTHONPATH. Raises WheelhouseError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.writelines(locked)
        lock.flush()
        words = ("--only-binary=:all:", "--no-deps", "--require-hashes", "--requirement", lock.name)
        _uv_install(target, python, arch, uv_settings(), *words)


def _uv_install(target: Path, python: str, arch: str, environ: Mapping[str, str], *words: str) -> None:
    """uv takes a seventh of pip's time. It copies, so that what runs in the folder cannot change uv's cache."""
    uv = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--link-mode", "copy")
    machine = ("--python-platform", f"{arch}-manylinux_2_{_GLIBC[-1]}", "--python-version", python)
    _run(*uv, *machine, "--target", str(target), *words, environ=environ)


def locked_for_devices(lock: Path = DEVICE, extras: Sequence[str] = ("onnx",)) -> list[str]:
    """The entries of a lock without those that only tests need: what limiar and its extras require, directly or indirectly."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    asked += [requirement for extra in extras for requirement in project["optional-dependencies"][extra]]
    needed = {re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0] for requirement in asked}
    found = re.finditer(r"^([a-z0-9._-]+)==.*\n(?:    .*\n)*", lock.read_text(), re.MULTILINE)
    entries = {entry[1]: entry[0] for entry in found}
    # Below each entry are the packages that require it: `# via NAME`, or `# via` and a line for each.
    via = {name: set(re.findall(r"^    #(?: via)? +(\S+)$", entry, re.MULTILINE)) for name, entry in entries.items()}
    while more := {name for name in entries.keys() - needed if via[name] & needed}:
        needed |= more
    return [entry for name, entry in entries.items() if name in needed]


def wheels(folder: Path) -> list[Wheel]:
    """The wheels in a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        found.append(Wheel(re.sub(r"[-_.]+", "-", name).lower(), version, path))
    return found


def build_wheel(folder: Path) -> Path:
    """limiar's own wheel, from this checkout as it is. Raises WheelhouseError."""
    _run(sys.executable, "-P", "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=PROJECT)
    return next(folder.glob("limiar-*.whl"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(*words: str | Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-400:] or f"exit status {done.returncode}"
        raise WheelhouseError(f"{' '.join(map(str, words[:6]))} … failed: {said}")
