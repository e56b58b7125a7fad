"""Opens a bundle, after checking that every listed file is there, with the size and sha256 in the manifest."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from limiar.edge_app.bundle.manifest import (
    DECODE_RULE,
    MANIFEST,
    MANIFEST_LIMIT,
    RESIZE_RULE,
    SIGNATURE,
    BundleFile,
    Manifest,
    ModelFile,
    parse_manifest,
)
from limiar.edge_app.bundle.signature import SIGNATURE_BYTES, Keys, PublicKey, signer
from limiar.edge_app.errors import BundleError, printable


class Bundle:
    """An opened bundle: every listed file was there, with the size and sha256 in the manifest."""

    def __init__(self, path: Path, manifest: Manifest, sha256: str, signed_by: PublicKey | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256  # of manifest.json's exact bytes: this names the bundle
        self.signed_by = signed_by  # None: opened without keys, so no signature was asked for

    def read(self, path: str) -> bytes:
        """The bytes of a listed file, checked as they are read. Raises BundleError."""
        for file in self.manifest.files:
            if file.path == path:
                return _read_checked(self.path, file)
        raise BundleError(
            "E-BUNDLE-MISSING", f"{printable(str(self.path))} does not list {printable(path)}: convert the model again"
        )

    def head(self) -> tuple[bytes, bytes | None]:
        """The bytes of manifest.json, as they were when it was opened, and those of manifest.sig, if there is one.

        Raises BundleError.
        """
        raw = _read_manifest(self.path)
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            _refuse("E-BUNDLE-HASH", self.path, f"{MANIFEST} has changed since it was opened", "try again")
        return raw, _read_signature(self.path)

    def model(self, name: str | None = None) -> tuple[ModelFile, bytes]:
        """A model file by name (None: the default file), and the bytes that were checked. Raises BundleError."""
        name = name or self.manifest.default_file
        file = self.manifest.models.get(name)
        if file is None or file.model is None:
            known = ", ".join(sorted(self.manifest.models))
            raise BundleError(
                "E-BUNDLE-FILE",
                f"{printable(str(self.path))} has no model file {printable(name)}: choose one of {known}",
            )
        return file.model, _read_checked(self.path, file)


def open_bundle(path: Path | str, keys: Keys | None = None) -> Bundle:
    """Opens a bundle and checks all of it: signature, manifest, listing, sizes, hashes, image rules. Raises BundleError.

    With `keys`, a trusted one must have signed it. Without them, anyone who can write to the folder can replace the manifest.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError("E-BUNDLE-MISSING", f"{printable(str(path))} is not a folder: give the folder with {MANIFEST}")
    if not os.path.lexists(path / MANIFEST):
        raise BundleError("E-BUNDLE-MISSING", f"{printable(str(path))} {_without_manifest(path)}")
    raw = _read_manifest(path)
    # Before anything in the manifest is trusted.
    signed_by = check_signature(path, raw, _read_signature(path), keys) if keys is not None else None
    manifest = parse_manifest(raw, where=printable(str(path)))
    if (manifest.input.decode, manifest.input.resize) != (DECODE_RULE, RESIZE_RULE):
        _refuse(
            "E-BUNDLE-RULES",
            path,
            f"image rules {printable(manifest.input.decode)}, {printable(manifest.input.resize)}",
            f"this app has {DECODE_RULE}, {RESIZE_RULE}: install the limiar version that made the bundle",
        )
    _check_listing(path, manifest)
    for file in manifest.files:
        _check_hash(path, file)
    return Bundle(path, manifest, hashlib.sha256(raw).hexdigest(), signed_by)


def _refuse(code: str, path: Path, met: str, cure: str) -> NoReturn:
    raise BundleError(code, f"{printable(str(path))}: {met}: {cure}")


def _read_manifest(path: Path) -> bytes:
    raw = b"".join(chunks(path, MANIFEST, MANIFEST_LIMIT))
    if len(raw) > MANIFEST_LIMIT:
        _refuse("E-BUNDLE-MANIFEST", path, f"{MANIFEST} is over {MANIFEST_LIMIT >> 20} MiB", "copy the bundle again")
    return raw


def _read_signature(path: Path) -> bytes | None:
    """manifest.sig, or None if there is none; at most one byte more than a signature has. Raises BundleError."""
    return b"".join(chunks(path, SIGNATURE, SIGNATURE_BYTES)) if os.path.lexists(path / SIGNATURE) else None


