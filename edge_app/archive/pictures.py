"""The pictures of a comparison's page, as far as their files can still be read: drawn by a process that may crash."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from limiar.edge_app.archive.comparison import Look
from limiar.edge_app.archive.objects import Stores, is_address
from limiar.edge_app.archive.plan import Archive, Known
from limiar.edge_app.bundle.manifest import MANIFEST, DicomSpec, InputSpec, Manifest, parse_manifest
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.image.containers.container import BYTES_LIMIT
from limiar.edge_app.series.drawing import Draw
from limiar.edge_app.series.pictures import Pictures

_ANY_INPUT = InputSpec(height=1, width=1, channels=1, dicom=DicomSpec())  # of which pictures take the rules alone


class Shown(msgspec.Struct, frozen=True):
    """An image to look at, with its picture."""

    look: Look
    url: str  # of a JPEG; empty if there is none
    code: str  # why


def shown(looks: Sequence[Look], archives: Sequence[Archive | None]) -> list[Shown]:
    """The images with their pictures. archives: whose bundle says how DICOM becomes grey; the first one that can."""
    spec, follow = _spec(archives), any(archive and archive.plan.options.follow for archive in archives)
    with Pictures() as pictures, tempfile.TemporaryDirectory(prefix="limiar-") as folder:
        return [_shown(pictures, look, spec, follow, Path(folder)) for look in looks]


def _shown(pictures: Pictures, look: Look, spec: InputSpec, follow: bool, folder: Path) -> Shown:
    if look.sha256 is None:
        return Shown(look, "", "")
    path = base64.b64decode(look.path_base64) if look.path_base64 else look.path.encode()
    if is_address(path):
        try:
            path = _fetched(path, folder)
        except LimiarError as error:
            return Shown(look, "", error.code)
    drawn = pictures.draw(Draw(path, follow, bytes.fromhex(look.sha256), (look.frame or 1) - 1, spec, tiles=None))
    url = f"data:image/jpeg;base64,{base64.b64encode(drawn.jpeg).decode()}" if drawn.jpeg else ""
    return Shown(look, url, drawn.code)


def _fetched(address: bytes, folder: Path) -> bytes:
    """A copy of an object; a path where nothing is if there is no object. Raises LimiarError."""
    copy = folder / hashlib.sha256(address).hexdigest()
    data = Stores().of(address).fetch(address, Known(), BYTES_LIMIT)
    if data is not None:
        copy.write_bytes(data)
    return os.fsencode(copy)


def _spec(archives: Sequence[Archive | None]) -> InputSpec:
    for archive in archives:
        with suppress(OSError, LimiarError):
            if archive:
                return _manifest(archive).input
    return _ANY_INPUT


def _manifest(archive: Archive) -> Manifest:
    raw = (Path(archive.plan.bundle_path) / MANIFEST).read_bytes()
    if hashlib.sha256(raw).hexdigest() != archive.plan.bundle:
        raise FileNotFoundError  # another bundle is there by now
    return parse_manifest(raw, archive.plan.bundle_path)
