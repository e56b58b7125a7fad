"""The pair of keys that bundles are signed and checked with."""

import contextlib
import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from limiar.edge_app.bundle.signature import public_half
from limiar.edge_app.errors import KeyFileError, printable
from limiar.edge_app.system.files import write_new


class KeyPair(msgspec.Struct, frozen=True):
    """Two files, and what identifies them."""

    private: Path  # NAME.key, readable by its owner alone: it signs
    public: Path  # NAME.pub: devices check with it
    fingerprint: str  # sha256 of the public key


def keygen(name: str | os.PathLike[str]) -> KeyPair:
    """Makes a new Ed25519 key pair, NAME.key and NAME.pub, as PEM.

    Raises KeyFileError if one of the files exists (E-KEY-EXISTS) or cannot be written (E-KEY-WRITE); then neither is left.

        keys = keygen("release")
        print(keys.fingerprint)
        limiar.convert_model("runs/first", out="bundles/first", sign=keys.private)
    """
    pair = Ed25519PrivateKey.generate()
    private, public = (Path(f"{os.fspath(name)}.{suffix}") for suffix in ("key", "pub"))
    _write(private, pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        _write(public, pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except KeyFileError:
        with contextlib.suppress(OSError):
            private.unlink()  # half a pair is of no use
        raise
    return KeyPair(private, public, public_half(pair).fingerprint)


def _write(path: Path, pem: bytes, mode: int) -> None:
    try:
        write_new(path, pem, mode)
    except FileExistsError:
        met = f"{printable(str(path))} already exists, and a lost key cannot be recovered"
        raise KeyFileError("E-KEY-EXISTS", f"{met}: choose another NAME") from None
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise KeyFileError("E-KEY-WRITE", f"{met}: choose a NAME in a folder that can be written") from None
