"""A device with one Debian suite: its root, and limiar's built wheel with its requirements, as pip installs them on a Pi."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wheelhouse
from virtualpi import PROJECT, Failed, debian
from virtualpi.cache import CACHE, kept, key

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}  # Raspberry Pi OS 12 and 13
# What every Raspberry Pi OS has for a Python program; `extract` does not resolve all dependencies, such as dash and libc-bin.
_PACKAGES = ("python3", "libstdc++6", "libgcc-s1", "zlib1g", "ca-certificates", "dash", "coreutils", "libc-bin", "base-files")
TFLITE_LOCK = PROJECT / "requirements" / "tflite-runtime.lock"


@dataclass(frozen=True)
class Device:
    """A root, and its Python's folders: limiar, its base requirements, then what its extra adds."""

    suite: str
    extra: str  # "onnx", with "dicom", or "tflite"
    root: Path
    folders: tuple[Path, ...]
    limiar: str  # the sha256 of its wheel

    @property
    def binds(self) -> dict[str, Path]:
        """Paths in the root -> folders here; /pycache is for what Python compiles, and kept for the next run."""
        compiled = CACHE / "pycache" / f"{self.root.name}-{self.extra}"
        compiled.mkdir(parents=True, exist_ok=True)
        return {**dict(zip(self._there, self.folders, strict=True)), "/pycache": compiled}

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables for its Python."""
        # OpenBLAS starts a thread for each core when numpy is imported, which takes seconds under emulation.
        quick = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": "/pycache", "LANG": "C.UTF-8"}
        return quick | {"PYTHONPATH": ":".join(self._there), "LIMIAR_STATE": "/tmp/limiar"}  # a /tmp of its own

    @property
    def _there(self) -> list[str]:
        # Named after their contents, because Python matches compiled code to a file only by path, size and time.
        return [f"/opt/limiar-{self.limiar[:16]}", *(f"/opt/{path.name}" for path in self.folders[1:])]


def make_device(suite: str, limiar: Path, folder: Path, extra: str = "onnx") -> Device:
    """limiar: its wheel, unpacked into `folder`. Raises Unavailable; Failed if the wheel requires what no device has."""
    python, lock = PYTHONS[suite], TFLITE_LOCK if extra == "tflite" else wheelhouse.DEVICE
    extras = (extra,) if extra == "tflite" else (extra, "dicom")  # one lock has pydicom and its decoders
    house = wheels(python, lock, extras)
    try:
        wheelhouse.install(folder, house, [f"limiar[{','.join(extras)}] @ {limiar.as_uri()}"], python, "--dry-run")
    except wheelhouse.WheelhouseError as error:
        raise Failed(f"{limiar.name} does not install with a device's requirements alone: {error}") from None
    wheelhouse.install(folder, house, [str(limiar)], python, "--no-deps")
    needed = {entry.partition("==")[0] for entry in wheelhouse.locked_for_devices(lock, ())}
    base: list[Path] = []
    more: list[Path] = []
    for wheel in wheelhouse.wheels(house):
        (base if wheel.name in needed else more).append(wheel.path)
    folders = (folder, *(installed(house, part, python) for part in (base, more)))
    return Device(suite, extra, debian.root(suite, "arm64", _PACKAGES), folders, wheelhouse.sha256(limiar))


def wheels(python: str, lock: Path, extras: Sequence[str], arch: str = "aarch64") -> Path:
    """A cached wheelhouse of the packages that limiar needs. Raises WheelhouseError."""
    made_from = (*wheelhouse.locked_for_devices(lock, extras), python, arch)
    return kept("wheels", key(made_from), lambda folder: wheelhouse.download(folder, python, lock, extras, arch))


def installed(house: Path, paths: Sequence[Path], python: str, arch: str = "aarch64") -> Path:
    """A cached folder for PYTHONPATH with these wheels only. Raises WheelhouseError."""
    words = [str(path) for path in paths]
    return kept(
        "installed",
        key((*words, arch)),
        lambda folder: wheelhouse.install(folder, house, words, python, "--no-deps", arch=arch),
    )


def size_mb(folder: Path) -> float:
    """The size of its files, in MB of 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
