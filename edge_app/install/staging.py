"""A bundle that is being installed: copied from a folder or an archive into bundles/staging/, and wholly on the disk there.

Nothing is copied but what the manifest lists, and each file is hashed as it is written: a source that changes meanwhile, or a
stick that is pulled out, ends in a refusal.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from os import fsync
from pathlib import Path
from typing import Protocol

from limiar.edge_app.bundle.archive import Archive
from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE, BundleFile, Manifest
from limiar.edge_app.bundle.open import chunks, open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.install.record import telling
from limiar.edge_app.system.files import sync_directory

_MARGIN = 4 << 20  # bytes that stay free: slots.json, and results while this goes on
_BLOCK = 4096  # bytes; a file takes whole blocks, and a folder one


class Source(Protocol):
    """A bundle to copy from: bundle/archive.py's Archive, or a folder."""

    manifest: bytes  # of manifest.json
    signature: bytes | None  # of manifest.sig

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        """The bytes of the next file in the manifest's order. Raises BundleError."""

    def end(self) -> None:
        """Checks that there is nothing else. Raises BundleError."""


class _Folder:
    """A bundle that is a folder, all of which was checked when it was opened."""

    def __init__(self, path: Path, keys: Keys | None) -> None:
        """Raises BundleError."""
        self._path = path
        self.manifest, self.signature = open_bundle(path, keys).head()

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        return chunks(self._path, file.path, file.bytes)

    def end(self) -> None:
        """open_bundle has refused whatever is not listed."""


@contextlib.contextmanager
def opened(path: Path, keys: Keys | None, follow: bool = True) -> Iterator[Source]:
    """A bundle's folder, or an archive. follow: whether the archive may be a link. Raises BundleError."""
    if path.is_dir():
        yield _Folder(path, keys)
    else:
        with Archive(path, follow) as archive:
            yield archive


def check_space(folder: Path, manifest: Manifest) -> None:
    """Raises StoreError E-UPDATE-SPACE: there is no space for this bundle beside those in the two slots."""
    folders = {parent for file in manifest.files for parent in Path(file.path).parents}
    blocks = sum(-(-file.bytes // _BLOCK) for file in manifest.files) + len(folders)
    with telling(folder):
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize < blocks * _BLOCK + _MARGIN:
            raise OSError(28, f"{disk.f_bavail * disk.f_frsize >> 20} MiB are free, {(blocks * _BLOCK + _MARGIN) >> 20} needed")


def stage(source: Source, manifest: Manifest, staging: Path) -> None:
    """Copies a bundle to `staging`, which must not be there; at the end all of it is on the disk.

    Raises BundleError and StoreError.
    """
    with telling(staging):
        folders = {staging: None}  # in the order of their making
        staging.mkdir()
        for file in manifest.files:
            for parent in reversed(Path(file.path).parents[:-1]):
                (staging / parent).mkdir(exist_ok=True)
                folders[staging / parent] = None
            _write(staging / file.path, _checked(source, file))
        source.end()
        if source.signature is not None:
            _write(staging / SIGNATURE, iter([source.signature]))
        _write(staging / MANIFEST, iter([source.manifest]))
        for folder in reversed(folders):
            sync_directory(folder)


def _checked(source: Source, file: BundleFile) -> Iterator[bytes]:
    """The bytes of a file, whose size and sha256 are compared at the end. Raises BundleError."""
    digest, size = hashlib.sha256(), 0
    for chunk in source.chunks(file):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if size != file.bytes or digest.hexdigest() != file.sha256:
        met = f"{printable(file.path)} has sha256 {digest.hexdigest()[:12]}, the manifest says {file.sha256[:12]}"
        raise BundleError("E-BUNDLE-HASH", f"{met}: copy the bundle again")


def _write(path: Path, data: Iterator[bytes]) -> None:
    """Writes a new file, on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb", buffering=0) as file:
        for chunk in data:
            left = memoryview(chunk)
            while left:
                left = left[file.write(left) :]
        fsync(descriptor)
