"""Gives a root a camera: picamera2 over libcamera's virtual camera, which shows files.

Its parts are in tests/virtual_pi. It works in the same way on any architecture.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import wheelhouse
from virtualpi import PROJECT
from virtualpi.cache import kept, key
from virtualpi.device import PYTHONS
from virtualpi.namespace import scratch_root

SUITE = "trixie"
# trixie's own libcamera, 0.4, hangs with its virtual camera.
BACKPORTS = ("trixie-backports",)
# What picamera2 needs and Debian packages; the rest is in the lock.
PACKAGES = ("python3-libcamera/trixie-backports", "python3-prctl", "python3-piexif")
LOCK = PROJECT / "requirements" / "picamera2.lock"
_PARTS = PROJECT / "tests" / "virtual_pi"
SITE, SHIM, FRAMES = "/opt/site", "/opt/shim", "/opt/frames"  # in the root; the first two are for PYTHONPATH, the shim first


def binds(site: Path, frames: Path) -> Mapping[str, Path]:
    """What a root needs for the cameras of virtual.yaml."""
    yaml = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
    return {SITE: site, SHIM: _PARTS / "shim", FRAMES: frames, yaml: _PARTS / "virtual.yaml"}


def make_frames(folder: Path) -> None:
    subprocess.run([sys.executable, "-P", _PARTS / "make_frames.py", folder], check=True)


def make_site(root: Path, arch: str) -> Path:
    """A cached folder for PYTHONPATH: picamera2, pytest, and the packages that limiar needs. Raises WheelhouseError, Failed.

    root: of this machine's architecture; arch: as wheels call it, "x86_64".
    """
    locked = [*wheelhouse.locked_for_devices(extras=("test",)), LOCK.read_text()]

    def make(folder: Path) -> None:
        wheelhouse.install_locked(folder, locked, PYTHONS[SUITE], arch)
        # Compiled once: it takes 3 seconds, and saves 0.7 at each start.
        with scratch_root(root, binds={SITE: folder}) as there:
            there.run("python3", "-m", "compileall", "-q", "-j", "0", SITE)

    return kept("sites", key((*locked, arch)), make)
