"""What this machine is, what is installed, and what is missing, with the command that installs it."""

import concurrent.futures
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from limiar import edge_app
from limiar.edge_app import APP
from limiar.edge_app.errors import StoreError
from limiar.edge_app.runtimes import RUNTIMES
from limiar.edge_app.store.profile import Profile, stored_profiles, unfit
from limiar.edge_app.store.state import default_path
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.energy import find_meter
from limiar.edge_app.system.machine import Condition, Machine, condition, machine
from limiar.edge_app.system.python import python_c

_IMPORT_S = 60.0  # for one package, from a slow SD card
_OLDEST_PYTHON = (3, 11)

# Run in a separate process: a wheel built for another CPU ends the process that imports it.
_IMPORT = """
import importlib, sys
from importlib import metadata
module = importlib.import_module(sys.argv[1])
package = importlib.import_module(sys.argv[2])
try:
    version = metadata.version(sys.argv[3])
except metadata.PackageNotFoundError:
    version = getattr(package, "__version__", "unknown")
print(version)
print(package.__path__[0] if hasattr(package, "__path__") else package.__file__)
"""


class Package(Struct, frozen=True):
    """Something that limiar imports."""

    name: str
    version: str | None  # None: missing, or cannot be imported
    path: str | None
    error: str | None  # why it cannot be imported
    needed: bool  # False: an extra
    install: str  # the command that installs it


class State(Struct, frozen=True):
    """limiar's state folder, which keeps results."""

    path: str  # empty: this user has no home folder, and LIMIAR_STATE is not set
    writable: bool
    free_mb: int


class Kept(Struct, frozen=True):
    """A bundle's profile in the state folder: what answers if nothing else is asked."""

    profile: Profile
    unfit: str  # why it is not used here; empty if it is


class Diagnosis(Struct, frozen=True):
    """What was found, as `--json` prints it."""

    app: str
    path: str  # of edge_app
    executable: str  # of Python
    machine: Machine
    condition: Condition
    energy: str  # the meter that `limiar bench` would read, or why there is none
    emulator: str | None  # of the processor; None: it is real
    packages: tuple[Package, ...]
    runtimes: tuple[Package, ...]
    sqlite: str
    cameras: tuple[str, ...]  # V4L2, as `limiar camera` takes them, with their names
    installed_mb: float  # limiar and what it needs, without extras
    state: State
    profiles: tuple[Kept, ...]
    problems: tuple[str, ...]  # what keeps limiar from working


def diagnose() -> Diagnosis:
    """Looks at everything, and imports every package once, each in a separate process.

    found = diagnose()
    print(found.app, found.problems)
    """
    here = machine()
    with concurrent.futures.ThreadPoolExecutor(here.cores) as pool:
        importing = [pool.submit(_package, *wanted) for wanted in _wanted_packages()]
        runtimes = tuple(pool.map(_runtime, RUNTIMES))
    meter = find_meter()
    packages, state = tuple(future.result() for future in importing), _state()
    return Diagnosis(
        app=APP,
        path=str(Path(edge_app.__file__).parent),
        executable=sys.executable,
        machine=here,
        condition=condition(),
        energy=meter if isinstance(meter, str) else meter.name,
        emulator=emulated(),
        packages=packages,
        runtimes=runtimes,
        sqlite=sqlite3.sqlite_version,
        cameras=tuple(_cameras()),
        installed_mb=round(sum(map(_size, _needed("limiar"))) / 2**20, 1),
        state=state,
        profiles=tuple(Kept(profile, unfit(profile)) for profile in stored_profiles(Path(state.path))) if state.path else (),
        problems=tuple(find_problems(here, packages, runtimes, state)),
    )


def find_problems(here: Machine, packages: tuple[Package, ...], runtimes: tuple[Package, ...], state: State) -> Iterator[str]:
    """What keeps limiar from working, each with its cure."""
    if here.bits != 64:
        yield f"Python has {here.bits} bits, and runtimes are made for 64: install a 64-bit system"
    if tuple(map(int, here.python.split(".")[:2])) < _OLDEST_PYTHON:
        yield f"Python {here.python} is too old: install 3.11 or newer"
    for package in packages:
        if package.needed and package.version is None:
            yield f"{package.name} {package.error}: {package.install}"
    for package in runtimes:
        if package.error and package.error != _MISSING:
            yield f"{package.name} {package.error}: {package.install}"
    if not any(package.version for package in runtimes):
        yield f"no runtime works: {runtimes[0].install}"
    if not state.path:
        yield "this user has no home folder to keep results in: set LIMIAR_STATE to a folder that this user can write"
    elif not state.writable:
        yield f"{state.path} cannot be written: make this user its owner, or set LIMIAR_STATE"


