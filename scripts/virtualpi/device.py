"""A device of one Debian suite: its root, and limiar's built wheel with what it asks for, as pip puts it on a Raspberry Pi."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import wheelhouse
from virtualpi import CACHE, PROJECT, debian

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}  # Raspberry Pi OS 12 and 13
# What a Python program finds on every Raspberry Pi OS. `extract` follows no dependency of dash's and libc's own.
_PACKAGES = ("python3", "libstdc++6", "libgcc-s1", "zlib1g", "ca-certificates", "dash", "coreutils", "libc-bin", "base-files")
_ONNX, _TFLITE = ("onnx",), ("tflite",)
TFLITE_LOCK = PROJECT / "requirements" / "tflite-runtime.lock"


@dataclass(frozen=True)
class Device:
    """A root, and folders for the PYTHONPATH of its Python."""

    suite: str
    root: Path
    limiar: Path  # with its base requirements
    onnx: Path  # what [onnx] adds
    tflite: Path | None  # limiar[tflite], with the numpy 1 that it needs; None: no wheel for this Python

    @property
    def binds(self) -> Mapping[str, Path]:
        """Where they are in the root."""
        return {f"/opt/{name}": path for name, path in self._folders.items()}

    @property
    def _folders(self) -> dict[str, Path]:
        return {"limiar": self.limiar, "onnx": self.onnx} | ({"tflite": self.tflite} if self.tflite else {})


def root(suite: str) -> Path:
    """Raises Unavailable."""
    return debian.root(suite, "arm64", _PACKAGES)


def make_device(suite: str, limiar: Path, folder: Path) -> Device:
    """limiar: its wheel; `folder` gets what is installed. Raises Unavailable or WheelhouseError."""
    python = PYTHONS[suite]
    house = wheels(python, wheelhouse.DEVICE, _ONNX)
    base = folder / "limiar"
    wheelhouse.install(base, house, [str(limiar)], python)
    # What the extra needs beside the base: pip installs into one folder alone what it does not find there.
    there = {path.name.split("-")[0].lower().replace("_", "-") for path in base.glob("*.dist-info")}
    more = [str(wheel.path) for wheel in wheelhouse.wheels(house) if wheel.name not in there]
    wheelhouse.install(folder / "onnx", house, more, python, "--no-deps")
    tflite = None
    if python == "3.11":
        tflite = folder / "tflite"
        wheelhouse.install(tflite, wheels(python, TFLITE_LOCK, _TFLITE), [f"limiar[tflite] @ file://{limiar}"], python)
    return Device(suite, root(suite), base, folder / "onnx", tflite)


def wheels(python: str, lock: Path, extras: Sequence[str], arch: str = "aarch64") -> Path:
    """A cached wheelhouse of what limiar needs of others. Raises WheelhouseError."""
    made_from = (*wheelhouse.locked_for_devices(lock, extras), python, arch)
    kept = CACHE / "wheels" / hashlib.sha256("".join(made_from).encode()).hexdigest()[:16]
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=kept.parent))
        try:
            wheelhouse.download(partial, python, lock, extras, arch)
            partial.rename(kept)
        except OSError:  # another run was quicker
            if not kept.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return kept


def size_mb(folder: Path) -> float:
    """What its files take, MB of 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
