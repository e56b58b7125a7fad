"""What is missing from a video file, by its own blocks, packets and pages: FFmpeg stops, or goes on, without a word."""

import os
import re
import time
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

_READ_S = 2.0  # less than the parent's patience
_NUL_BYTES = 512  # a sector that was never written
_BLOCK_BYTES = 1 << 20
_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of an MPEG transport packet, and the place of its sync byte
_SYNC = 0x47
_NUL = bytes(_NUL_BYTES)
_BEFORE_BYTES = 12
_CLUSTER = b"\x1f\x43\xb6\x75"
_VOID = re.compile(rb"\xec.{1,8}$", re.DOTALL)
_END_OF_IMAGE = re.compile(rb"\xff\xd9[\0\xff]*$")  # with the padding of a board's camera
_OGG_PAGE = b"OggS"
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # RFC 3533, 6: the longest


def fault(file: BinaryIO, kind: str) -> str | None:
    """In words, what a file of this kind lacks; None if nothing, or if the file cannot show it."""
    look = _LOOKS.get(kind)
    return look(file) if look else None


def _nul_end(file: BinaryIO) -> str | None:
    """An unfinished copy often has its full length, with NUL for the part that never came."""
    at = _size(file)
    while at:
        start = max(0, at - _BLOCK_BYTES)
        file.seek(start)
        kept = len(file.read(at - start).rstrip(b"\0"))
        at = start + kept
        if kept:
            break
    lost = _size(file) - at
    return f"its last {lost} bytes are all NUL" if lost >= _NUL_BYTES else None


def _lost_sector(file: BinaryIO, start: int = 0, allowed: re.Pattern[bytes] | None = None) -> str | None:
    """Coded pictures have no such run of NUL, but a card returns one for a lost sector. allowed: bytes that may precede one."""
    until_s = time.monotonic() + _READ_S
    file.seek(start)
    data, at = file.read(_BLOCK_BYTES), start
    while data and time.monotonic() < until_s:
        found = data.find(_NUL)
        while found >= 0:
            before = data[max(0, found - _BEFORE_BYTES) : found]
            if not (allowed and allowed.search(before)):
                return f"over {_NUL_BYTES} NUL bytes are in place of pictures, from byte {at + found} on"
            found = data.find(_NUL, len(data) - len(data[found:].lstrip(b"\0")))
        more = file.read(_BLOCK_BYTES)
        kept = data[max(0, len(data.rstrip(b"\0")) - _BEFORE_BYTES) :] if more else b""
        at, data = at + len(data) - len(kept), kept + more
    return None


def _matroska(file: BinaryIO) -> str | None:
    """Looks from the first cluster on (RFC 9559). Uncompressed sound and pictures may be NUL, and so may a Void element."""
    file.seek(0)
    head = file.read(_BLOCK_BYTES)
    first = head.find(_CLUSTER)
    plain = first < 0 or any(codec in head[:first] for codec in (b"A_PCM", b"V_UNCOMPRESSED", b"V_MS/VFW", b"V_FFV1"))
    return None if plain else _lost_sector(file, first, _VOID)


def _gif(file: BinaryIO) -> str | None:
    """GIF89a, 12 to 27: one block after another, up to the trailer. Decoders ignore what follows anything else."""
    until_s = time.monotonic() + _READ_S
    file.seek(0)
    head = file.read(13).ljust(13, b"\0")
    _skip_colours(file, head[10])
    while time.monotonic() < until_s:
        at = file.tell()
        match file.read(1):
            case b"\x21":
                file.seek(1, os.SEEK_CUR)
            case b"\x2c":
                _skip_colours(file, file.read(9).ljust(9, b"\0")[8])
                file.seek(1, os.SEEK_CUR)
            case b"\x3b" | b"":
                return None
            case _:
                return f"its blocks end at byte {at} of {_size(file)}"
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], os.SEEK_CUR)
    return None


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


def _ogg(file: BinaryIO) -> str | None:
    """RFC 3533, 6: the last page of each stream says that it is the last."""
    size = _size(file)
    file.seek(max(0, size - 2 * _OGG_PAGE_BYTES))
    end = file.read()
    at = end.rfind(_OGG_PAGE)
    return None if at >= 0 and end[at + 5 : at + 6] and end[at + 5] & 4 else "its last page is missing"


def _transport_stream(file: BinaryIO) -> str | None:
    """ISO/IEC 13818-1, 2.4.3.2: each packet begins with a sync byte, and the packets of a stream count from 0 to 15."""
    until_s = time.monotonic() + _READ_S
    file.seek(0)
    head = file.read(512)
    found = [pair for pair in _PACKETS if head[pair[1] : pair[1] + 1] == head[sum(pair) : sum(pair) + 1] == bytes([_SYNC])]
    if not found:
        return None
    length, sync = found[0]
    file.seek(0)
    last = dict[int, int]()  # the count of each stream's last packet
    gaps = broken = 0
    while time.monotonic() < until_s and (data := file.read(_BLOCK_BYTES // length * length)):
        packets = np.frombuffer(data, np.uint8, len(data) // length * length).reshape(-1, length)[:, sync:]
        broken += int(np.count_nonzero(packets[:, 0] != _SYNC))
        packets = packets[(packets[:, 0] == _SYNC) & (packets[:, 3] & 0x10 > 0)]  # those with content
        stream = (packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]
        breaks = (packets[:, 3] & 0x20 > 0) & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 > 0)  # the count may restart
        for number in np.unique(stream):
            own = stream == number
            counts = np.concatenate([[last.get(number, -1)], packets[own, 3] & 15]).astype(int)
            steps = (counts[1:] - counts[:-1]) % 16
            gaps += int(np.count_nonzero((steps > 1) & ~breaks[own] & (counts[:-1] >= 0) & (number != _NULL_STREAM)))
            last[number] = int(counts[-1])
    parts = [
        f"{broken} of its packets are overwritten" if broken else "",
        f"packets are missing in {gaps} places" if gaps else "",
    ]
    return ", ".join(filter(None, parts)) or None


_NULL_STREAM = 0x1FFF  # whose count means nothing


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


_LOOKS: dict[str, Callable[[BinaryIO], str | None]] = {
    "AVI": _nul_end,
    "H.264, H.265 or MPEG-4": _lost_sector,
    "JPEG": lambda file: _lost_sector(file, allowed=_END_OF_IMAGE),
    "Matroska or WebM": _matroska,
    "GIF": _gif,
    "Ogg": _ogg,
    "MPEG transport stream": lambda file: _transport_stream(file) or _nul_end(file),
}
