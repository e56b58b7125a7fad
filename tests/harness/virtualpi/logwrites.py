"""Makes what a disk holds after a power cut: plays back a log of all writes to it, as far as they were flushed.

The log is QEMU's (`-blockdev driver=blklogwrites`), in the format of Linux's dm-log-writes
(https://docs.kernel.org/admin-guide/device-mapper/log-writes.html): a superblock, then for each write a sector with its header
and the data. The superblock's count of entries may be older than the log, which ends at the first sector that is not a header.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MAGIC, _VERSION = 0x6A736677736872, 1  # drivers/md/dm-log-writes.c: WRITE_LOG_MAGIC, WRITE_LOG_VERSION
_SUPER, _HEADER = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_UNFLUSHED = (_MAGIC, _VERSION, 0, 512)  # QEMU writes the superblock with the first flush
_FLUSH, _FUA = 1, 2  # LOG_FLUSH_FLAG, LOG_FUA_FLAG; a discard (4) or a mark (8) is not in our logs


class LogError(Exception):
    """Not a log of writes, or one that cannot be trusted: str() says why."""


class Entry(NamedTuple):
    """A write, a flush, or both; of both, the flush comes first."""

    offset: int  # on the disk; in bytes, like size and at
    size: int
    flags: int
    at: int  # where in the log the data is


class Replayed(NamedTuple):
    """What became of the writes."""

    kept: int
    dropped: int
    dropped_bytes: int


def replay(log: Path, image: Path) -> Replayed:
    """Writes to `image`, the disk before the log began, what was on the disk for certain at its end. Raises LogError.

    Writes that a flush followed, and those written through (FUA), are kept; the disk had not promised anything else.
    """
    with log.open("rb") as source, image.open("r+b") as disk:
        found = list(entries(source))
        last_flush = max((number for number, entry in enumerate(found) if entry.flags & _FLUSH), default=-1)
        kept = dropped = dropped_bytes = 0
        for number, entry in enumerate(found):
            if not entry.size:
                continue
            if number < last_flush or entry.flags & _FUA:
                source.seek(entry.at)
                disk.seek(entry.offset)
                disk.write(source.read(entry.size))
                kept += 1
            else:
                dropped += 1
                dropped_bytes += entry.size
    return Replayed(kept, dropped, dropped_bytes)


def entries(log: BinaryIO) -> Iterator[Entry]:
    """The entries in the order in which they finished; one that the end of the log cuts off is left out. Raises LogError."""
    begin = _read(log, 0, _SUPER.size)
    magic, version, _, sector = _SUPER.unpack(begin) if any(begin) else _UNFLUSHED
    if (magic, version) != (_MAGIC, _VERSION) or sector < _HEADER.size:
        raise LogError("the file is not a log of writes")
    end = log.seek(0, 2)
    at = sector
    while at + sector <= end:
        header = _read(log, at, _HEADER.size)
        if not any(header):
            _ensure_end(log, at)
            return
        first, count, flags, _ = _HEADER.unpack(header)
        if flags & ~(_FLUSH | _FUA):
            raise LogError(f"the log has an entry with flags {flags} at {at}")
        entry = Entry(first * sector, count * sector, flags, at + sector)
        at = entry.at + entry.size
        if at > end:
            return
        yield entry


def _ensure_end(log: BinaryIO, at: int) -> None:
    """Entries are written in parallel: a missing one would hide the flushes after it. Raises LogError."""
    log.seek(at)
    while block := log.read(1 << 20):
        if any(block):
            raise LogError(f"the log of writes has a hole at {at}: what came after it is unknown")


def _read(log: BinaryIO, at: int, size: int) -> bytes:
    log.seek(at)
    data = log.read(size)
    if len(data) < size:
        raise LogError("the log of writes is cut short")
    return data
