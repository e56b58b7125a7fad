"""A bundle as one file: written in one way only, and read as untrusted."""

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import Archive, write_archive
from limiar.edge_app.bundle.manifest import MANIFEST_LIMIT, parse_manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import BundleError
from updates import release

Members = list[tuple[str, bytes]]


def members_of(bundle: Bundle) -> Members:
    """Names and bytes, in the order of an archive."""
    return [("manifest.json", bundle.head()[0]), *((file.path, bundle.read(file.path)) for file in bundle.manifest.files)]


def canonical(members: Members, change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    """An archive as `limiar pack` writes it, made by another library."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.create_version = info.extract_version = 10
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            change(info)
            archive.writestr(info, data)
    return out.getvalue()


def read(path: Path) -> dict[str, bytes]:
    """Everything in an archive. Raises BundleError."""
    with Archive(path) as archive:
        manifest = parse_manifest(archive.manifest, "it")
        found = {file.path: b"".join(archive.chunks(file)) for file in manifest.files}
        archive.end()
    return {"manifest.json": archive.manifest} | found


def code(tmp_path: Path, raw: bytes) -> str:
    """The code with which it is refused, or "read"."""
    path = tmp_path / "archive"
    path.write_bytes(raw)
    try:
        read(path)
    except BundleError as error:
        return error.code
    return "read"


@pytest.fixture(scope="module")
def small(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(release(tmp_path_factory.mktemp("bundles") / "small", tiny_bundle, 1, small=True))


@pytest.fixture
def packed(small: Bundle, tmp_path: Path) -> bytes:
    write_archive(small, tmp_path / "written.limiar")
    return (tmp_path / "written.limiar").read_bytes()


def test_what_is_packed_is_read_again_and_other_programs_read_it_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "tiny.limiar"
    write_archive(tiny_bundle, path)
    assert read(path) == dict(members_of(tiny_bundle))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name for name, _ in members_of(tiny_bundle)]


def test_the_same_bundle_gives_the_same_bytes_and_another_library_writes_them_too(small: Bundle, packed: bytes) -> None:
    assert packed == canonical(members_of(small))


def test_a_signature_travels_with_its_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signed = open_bundle(release(tmp_path / "signed", tiny_bundle, 1, key))
    write_archive(signed, tmp_path / "signed.limiar")
    with Archive(tmp_path / "signed.limiar") as archive:
        assert (archive.manifest, archive.signature) == signed.head()


def test_every_flipped_bit_of_what_is_not_a_file_is_refused(packed: bytes, small: Bundle, tmp_path: Path) -> None:
    """Files have a checksum here and a hash in the manifest: test_flip_install.py flips those."""
    inside = set()
    at = 0
    for name, data in members_of(small):
        start = at + 30 + len(name)
        inside |= set(range(start, start + len(data)))
        at = start + len(data)
    for offset in sorted(set(range(len(packed))) - inside):
        for bit in range(8):
            changed = bytearray(packed)
            changed[offset] ^= 1 << bit
            assert code(tmp_path, bytes(changed)) != "read", (offset, bit)


@pytest.mark.parametrize("cut", [0, 1, 10, 29, 30, 40, 500, -1, -21, -22, -23, -100])
def test_one_that_is_cut_short_is_refused(packed: bytes, tmp_path: Path, cut: int) -> None:
    assert code(tmp_path, packed[:cut]) == "E-ARCHIVE-FORMAT" or cut in (-23, -100)
    assert code(tmp_path, packed[:cut]).startswith("E-ARCHIVE-")


@pytest.mark.parametrize("more", [b"\0", b"PK\x05\x06" + bytes(18), b"x" * 100_000])
def test_anything_before_or_after_it_is_refused(packed: bytes, tmp_path: Path, more: bytes) -> None:
    assert code(tmp_path, packed + more) == "E-ARCHIVE-FORMAT"
    assert code(tmp_path, more + packed) == "E-ARCHIVE-FORMAT"


def test_two_archives_one_after_the_other_are_refused(packed: bytes, tmp_path: Path) -> None:
    assert code(tmp_path, packed + packed) == "E-ARCHIVE-FORMAT"


def compressed(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED


def with_extra(info: zipfile.ZipInfo) -> None:
    info.extra = b"up\x05\0\x01abcd"


def with_comment(info: zipfile.ZipInfo) -> None:
    info.comment = b"PK\x05\x06"


def a_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def setuid(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFREG | 0o4755) << 16


def later(info: zipfile.ZipInfo) -> None:
    info.date_time = (2026, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "met"),
    [
        (compressed, "E-ARCHIVE-METHOD"),
        (with_extra, "E-ARCHIVE-FORMAT"),
        (with_comment, "E-ARCHIVE-FORMAT"),
        (a_link, "E-ARCHIVE-FORMAT"),
        (setuid, "E-ARCHIVE-FORMAT"),
        (later, "E-ARCHIVE-FORMAT"),
    ],
)
def test_a_zip_that_says_more_than_it_must_is_refused(
    small: Bundle, tmp_path: Path, change: Callable[[zipfile.ZipInfo], None], met: str
) -> None:
    assert code(tmp_path, canonical(members_of(small), change)) == met


def flagged(packed: bytes, flags: int) -> bytes:
    changed = bytearray(packed)
    changed[6:8] = struct.pack("<H", flags)
    return bytes(changed)


def test_an_encrypted_one_and_one_with_data_descriptors_are_refused(packed: bytes, tmp_path: Path) -> None:
    assert code(tmp_path, flagged(packed, 1)) == "E-ARCHIVE-ENCRYPTED"
    assert code(tmp_path, flagged(packed, 8)) == "E-ARCHIVE-FORMAT"


def test_zip64_sizes_are_refused(packed: bytes, tmp_path: Path) -> None:
    changed = bytearray(packed)
    changed[18:26] = b"\xff" * 8
    assert code(tmp_path, bytes(changed)) == "E-ARCHIVE-SIZE"


@pytest.mark.parametrize("flagged_name", ["é.json", "x" * 300])
def test_a_first_member_with_another_name_is_refused(small: Bundle, tmp_path: Path, flagged_name: str) -> None:
    assert code(tmp_path, canonical([(flagged_name, b"{}"), *members_of(small)])).startswith("E-ARCHIVE-")


def test_members_that_the_manifest_does_not_list_are_refused_wherever_they_are(small: Bundle, tmp_path: Path) -> None:
    listed = members_of(small)
    for at in range(len(listed) + 1):
        met = code(tmp_path, canonical([*listed[:at], (".git/config", b"x"), *listed[at:]]))
        assert met == "E-ARCHIVE-MEMBERS", at


def test_missing_and_swapped_members_are_refused(small: Bundle, tmp_path: Path) -> None:
    listed = members_of(small)
    for at in range(len(listed)):
        assert code(tmp_path, canonical(listed[:at] + listed[at + 1 :])) == "E-ARCHIVE-MEMBERS"
    (_, first), (_, second) = listed[1:3]
    swapped = [listed[0], (listed[1][0], second), (listed[2][0], first), *listed[3:]]
    assert code(tmp_path, canonical(swapped)) == "E-ARCHIVE-SIZE"
    assert code(tmp_path, canonical([listed[0], listed[2], listed[1], *listed[3:]])) == "E-ARCHIVE-MEMBERS"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["/etc/passwd", "../evil", "golden/../../evil", "a\\b", "manifest.json", "MANIFEST.JSON"])
def test_names_that_lead_elsewhere_or_are_there_twice_are_refused(small: Bundle, tmp_path: Path, name: str) -> None:
    listed = members_of(small)
    assert code(tmp_path, canonical([*listed, (name, b"x")])) == "E-ARCHIVE-NAME"


def test_a_name_with_nul_is_refused(packed: bytes, tmp_path: Path) -> None:
    changed = bytearray(packed)
    changed[packed.index(b"PK\x03\x04", 4) + 30] = 0
    assert code(tmp_path, bytes(changed)) == "E-ARCHIVE-NAME"


def test_a_member_of_another_size_than_the_manifest_s_is_refused_before_it_is_read(small: Bundle, tmp_path: Path) -> None:
    listed = members_of(small)
    assert code(tmp_path, canonical([*listed[:-1], (listed[-1][0], b"x" * (8 << 20))])) == "E-ARCHIVE-SIZE"
    assert code(tmp_path, canonical([("manifest.json", b" " * (MANIFEST_LIMIT + 1)), *listed[1:]])) == "E-ARCHIVE-SIZE"


def test_what_is_not_a_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path, tmp_path / "nothing", tmp_path / "nul\0"):
        with pytest.raises(BundleError, match=r"E-ARCHIVE-(READ|FORMAT)"):
            Archive(path)


def test_whoever_gives_a_folder_is_told_to_pack_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"E-ARCHIVE-READ: .* it is a folder: make one file of it with `limiar pack`"):
        Archive(tmp_path)


def test_a_link_is_followed_only_for_a_person(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "written.limiar")
    assert read(tmp_path / "link")
    with pytest.raises(BundleError, match="E-ARCHIVE-READ"):
        Archive(tmp_path / "link", follow=False)


def test_an_archive_that_cannot_be_written_leaves_nothing(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="E-ARCHIVE-OUT"):
        write_archive(small, tmp_path / "no" / "folder.limiar")
    with pytest.raises(BundleError, match="E-ARCHIVE-OUT"):
        write_archive(small, tmp_path)
