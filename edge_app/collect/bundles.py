"""The folder of bundles that a web server gives to devices: each is SHA256.limiar, by the sha256 of the file."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from limiar.edge_app.bundle.archive import Archive
from limiar.edge_app.bundle.manifest import parse_manifest
from limiar.edge_app.bundle.open import check_signature
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import BundleError, OutputError, printable
from limiar.edge_app.fleet.fetch import SUFFIX
from limiar.edge_app.system.files import WholeFile

_AT_ONCE = 1 << 20  # bytes


class Put(Struct, frozen=True):
    """A bundle in the folder."""

    archive: str  # sha256 of the file
    bytes: int
    bundle: str  # sha256 of the manifest
    name: str
    version: str
    counter: int


def put_bundle(folder: Path, source: Path, keys: Keys | None) -> Put:
    """Copies a file of `limiar pack` into the folder, whole, after all of it was read and checked.

    keys: one of them must have signed it; None: that is left to the devices, but it must be signed. Raises BundleError and
    OutputError.
    """
    where = printable(str(source))
    with Archive(source) as archive:
        if archive.signature is None:
            met = f"{where} is not signed, and no device takes such a bundle from its fleet"
            raise BundleError("E-ROLLOUT-UNSIGNED", f"{met}: sign it with `limiar convert --sign KEY`, and pack it again")
        if keys:
            check_signature(source, archive.manifest, archive.signature, keys)
        manifest = parse_manifest(archive.manifest, where)
        for file in manifest.files:
            digest = hashlib.sha256()
            for chunk in archive.chunks(file):
                digest.update(chunk)
            if digest.hexdigest() != file.sha256:
                met = f"{where}: {printable(file.path)} has another sha256 than the manifest says"
                raise BundleError("E-BUNDLE-HASH", f"{met}: pack the bundle again")
        archive.end()
        bundle = hashlib.sha256(archive.manifest).hexdigest()
    archive_sha256, size = _copied(folder, source)
    # A file that was changed between the two readings does not begin with what was checked; devices compare it once more.
    return Put(archive_sha256, size, bundle, manifest.name, manifest.version, manifest.release_counter)


def _copied(folder: Path, source: Path) -> tuple[str, int]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            target, size = folder / f"{sha256}{SUFFIX}", os.fstat(file.fileno()).st_size
            if not _there(target, sha256):
                _write(target, file, sha256)
        target.chmod(0o644)  # the web server is another user
    except OSError as error:
        met = f"{printable(str(folder))}: {error.strerror or error}"
        raise OutputError("E-OUTPUT-WRITE", f"{met}: let this user write there, and look at the disk") from None
    return sha256, size


def _there(target: Path, sha256: str) -> bool:
    try:
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _write(target: Path, file: BinaryIO, sha256: str) -> None:
    """Raises OSError, also if the source has changed meanwhile."""
    out, digest = WholeFile(target, 0o644), hashlib.sha256()
    try:
        file.seek(0)
        while chunk := file.read(_AT_ONCE):
            out.write(chunk)
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise OSError(f"{target.name} changed while it was copied")
    except BaseException:
        out.discard()
        raise
    out.publish()