def check_signature(path: Path, raw: bytes, signature: bytes | None, keys: Keys) -> PublicKey:
    """The trusted key that signed manifest.json's bytes. path: for messages. Raises BundleError."""
    if signature is None:
        _refuse(
            "E-BUNDLE-SIGNATURE-MISSING",
            path,
            f"there is no {SIGNATURE}",
            "get the signed bundle, or sign it with `limiar convert --sign KEY`",
        )
    if len(signature) != SIGNATURE_BYTES:
        met = f"{SIGNATURE} is not the {SIGNATURE_BYTES} bytes of a signature"
        _refuse("E-BUNDLE-SIGNATURE-SIZE", path, met, "copy the bundle again")
    if key := signer(raw, signature, keys.revoked):
        met = f"signed by the revoked key {key.fingerprint[:12]}"
        _refuse("E-BUNDLE-SIGNATURE-REVOKED", path, met, "get the bundle signed with a key that is trusted now")
    if key := signer(raw, signature, keys.trusted):
        return key
    trusted = ", ".join(key.fingerprint[:12] for key in keys.trusted)
    met = f"no trusted key ({trusted}) has signed this {MANIFEST}: it was altered, or signed by someone else"
    _refuse("E-BUNDLE-SIGNATURE-WRONG", path, met, "get it from a source you trust, or give the right --key")


def _check_listing(path: Path, manifest: Manifest) -> None:
    """Checks that every listed file is there, plain and of its size, and nothing else. Raises BundleError."""
    listed = {file.path: file for file in manifest.files}
    folders = {parent.as_posix() for name in listed for parent in Path(name).parents}
    found = set()
    for name, status in _walk(path, ""):
        if stat.S_ISLNK(status.st_mode):
            _refuse("E-BUNDLE-LINK", path, f"{printable(name)} is a link", "copy the bundle again without links")
        if stat.S_ISDIR(status.st_mode) and name in folders:
            continue
        if name in (MANIFEST, SIGNATURE):
            pass
        elif name not in listed:
            _refuse(
                "E-BUNDLE-UNLISTED",
                path,
                f"{printable(name)} is not in the manifest",
                "remove it, or copy the bundle again",
            )
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            _refuse("E-BUNDLE-NOT-FILE", path, f"{printable(name)} is not a plain file", "copy the bundle again")
        if name in listed and status.st_size != listed[name].bytes:
            _refuse(
                "E-BUNDLE-SIZE",
                path,
                f"{name} has {status.st_size} bytes, the manifest says {listed[name].bytes}",
                "copy the bundle again",
            )
        found.add(name)
    for name in listed:
        if name not in found:
            _refuse("E-BUNDLE-MISSING", path, f"{name} is in the manifest, but missing", "copy the bundle again")


def _walk(root: Path, below: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(root / below) as entries:
            found = sorted((f"{below}{entry.name}", entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        _refuse("E-BUNDLE-READ", root, f"{printable(below) or 'the folder'}: {error.strerror}", "copy the bundle again")
    for name, status in found:
        yield name, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, f"{name}/")


def _without_manifest(path: Path) -> str:
    """What a folder without a manifest may be, and what to do."""
    if os.path.lexists(path / "train.json"):
        return "is a RUN of limiar train: make a bundle from it with limiar convert RUN --out BUNDLE"
    if os.path.lexists(path / "report.json"):
        met = f"has a report but no {MANIFEST}: conversion refused it, or part of it is missing"
        return f"{met}: convert or copy it again"
    return f"has no {MANIFEST}, so it is not a bundle: give the folder that limiar convert wrote"


def chunks(root: Path, name: str, limit: int) -> Iterator[bytes]:
    """The bytes of a regular file, 1 MiB at a time, at most one byte more than `limit`. Raises BundleError."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        code = "E-BUNDLE-MISSING" if isinstance(error, FileNotFoundError) else "E-BUNDLE-READ"
        if os.path.islink(root / name):
            code = "E-BUNDLE-LINK"
        _refuse(code, root, f"{name}: {error.strerror}", "copy the bundle again")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        _refuse("E-BUNDLE-NOT-FILE", root, f"{name} is not a plain file", "copy the bundle again")
    with open(descriptor, "rb", buffering=0) as file:
        left = limit + 1
        try:
            while left and (chunk := file.read(min(left, 1 << 20))):
                left -= len(chunk)
                yield chunk
        except OSError as error:
            _refuse("E-BUNDLE-READ", root, f"{name}: {error.strerror}", "copy the bundle again, or replace the card")


def _check_hash(root: Path, file: BundleFile, keep: list[bytes] | None = None) -> None:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks(root, file.path, file.bytes):
        size += len(chunk)
        digest.update(chunk)
        if keep is not None:
            keep.append(chunk)
    if size != file.bytes:
        _refuse(
            "E-BUNDLE-SIZE",
            root,
            f"{file.path} is not the {file.bytes} bytes the manifest says",
            "copy the bundle again",
        )
    if digest.hexdigest() != file.sha256:
        met = f"{file.path} has sha256 {digest.hexdigest()[:12]}, the manifest says {file.sha256[:12]}"
        _refuse("E-BUNDLE-HASH", root, met, "copy the bundle again")


def _read_checked(root: Path, file: BundleFile) -> bytes:
    chunks: list[bytes] = []
    _check_hash(root, file, keep=chunks)
    return b"".join(chunks)
