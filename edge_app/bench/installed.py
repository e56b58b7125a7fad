"""How much room limiar takes on this device: its own files and those of the packages that it needs. Python is not counted."""

import os
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.runtimes import RUNTIMES

_OWN = Path(__file__).parents[2]  # the folder `limiar`, also where it runs from its source
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # at the start of a requirement, PEP 508


class Installed(Struct, frozen=True):
    """Sizes of files. What several packages need counts once."""

    base_bytes: int  # limiar and what it needs besides a runtime
    runtime_bytes: dict[str, int]  # what each runtime adds, with what it alone needs
    unknown: tuple[str, ...]  # packages whose installer left no list of their files (apt): not counted


def installed(runtimes: Iterable[str]) -> Installed | None:
    """Of limiar and these runtimes. Takes 60 ms on a server. None: limiar was not installed, so what it needs is not known."""
    try:
        needed = _required("limiar")
    except metadata.PackageNotFoundError:
        return None
    base = _with_theirs(needed - {_normal(kind.package) for kind in RUNTIMES.values()})
    own = {name: _with_theirs({_normal(RUNTIMES[name].package)}) - base for name in dict.fromkeys(runtimes)}
    sizes = {package: _bytes(package) for package in base.union(*own.values())}
    return Installed(
        _own_bytes() + sum(sizes[package] or 0 for package in base),
        {name: sum(sizes[package] or 0 for package in packages) for name, packages in own.items()},
        tuple(sorted(package for package, size in sizes.items() if size is None)),
    )


def _with_theirs(packages: set[str]) -> set[str]:
    """Those that are installed, and what they need."""
    found, left = set[str](), list(packages)
    while left:
        package = left.pop()
        if package not in found:
            try:
                left += _required(package)
            except metadata.PackageNotFoundError:  # needed on another system, or by another Python
                continue
            found.add(package)
    return found


def _required(package: str) -> set[str]:
    """What it needs without its extras. Raises PackageNotFoundError."""
    lines = metadata.requires(package) or ()
    names = (_NAME.match(line) for line in lines if "extra ==" not in line.partition(";")[2])
    return {_normal(name[0]) for name in names if name}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _bytes(package: str) -> int | None:
    """The size of the files that its installer listed (RECORD) and that are there; None: of none."""
    sizes = [size for file in metadata.files(package) or () if (size := _size(file.locate())) is not None]
    return sum(sizes) if sizes else None


def _own_bytes() -> int:
    found = (os.path.join(folder, file) for folder, _, files in os.walk(_OWN, followlinks=True) for file in files)
    return sum(_size(path) or 0 for path in found)


def _size(path: "os.PathLike[str] | str") -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
