"""A bundle as one file, NAME.limiar: a zip whose every byte follows from the bundle, so that there is nothing to play with.

Members are stored, never compressed: manifest.json first, then manifest.sig if the bundle is signed, then the listed files in
the manifest's order. There is nothing before, between or after them, no comment, extra field, data descriptor, folder or zip64
(a bundle has at most 1 GiB), all times are 1980-01-01, and the central directory repeats the local headers. `unzip` reads it;
only `limiar pack` writes it, and the same bundle always gives the same bytes. A reader accepts exactly that.

A zip that tools of this world would read in two ways is how archives lie; one that can be written in one way only cannot.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self

from msgspec import Struct

from limiar.edge_app.bundle.manifest import MANIFEST, MANIFEST_LIMIT, SIGNATURE, BundleFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.bundle.signature import SIGNATURE_BYTES
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.system.files import WholeFile

# APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_NEEDED, _MADE_BY = 10, 3 << 8 | 10  # of version 1.0, and made on Unix, so that the mode below counts
_MODE = (stat.S_IFREG | 0o644) << 16
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01, the first that a zip can say
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_LONGEST_NAME = 240  # bytes, as in manifest.py
_AT_ONCE = 1 << 20  # bytes


class _Member(Struct, frozen=True):
    """A member, from its local header."""

    name: bytes
    size: int
    crc: int
    offset: int  # of the local header

    def local(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(_LOCAL_MARK, _NEEDED, 0, 0, _TIME, _DATE, *sizes) + self.name

    def central(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0)
        fixed = (_CENTRAL_MARK, _MADE_BY, _NEEDED, 0, 0, _TIME, _DATE)
        return _CENTRAL.pack(*fixed, *sizes, 0, 0, 0, _MODE, self.offset) + self.name


def _directory(members: list[_Member], offset: int) -> bytes:
    """All that follows the members: the central directory, and the record that ends the file."""
    central = b"".join(member.central() for member in members)
    count = len(members)
    return central + _END.pack(_END_MARK, 0, 0, count, count, len(central), offset, 0)


class Archive:
    """An archive that is read once from its start to its end, untrusted. Use as a context manager.

    with Archive(path) as archive:
        manifest = parse_manifest(archive.manifest, where)
        for file in manifest.files:
            for chunk in archive.chunks(file): …
        archive.end()

    What it gives is worth something only once `end` has returned.
    """

    def __init__(self, path: Path, follow: bool = True) -> None:
        """Opens it and reads its first members. follow: whether it may be a link. Raises BundleError."""
        self._path = path
        self._members: list[_Member] = []
        self._offset = 0
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            descriptor = os.open(path, flags)
        except (OSError, ValueError) as error:
            self._unreadable(error)
        if not stat.S_ISREG(kind := os.fstat(descriptor).st_mode):
            os.close(descriptor)
            if stat.S_ISDIR(kind):
                self._refuse("E-ARCHIVE-READ", "it is a folder", "make one file of it with `limiar pack`")
            self._refuse("E-ARCHIVE-READ", "it is not a plain file", "give a NAME.limiar, or a bundle's folder")
        self._file = open(descriptor, "rb", buffering=0)  # noqa: SIM115 closed by close
        try:
            self._next = self._header()
            self.manifest = self._small(MANIFEST, MANIFEST_LIMIT)  # the bytes of manifest.json
            signed = self._next is not None and self._next.name == SIGNATURE.encode()
            self.signature = self._small(SIGNATURE, SIGNATURE_BYTES) if signed else None  # those of manifest.sig
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        """The bytes of the next file, at most 1 MiB at a time: files come in the manifest's order. Raises BundleError."""
        member = self._expect(file.path)
        if member.size != file.bytes:
            met = f"{file.path} has {member.size} bytes, the manifest says {file.bytes}"
            self._refuse("E-ARCHIVE-SIZE", met)
        yield from self._content(member)

    def end(self) -> None:
        """Checks that nothing else is in it. Raises BundleError."""
        if self._next is not None:
            self._other(self._next)
        wanted = _directory(self._members, self._offset)
        # _header has read the mark, and perhaps a part of a header, of whatever follows the members.
        found = self._ahead + self._read(len(wanted) + 1 - len(self._ahead))
        if found != wanted:
            self._refuse("E-ARCHIVE-FORMAT", "its central directory is not that of its members")

    def _small(self, name: str, limit: int) -> bytes:
        member = self._expect(name)
        if member.size > limit:
            self._refuse("E-ARCHIVE-SIZE", f"{name} has {member.size} bytes, the limit is {limit}")
        return b"".join(self._content(member))

    def _expect(self, name: str) -> _Member:
        """The next member, which must be this one."""
        member = self._next
        if member is None:
            self._refuse("E-ARCHIVE-MEMBERS", f"{name} is missing, or not in its place")
        if member.name != name.encode():
            self._other(member, f", where {name} should be")
        return member

    def _other(self, member: _Member, where: str = "") -> NoReturn:
        """Refuses a member that is not the next one of the manifest, with why."""
        name = member.name
        shown = printable(name)[:80]
        if any(name.lower() == known.name.lower() for known in self._members):
            self._refuse("E-ARCHIVE-NAME", f"{shown} is there twice, or in two spellings")
        if b"\0" in name or b"\\" in name or name.startswith(b"/") or b".." in name.split(b"/") or not name:
            self._refuse("E-ARCHIVE-NAME", f"{shown!r} is not a name in a bundle")
        self._refuse("E-ARCHIVE-MEMBERS", f"{shown} is not in the manifest{where or ', or is there again'}")

    def _content(self, member: _Member) -> Iterator[bytes]:
        """The bytes of the member whose header was read last, then reads the next header."""
        left, crc = member.size, 0
        while left:
            if not (chunk := self._read(min(left, _AT_ONCE))):
                self._refuse("E-ARCHIVE-FORMAT", f"it ends within {printable(member.name)}")
            left -= len(chunk)
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != member.crc:
            self._refuse("E-ARCHIVE-DATA", f"{printable(member.name)} has another checksum than its header says")
        self._members.append(member)
        self._offset += len(member.local()) + member.size
        self._next = self._header()

    def _header(self) -> _Member | None:
        """The next local header; None if what follows is something else."""
        raw = self._read(_LOCAL.size)
        self._ahead = raw
        if raw[:4] != _LOCAL_MARK or len(raw) < _LOCAL.size:
            if not self._members:
                self._refuse("E-ARCHIVE-FORMAT", "it does not begin as an archive of `limiar pack`")
            return None
        _, _, flags, method, _, _, crc, packed, size, length, extra = _LOCAL.unpack(raw)
        name = self._read(min(length, _LONGEST_NAME))
        shown = printable(name)[:80]
        if flags & _ENCRYPTED:
            self._refuse("E-ARCHIVE-ENCRYPTED", f"{shown} is encrypted", "pack the bundle with `limiar pack`")
        if method:
            met = f"{shown} is compressed (method {method}), and members are only stored"
            self._refuse("E-ARCHIVE-METHOD", met, "pack the bundle with `limiar pack`")
        member = _Member(name, size, crc, self._offset)
        if packed != size or length > _LONGEST_NAME or extra or raw + name != member.local():
            met = f"the header of {shown} is not as `limiar pack` writes it"
            self._refuse("E-ARCHIVE-FORMAT", met, "pack the bundle with `limiar pack`")
        return member

    def _read(self, count: int) -> bytes:
        """So many bytes, or fewer where the file ends."""
        read = b""
        try:
            while len(read) < count and (more := self._file.read(count - len(read))):
                read += more
        except OSError as error:
            self._unreadable(error)
        return read

    def _unreadable(self, error: Exception) -> NoReturn:
        reason = getattr(error, "strerror", None) or str(error)
        self._refuse("E-ARCHIVE-READ", reason, "check the path, or copy the archive again")

    def _refuse(self, code: str, met: str, cure: str = "copy the archive again, or pack it again") -> NoReturn:
        raise BundleError(code, f"{printable(str(self._path))}: {met}: {cure}")


def write_archive(bundle: Bundle, path: Path) -> None:
    """Writes an opened bundle as one file, whole or not at all; an earlier file is replaced.

    Every file is checked again as it is read. Raises BundleError.
    """
    members: list[_Member] = []
    offset = 0
    try:
        out = WholeFile(path)
        try:
            for name, data in _contents(bundle):
                members.append(_Member(name.encode(), len(data), zlib.crc32(data), offset))
                out.write(members[-1].local())
                out.write(data)
                offset += len(members[-1].local()) + len(data)
            out.write(_directory(members, offset))
        except BaseException:
            out.discard()
            raise
        out.publish()
    except OSError as error:
        met = f"{printable(str(path))} cannot be written ({error.strerror or error})"
        raise BundleError("E-ARCHIVE-OUT", f"{met}: choose another --out") from None


def _contents(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every member. Raises BundleError, OSError."""
    raw, signature = bundle.head()
    yield MANIFEST, raw
    if signature is not None:
        yield SIGNATURE, signature
    for file in bundle.manifest.files:
        yield file.path, bundle.read(file.path)
