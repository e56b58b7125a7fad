"""Who signed a bundle, and which keys may be used."""

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import (
    CONTEXT,
    Keys,
    PublicKey,
    public_half,
    read_private_key,
    read_public_key,
    sign,
    signer,
)
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import BundleError, KeyFileError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUSTED, STRANGER = public_half(KEY), public_half(OTHER)

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
Private = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def private_pem(key: Private, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public_pem(key: Private) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def file_of(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def signed(path: Path, source: Bundle, key: Ed25519PrivateKey | None = KEY, **changes: object) -> Path:
    """The source's files as a bundle at `path`, signed."""
    contents = {file.path: source.read(file.path) for file in source.manifest.files}
    write_bundle(path, msgspec.structs.replace(source.manifest, **changes), contents, key)
    return path


@pytest.fixture
def signed_path(tmp_path: Path, tiny_bundle: Bundle) -> Path:
    """A signed bundle that the test may change."""
    return signed(tmp_path / "signed", tiny_bundle)


def code_of(path: Path, keys: Keys | None) -> str:
    try:
        open_bundle(path, keys)
    except BundleError as refused:
        return refused.code
    return "opened"


# Signatures


def test_a_signed_bundle_opens_with_the_key_and_says_who_signed_it(signed_path: Path) -> None:
    opened = open_bundle(signed_path, Keys((STRANGER, TRUSTED)))
    assert opened.signed_by == TRUSTED
    assert TRUSTED.fingerprint == hashlib.sha256(KEY.public_key().public_bytes_raw()).hexdigest()
    assert open_bundle(signed_path).signed_by is None  # nobody asked


def test_two_writes_of_a_signed_bundle_give_the_same_bytes(signed_path: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    again = signed(tmp_path / "again", tiny_bundle)
    assert (again / SIGNATURE).read_bytes() == (signed_path / SIGNATURE).read_bytes()


def test_a_bundle_published_again_without_a_key_keeps_no_old_signature(signed_path: Path, tiny_bundle: Bundle) -> None:
    signed(signed_path, tiny_bundle, key=None)
    assert not (signed_path / SIGNATURE).exists()
    assert code_of(signed_path, Keys((TRUSTED,))) == "E-BUNDLE-SIGNATURE-MISSING"
    assert code_of(signed_path, None) == "opened"


def test_the_signature_is_one_that_openssl_makes_and_checks(signed_path: Path, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not on the path")
    message = file_of(tmp_path / "message", b"limiar-bundle-v1\0" + (signed_path / MANIFEST).read_bytes())
    key = file_of(tmp_path / "release.key", private_pem(KEY))
    public = file_of(tmp_path / "release.pub", public_pem(KEY))
    check = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", message]
    checked = subprocess.run([*check, "-sigfile", signed_path / SIGNATURE], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout.strip()) == (0, "Signature Verified Successfully")
    make = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message, "-out", tmp_path / "sig"]
    subprocess.run(make, check=True)
    assert (tmp_path / "sig").read_bytes() == (signed_path / SIGNATURE).read_bytes()


def test_keys_that_openssl_makes_are_read(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not on the path")
    key, public = tmp_path / "o.key", tmp_path / "o.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    key.chmod(0o600)
    assert public_half(read_private_key(key)) == read_public_key(public)


def test_a_signature_over_the_manifest_alone_is_none_for_a_bundle() -> None:
    assert signer(b"{}", KEY.sign(CONTEXT + b"{}"), [TRUSTED]) == TRUSTED
    assert signer(b"{}", KEY.sign(b"{}"), [TRUSTED]) is None


def swapped_signatures(bundle: Path, other: Path) -> None:
    (bundle / SIGNATURE).write_bytes((other / SIGNATURE).read_bytes())


def manifest_and_signature_of(bundle: Path, other: Path) -> None:
    for name in (MANIFEST, SIGNATURE):
        (bundle / name).write_bytes((other / name).read_bytes())


def longer(bundle: Path, other: Path) -> None:
    (bundle / SIGNATURE).write_bytes((bundle / SIGNATURE).read_bytes() + b"\n")


def replaced(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    """Another thing where the signature was: `make(signature, other bundle)`."""

    def damage(bundle: Path, other: Path) -> None:
        (bundle / SIGNATURE).unlink()
        make(bundle / SIGNATURE, other)

    return damage


# `other` is the same model signed as version 0.2.0 by the same key, its default file an altered one.
DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no signature": (lambda b, o: (b / SIGNATURE).unlink(), "E-BUNDLE-SIGNATURE-MISSING"),
    "an empty signature": (lambda b, o: os.truncate(b / SIGNATURE, 0), "E-BUNDLE-SIGNATURE-SIZE"),
    "a signature cut short": (lambda b, o: os.truncate(b / SIGNATURE, 63), "E-BUNDLE-SIGNATURE-SIZE"),
    "a signature too long": (longer, "E-BUNDLE-SIGNATURE-SIZE"),
    "a huge signature": (lambda b, o: os.truncate(b / SIGNATURE, 1 << 40), "E-BUNDLE-SIGNATURE-SIZE"),
    "a signature of zeros": (lambda b, o: (b / SIGNATURE).write_bytes(bytes(64)), "E-BUNDLE-SIGNATURE-WRONG"),
    "the signature of another bundle": (swapped_signatures, "E-BUNDLE-SIGNATURE-WRONG"),
    "manifest and signature of another bundle": (manifest_and_signature_of, "E-BUNDLE-HASH"),
    "a manifest with a space more": (
        lambda b, o: (b / MANIFEST).write_bytes((b / MANIFEST).read_bytes() + b" "),
        "E-BUNDLE-SIGNATURE-WRONG",
    ),
    "a manifest that is no JSON": (lambda b, o: (b / MANIFEST).write_bytes(b"{"), "E-BUNDLE-SIGNATURE-WRONG"),
    "a link for a signature": (
        replaced(lambda signature, other: signature.symlink_to(other / SIGNATURE)),
        "E-BUNDLE-LINK",
    ),
    "a dangling link for a signature": (replaced(lambda signature, other: signature.symlink_to("none")), "E-BUNDLE-LINK"),
    "a folder for a signature": (replaced(lambda signature, other: signature.mkdir()), "E-BUNDLE-NOT-FILE"),
    "a FIFO for a signature": (replaced(lambda signature, other: os.mkfifo(signature)), "E-BUNDLE-NOT-FILE"),
    "a file more": (lambda b, o: (b / "x").write_bytes(b"x"), "E-BUNDLE-UNLISTED"),
    "nothing": (lambda b, o: None, "opened"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_bundle_that_is_not_as_it_was_signed_is_refused(
    signed_path: Path, tmp_path: Path, tiny_bundle: Bundle, what: str
) -> None:
    contents = {file.path: tiny_bundle.read(file.path) for file in tiny_bundle.manifest.files}
    name = next(file.path for file in tiny_bundle.manifest.files if file.model and file.model.name == "tflite_int8")
    contents[name] = bytes(len(contents[name]))
    files = tuple(
        msgspec.structs.replace(file, sha256=hashlib.sha256(contents[file.path]).hexdigest())
        for file in tiny_bundle.manifest.files
    )
    other = tmp_path / "other"
    write_bundle(other, msgspec.structs.replace(tiny_bundle.manifest, version="0.2.0", files=files), contents, KEY)
    damage, code = DAMAGE[what]
    damage(signed_path, other)
    assert code_of(signed_path, Keys((TRUSTED,))) == code


def test_a_key_that_is_not_trusted_or_was_revoked_opens_nothing(signed_path: Path) -> None:
    assert code_of(signed_path, Keys((STRANGER,))) == "E-BUNDLE-SIGNATURE-WRONG"
    assert code_of(signed_path, Keys(())) == "E-BUNDLE-SIGNATURE-WRONG"
    assert code_of(signed_path, Keys((STRANGER,), revoked=(TRUSTED,))) == "E-BUNDLE-SIGNATURE-REVOKED"
    assert code_of(signed_path, Keys((TRUSTED,), revoked=(TRUSTED,))) == "E-BUNDLE-SIGNATURE-REVOKED"
    assert code_of(signed_path, Keys((TRUSTED,), revoked=(STRANGER,))) == "opened"


def test_an_altered_manifest_is_refused_before_it_is_read(signed_path: Path) -> None:
    """Without the key the same bytes get as far as the parser."""
    (signed_path / MANIFEST).write_bytes(b"[" * 100_000)
    assert code_of(signed_path, None) == "E-BUNDLE-MANIFEST"
    assert code_of(signed_path, Keys((TRUSTED,))) == "E-BUNDLE-SIGNATURE-WRONG"


def test_one_flipped_bit_anywhere_is_refused_with_the_key_and_not_without(signed_path: Path) -> None:
    rng = random.Random(7)
    manifest = (signed_path / MANIFEST).read_bytes()
    accepted_without = 0
    for name in (MANIFEST, SIGNATURE):
        good = (signed_path / name).read_bytes()
        for at in range(0, len(good), 1 if name == SIGNATURE else 7):
            (signed_path / name).write_bytes(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
            assert code_of(signed_path, Keys((TRUSTED,))) == "E-BUNDLE-SIGNATURE-WRONG", (name, at)
            accepted_without += code_of(signed_path, None) == "opened"
        (signed_path / name).write_bytes(good)
    assert accepted_without > 64  # the control: not only every signature, also manifests
    assert (signed_path / MANIFEST).read_bytes() == manifest
    assert code_of(signed_path, Keys((TRUSTED,))) == "opened"


# Key files


def test_a_pair_of_key_files_is_read(tmp_path: Path) -> None:
    private = read_private_key(file_of(tmp_path / "release.key", private_pem(KEY)))
    public = read_public_key(file_of(tmp_path / "release.pub", public_pem(KEY), 0o644))
    assert public_half(private) == public == TRUSTED
    assert sign(b"{}", private) == sign(b"{}", KEY)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
NEITHER: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda path: None, "E-KEY-MISSING"),
    "a folder": (Path.mkdir, "E-KEY-NOT-FILE"),
    "a FIFO": (os.mkfifo, "E-KEY-NOT-FILE"),
    "a link to a dangling name": (lambda path: path.symlink_to("none"), "E-KEY-NOT-FILE"),
    "an empty file": (lambda path: file_of(path, b""), "E-KEY-FORMAT"),
    "text": (lambda path: file_of(path, b"hunter2\n"), "E-KEY-FORMAT"),
    "other bytes": (lambda path: file_of(path, bytes(range(256))), "E-KEY-FORMAT"),
    "a certificate": (lambda path: file_of(path, CERTIFICATE), "E-KEY-FORMAT"),
    "a second key in a damaged frame": (
        lambda path: file_of(path, public_pem(KEY) + public_pem(OTHER).replace(b"-----B", b"---- B")),
        "E-KEY-FORMAT",
    ),
    "a second key in other letters": (lambda path: file_of(path, public_pem(KEY) + public_pem(OTHER).lower()), "E-KEY-FORMAT"),
    "a second key without a frame": (
        lambda path: file_of(path, public_pem(KEY) + OTHER.public_key().public_bytes_raw()),
        "E-KEY-FORMAT",
    ),
    "a second key before it, as ssh has it": (
        lambda path: file_of(path, OTHER.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + public_pem(KEY)),
        "E-KEY-FORMAT",
    ),
    "a huge file": (lambda path: (file_of(path, private_pem(KEY)), os.truncate(path, 1 << 40)), "E-KEY-FORMAT"),
}
PRIVATE = NEITHER | {
    "two keys": (lambda path: file_of(path, private_pem(KEY) + private_pem(OTHER)), "E-KEY-FORMAT"),
    "both halves of a pair": (lambda path: file_of(path, private_pem(KEY) + public_pem(KEY)), "E-KEY-FORMAT"),
    "a link": (lambda path: path.symlink_to(file_of(path.with_name("k"), private_pem(KEY))), "E-KEY-NOT-FILE"),
    "readable by the group": (lambda path: file_of(path, private_pem(KEY), 0o640), "E-KEY-MODE"),
    "readable by everybody": (lambda path: file_of(path, private_pem(KEY), 0o644), "E-KEY-MODE"),
    "writable by everybody": (lambda path: file_of(path, private_pem(KEY), 0o602), "E-KEY-MODE"),
    "cut short": (lambda path: file_of(path, private_pem(KEY)[:60]), "E-KEY-FORMAT"),
    "encrypted": (lambda path: file_of(path, private_pem(KEY, BestAvailableEncryption(b"secret"))), "E-KEY-ENCRYPTED"),
    "a public key": (lambda path: file_of(path, public_pem(KEY)), "E-KEY-TYPE"),
    "an RSA key": (lambda path: file_of(path, private_pem(RSA)), "E-KEY-TYPE"),
    "an EC key": (lambda path: file_of(path, private_pem(EC)), "E-KEY-TYPE"),
}
PUBLIC = NEITHER | {
    "two keys": (lambda path: file_of(path, public_pem(KEY) + public_pem(OTHER)), "E-KEY-FORMAT"),
    "a key after a certificate": (lambda path: file_of(path, CERTIFICATE + public_pem(KEY)), "E-KEY-FORMAT"),
    "a link": (lambda path: path.symlink_to(file_of(path.with_name("k"), public_pem(KEY))), "E-KEY-NOT-FILE"),
    "cut short": (lambda path: file_of(path, public_pem(KEY)[:60]), "E-KEY-FORMAT"),
    "a private key": (lambda path: file_of(path, private_pem(KEY)), "E-KEY-TYPE"),
    "an encrypted private key": (
        lambda path: file_of(path, private_pem(KEY, BestAvailableEncryption(b"secret"))),
        "E-KEY-TYPE",
    ),
    "an RSA key": (lambda path: file_of(path, public_pem(RSA)), "E-KEY-TYPE"),
    "an EC key": (lambda path: file_of(path, public_pem(EC)), "E-KEY-TYPE"),
}


def key_code(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(KeyFileError) as refused:
        read(path)
    assert refused.value.message.isprintable()
    assert str(path) in refused.value.message
    assert "secret" not in refused.value.message
    return refused.value.code


@pytest.mark.parametrize("what", PRIVATE)
def test_what_is_no_private_key_of_its_owner_alone_is_refused(tmp_path: Path, what: str) -> None:
    make, code = PRIVATE[what]
    make(tmp_path / "release.key")
    assert key_code(read_private_key, tmp_path / "release.key") == code


@pytest.mark.parametrize("what", PUBLIC)
def test_what_is_no_public_key_is_refused(tmp_path: Path, what: str) -> None:
    make, code = PUBLIC[what]
    make(tmp_path / "release.pub")
    assert key_code(read_public_key, tmp_path / "release.pub") == code


SMALL_ORDER = [bytes.fromhex(y[:-2]) + bytes([int(y[-2:], 16) | sign]) for y in (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
) for sign in (0, 0x80)]  # fmt: skip


@pytest.mark.parametrize("raw", SMALL_ORDER, ids=bytes.hex)
def test_a_key_that_anybody_can_sign_for_is_refused(tmp_path: Path, raw: bytes) -> None:
    pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key_code(read_public_key, file_of(tmp_path / "weak.pub", pem)) == "E-KEY-WEAK"


@pytest.mark.parametrize("y", [2, *(2**255 - 19 + y for y in range(2, 19))], ids=hex)
def test_a_key_that_can_be_nobody_s_is_refused(tmp_path: Path, y: int) -> None:
    """Not on the curve, or a point under a second name, so that another fingerprint is shown for the same key."""
    for sign_bit in (0, 1 << 255):
        raw = (y | sign_bit).to_bytes(32, "little")
        pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert key_code(read_public_key, file_of(tmp_path / f"{sign_bit}.pub", pem)) == "E-KEY-FORMAT"


def test_a_real_key_is_a_point(tmp_path: Path) -> None:
    for number in range(50):
        key = Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))
        assert read_public_key(file_of(tmp_path / f"{number}.pub", public_pem(key))) == public_half(key)


def test_a_key_from_an_editor_that_writes_a_mark_and_other_line_ends_is_read(tmp_path: Path) -> None:
    pem = b"\xef\xbb\xbf" + public_pem(KEY).replace(b"\n", b"\r\n") + b"\r\n \t\r\n"
    assert read_public_key(file_of(tmp_path / "release.pub", pem)) == TRUSTED


def test_a_forged_signature_is_one_to_the_library_for_such_a_key() -> None:
    """The control: for the neutral point the pair R = B, S = 1 is a signature over everything."""
    neutral = bytes([1, *[0] * 31])
    forged = bytes.fromhex("58" + "66" * 31) + bytes([1, *[0] * 31])  # the base point, and 1
    assert signer(b"{}", forged, [PublicKey(neutral)]) == PublicKey(neutral)


def test_a_key_in_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path / "file", b"")
    assert key_code(read_public_key, file / "release.pub") == "E-KEY-READ"


# The commands


@pytest.fixture
def public_files(tmp_path: Path) -> tuple[Path, Path]:
    """The files of the trusted key and of the stranger's."""
    return file_of(tmp_path / "release.pub", public_pem(KEY)), file_of(tmp_path / "stranger.pub", public_pem(OTHER))


def test_verify_says_who_signed(limiar: Limiar, signed_path: Path, public_files: tuple[Path, Path]) -> None:
    trusted, stranger = public_files
    by_trusted = f"signed by {TRUSTED.fingerprint[:12]}"
    done = limiar("verify", signed_path, "--key", stranger, "--key", trusted)
    assert done.returncode == 0
    assert f"signature: {by_trusted}".encode() in done.stdout
    done = limiar("verify", signed_path, "--key", trusted, "--json")
    assert json.loads(done.stdout)["signature"] == by_trusted


def test_verify_of_a_bundle_signed_by_nobody_trusted_exits_3(
    limiar: Limiar, signed_path: Path, tiny_path: Path, public_files: tuple[Path, Path]
) -> None:
    trusted, stranger = public_files
    for bundle, keys, code in (
        (signed_path, ("--key", stranger), "E-BUNDLE-SIGNATURE-WRONG"),
        (signed_path, ("--key", trusted, "--revoked", trusted), "E-BUNDLE-SIGNATURE-REVOKED"),
        (tiny_path, ("--key", trusted), "E-BUNDLE-SIGNATURE-MISSING"),
    ):
        done = limiar("verify", bundle, *keys, "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["passed"], found["signature"]) == (3, False, "refused")
        assert found["error"].startswith(f"{code}: ")


@pytest.mark.parametrize(
    "words",
    [("scan", "{bundle}", "{images}"), ("camera", "{bundle}", "video:{images}"), ("bench", "{bundle}")],
    ids=["scan", "camera", "bench"],
)
def test_no_command_runs_a_bundle_that_its_key_has_not_signed(
    limiar: Limiar, tiny_path: Path, images: Path, public_files: tuple[Path, Path], words: tuple[str, ...]
) -> None:
    command = [word.format(bundle=tiny_path, images=images) for word in words]
    done = limiar(*command, "--key", public_files[0])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-BUNDLE-SIGNATURE-MISSING: ")


def test_scan_runs_a_bundle_that_its_key_has_signed(
    limiar: Limiar, signed_path: Path, images: Path, public_files: tuple[Path, Path]
) -> None:
    done = limiar("scan", signed_path, images, "--key", public_files[0])
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 40)


def test_a_private_key_on_a_device_is_refused_and_a_revoked_key_alone_is_a_misuse(
    limiar: Limiar, signed_path: Path, tmp_path: Path, public_files: tuple[Path, Path]
) -> None:
    done = limiar("verify", signed_path, "--key", file_of(tmp_path / "release.key", private_pem(KEY)))
    assert (done.returncode, done.stderr.split(b":")[0]) == (1, b"E-KEY-TYPE")
    done = limiar("verify", signed_path, "--revoked", public_files[0])
    assert done.returncode == 2
    assert b"--key" in done.stderr


def test_cryptography_is_loaded_for_a_key_alone(
    limiar: Limiar, signed_path: Path, public_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # it takes 60 ms, a third of the time to a first answer
    loaded = [b"cryptography" in limiar("verify", signed_path, *words).stderr for words in ((), ("--key", public_files[0]))]
    assert loaded == [False, True]


def test_a_fingerprint_is_a_key_s_and_no_other_s() -> None:
    assert len({PublicKey(bytes([number]) * 32).fingerprint for number in range(5)}) == 5
