"""Where a release goes: the folder that --out names, and those beside it. Imports nothing heavy."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE
from limiar.edge_app.errors import BundleError, printable


def check_out(out: Path, replace: bool) -> None:
    """Replaces nothing unless asked to. Raises BundleError."""
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(out):
        return
    where = printable(str(out))
    if not (out / MANIFEST).is_file():
        raise BundleError("E-BUNDLE-OUT", f"{where} exists and is not a bundle: choose another --out, or move it away")
    if not replace:
        kind = "a signed bundle" if os.path.lexists(out / SIGNATURE) else "a bundle"
        raise BundleError("E-BUNDLE-OUT", f"{where} already has {kind}: give --replace to replace it, or another --out")


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Raises BundleError, one line, if the folder cannot be made or filled."""
    try:
        yield
    except OSError as error:
        met = f"{printable(str(out))}: {error.strerror or printable(str(error))}"
        raise BundleError("E-BUNDLE-OUT", f"{met}: give --out a name in a folder that can be written and has room") from None


def name_from(out: Path) -> str:
    """A bundle's name from the folder's: lower case, with - for characters that a name cannot have."""
    return re.sub(r"[^a-z0-9_.-]+", "-", out.resolve().name.lower()).strip("-._")[:64] or "model"


def refused_folder(out: Path) -> Path:
    """Where the report goes if the gate refused the release."""
    return out.with_name(f"{out.name}.refused")


def measured_folder(out: Path) -> Path:
    """Where the timings of the bundle `out` go."""
    return out.with_name(f"{out.name}.measured")
