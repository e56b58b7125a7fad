"""Ed25519 signatures of a bundle: manifest.sig is the 64 raw bytes over CONTEXT + the exact bytes of manifest.json.

The manifest lists every file with its sha256, so one signature covers the whole bundle. Keys are PEM files that `openssl pkey`
reads: PKCS #8 for the private one, SubjectPublicKeyInfo for the public one.
"""

import binascii
import codecs
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from limiar.edge_app.errors import KeyFileError, printable

# cryptography takes 60 ms to import: only signing and checking a signature wait for it.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONTEXT = b"limiar-bundle-v1\0"  # a signature made for anything else does not count
SIGNATURE_BYTES = 64
_KEY_FILE_LIMIT = 16 << 10  # bytes; an Ed25519 key has 120, and the largest RSA key that is still recognised, to say so, 13,000
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# The y coordinates, without the sign of x, of the points whose order divides 8, including encodings beyond the field's prime.
# Anyone can make signatures for such a "key" that OpenSSL accepts (Chalkias et al., Taming the many EdDSAs, 2020, table 1).
_SMALL_ORDER = frozenset(
    bytes.fromhex(y)
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


_P = 2**255 - 19  # the prime of the curve's field: RFC 8032, section 5.1
_D = -121665 * pow(121666, -1, _P) % _P


class PublicKey(Struct, frozen=True):
    """An Ed25519 public key."""

    raw: bytes  # 32

    @property
    def fingerprint(self) -> str:
        """sha256 of the raw key, 64 hexadecimal digits, for people to compare."""
        return hashlib.sha256(self.raw).hexdigest()


class Keys(Struct, frozen=True):
    """The keys whose signatures count: trusted and not revoked."""

    trusted: tuple[PublicKey, ...]
    revoked: tuple[PublicKey, ...] = ()


def read_keys(*trusted: Path | str, revoked: Iterable[Path | str] = ()) -> Keys:
    """Public keys from files of `limiar keygen`: a bundle opened with them must be signed by a trusted one.

    keys = limiar.read_keys("release.pub", revoked=["stolen.pub"])

    Raises KeyFileError.
    """
    return Keys(tuple(read_public_key(Path(path)) for path in trusted), tuple(read_public_key(Path(path)) for path in revoked))


def sign(manifest: bytes, key: "Ed25519PrivateKey") -> bytes:
    """The bytes of manifest.json -> those of manifest.sig; the same key and bytes give the same signature (RFC 8032)."""
    return key.sign(CONTEXT + manifest)


def signer(manifest: bytes, signature: bytes, candidates: Iterable[PublicKey]) -> PublicKey | None:
    """The first of the candidates that signed these bytes, or None."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for candidate in candidates:
        try:
            Ed25519PublicKey.from_public_bytes(candidate.raw).verify(signature, CONTEXT + manifest)
        except InvalidSignature:
            continue
        return candidate
    return None


def public_half(key: "Ed25519PrivateKey") -> PublicKey:
    """The public key that belongs to a private one."""
    return PublicKey(key.public_key().public_bytes_raw())


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """A private key that only its owner may read. Raises KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem, mode = _read(path)
    if b" PUBLIC KEY-----" in pem:
        _refuse("E-KEY-TYPE", path, "is a public key, which cannot sign", "give NAME.key of `limiar keygen`")
    if mode & _OTHERS:
        met = f"can be used by people other than its owner (mode {stat.S_IMODE(mode):04o})"
        _refuse("E-KEY-MODE", path, met, "make a new key if someone may have read it, otherwise chmod 600")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        met = "is encrypted, and limiar does not ask for passwords"
        _refuse("E-KEY-ENCRYPTED", path, met, "decrypt it with `openssl pkey`, mode 600")
    except (ValueError, UnsupportedAlgorithm):
        _refuse_format(path)
    if not isinstance(key, Ed25519PrivateKey):
        _refuse_kind(path)
    return key


def read_public_key(path: Path) -> PublicKey:
    """A public key. Raises KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem, _ = _read(path)
    if b" PRIVATE KEY-----" in pem:
        cure = "keep it away from devices and give NAME.pub of `limiar keygen`"
        _refuse("E-KEY-TYPE", path, "is a private key: anyone who has it can sign", cure)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        _refuse_format(path)
    if not isinstance(key, Ed25519PublicKey):
        _refuse_kind(path)
    raw = key.public_bytes_raw()
    if raw[:-1] + bytes([raw[-1] & 0x7F]) in _SMALL_ORDER:
        _refuse("E-KEY-WEAK", path, "is a point of small order: anyone can sign for it", "make a key with `limiar keygen`")
    if not _is_point(raw):
        _refuse("E-KEY-FORMAT", path, "is damaged: its key is not a point of the curve", "copy it again")
    return PublicKey(raw)


def public_pem(key: PublicKey) -> bytes:
    """A public key as a PEM file: SubjectPublicKeyInfo of RFC 8410, which is the same for every Ed25519 key up to the key."""
    der = bytes.fromhex("302a300506032b6570032100") + key.raw
    return b"-----BEGIN PUBLIC KEY-----\n" + binascii.b2a_base64(der) + b"-----END PUBLIC KEY-----\n"


def _is_point(raw: bytes) -> bool:
    """Whether a key is on the curve: RFC 8032, section 5.1.3.

    The library checks this only with a signature: too late for a damaged key in --revoked, which would refuse nothing.
    """
    y = int.from_bytes(raw, "little") & (1 << 255) - 1
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return y < _P and pow(x_squared, (_P - 1) // 2, _P) == 1


def _read(path: Path) -> tuple[bytes, int]:
    """The bytes of a key file and its mode, opened once, so that what is checked is what is read. Raises KeyFileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            _refuse("E-KEY-NOT-FILE", path, "is a link", "give the file itself")
        code = "E-KEY-MISSING" if isinstance(error, FileNotFoundError) else "E-KEY-READ"
        _refuse(code, path, str(error.strerror), "check the path, or make a key with `limiar keygen`")
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        _refuse("E-KEY-NOT-FILE", path, "is not a plain file", "give a key file")
    with open(descriptor, "rb", buffering=0) as file:
        try:
            pem = file.read(_KEY_FILE_LIMIT + 1)
        except OSError as error:
            _refuse("E-KEY-READ", path, str(error.strerror), "copy the key again")
    if len(pem) > _KEY_FILE_LIMIT:
        _refuse_format(path)
    if (blocks := pem.count(b"-----BEGIN")) > 1:  # the libraries silently read only the first
        _refuse("E-KEY-FORMAT", path, f"has {blocks} PEM blocks", "give each key its own file, and its own option")
    beside, found = _BLOCK.subn(b"", pem.removeprefix(codecs.BOM_UTF8))
    if found and beside.strip():  # perhaps a second key with a damaged frame, or in another form
        _refuse("E-KEY-FORMAT", path, "has something besides its key", "leave only the PEM block in it, one key per file")
    return pem, mode


def _refuse_format(path: Path) -> NoReturn:
    _refuse("E-KEY-FORMAT", path, "is not a key in PEM form", "give a file that `limiar keygen` made")


def _refuse_kind(path: Path) -> NoReturn:
    _refuse("E-KEY-TYPE", path, "is not an Ed25519 key", "make one with `limiar keygen`")


def _refuse(code: str, path: Path, met: str, cure: str) -> NoReturn:
    raise KeyFileError(code, f"{printable(str(path))} {met}: {cure}")