_MISSING = "is missing"


def _wanted_packages() -> Iterator[tuple[str, str, str, bool, str]]:
    """Name, module, distribution, needed, the command that installs it."""
    install = "pip install limiar"
    for name, module, distribution in (
        ("numpy", "numpy", "numpy"),
        ("Pillow", "PIL.Image", "pillow"),
        ("OpenCV", "cv2", "opencv-python-headless"),
        ("simplejpeg", "simplejpeg", "simplejpeg"),
        ("msgspec", "msgspec", "msgspec"),
        ("click", "click", "click"),
        ("cryptography", "cryptography", "cryptography"),
    ):
        yield name, module, distribution, True, install
    apt = "sudo apt install python3-picamera2, and a venv made with --system-site-packages"
    yield "picamera2", "picamera2", "picamera2", False, apt
    yield "Flask", "flask", "flask", False, "pip install 'limiar[web]'"  # of the page
    yield "paho-mqtt", "paho.mqtt.client", "paho-mqtt", False, "pip install 'limiar[fleet]'"  # of the uplink to a fleet
    # Compressed DICOM: JPEG-LS, JPEG 2000, lossless JPEG. Other DICOM needs no package of its own.
    yield "pyjpegls", "jpeg_ls", "pyjpegls", False, "pip install 'limiar[dicom]'"
    yield "pylibjpeg-openjpeg", "openjpeg", "pylibjpeg-openjpeg", False, "pip install 'limiar[dicom]'"
    yield "python-gdcm", "gdcm", "python-gdcm", False, "pip install 'limiar[gdcm]'"


def _runtime(name: str) -> Package:
    """A runtime, imported as limiar imports it."""
    kind = RUNTIMES[name]
    return _package(name, kind.module, kind.package, False, kind.install, kind.package.replace("-", "_"))


def _package(name: str, module: str, distribution: str, needed: bool, install: str, package: str | None = None) -> Package:
    top = package or module.partition(".")[0]
    command = python_c(_IMPORT, module, top, distribution)
    try:
        environment = os.environ | {"PYTHONIOENCODING": "utf-8"}  # whatever the terminal uses
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_IMPORT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return Package(name, None, None, f"took over {_IMPORT_S:.0f} s to import", needed, install)
    if done.returncode == 0:
        version, path = done.stdout.splitlines()[-2:]
        return Package(name, version, path, None, needed, install)
    return Package(name, None, None, _why(done, top), needed, install)


def _why(done: "subprocess.CompletedProcess[str]", top: str) -> str:
    said = done.stderr.strip().splitlines()
    if f"ModuleNotFoundError: No module named '{top}'" in said:
        return _MISSING
    return f"cannot be imported ({said[-1][:160] if said and done.returncode > 0 else f'it ended with {done.returncode}'})"


def _needed(name: str, found: frozenset[str] = frozenset()) -> frozenset[str]:
    """A distribution and, in turn, those that it requires without extras, if they are installed."""
    name = re.sub(r"[-_.]+", "-", name).lower()  # PyPA, "Names and normalization"
    if name in found:
        return found
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return found
    found |= {name}
    for requirement in requires:
        if "extra ==" not in requirement:
            found = _needed(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0], found)
    return found


def _size(name: str) -> int:
    """Bytes of an installed distribution's files. An editable limiar lists no files of its own, so its folder is counted."""
    paths = {Path(str(file.locate())) for file in metadata.files(name) or ()}
    if name == "limiar":
        paths |= set(Path(edge_app.__file__).parent.rglob("*"))
    return sum(path.stat().st_size for path in paths if path.is_file())


def _cameras() -> Iterator[str]:
    for device in sorted(Path("/sys/class/video4linux").glob("video*")):
        try:
            yield f"v4l2:/dev/{device.name} ({(device / 'name').read_text(encoding='utf-8', errors='replace').strip()})"
        except OSError:
            continue  # it was unplugged meanwhile


def _state() -> State:
    try:
        folder = default_path().parent
    except StoreError:
        return State("", False, 0)
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # limiar creates the rest
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return State(str(folder), writable, shutil.disk_usage(there).free >> 20)
