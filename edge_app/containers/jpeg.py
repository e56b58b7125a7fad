"""JPEG (ITU-T T.81): segments, entropy-coded data, an end."""

import re

from edge_app.containers.container import PIXELS_MP, PIXELS_MP_TWICE, Container, check_end, truncated, unread_depth
from edge_app.errors import ImageError

_MARKER = re.compile(rb"\xff{1,256}[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart
_NOT_STUFFED = re.compile(rb"\xff[^\x00]")  # 17 times as quick as the one above, 3 times as find()
_FILL = bytes([255]) * 257  # before a marker any number of them may stand, and libjpeg takes a second for 3 MB
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def inspect(data: bytes) -> Container:
    """JPEG (ITU-T T.81) B.1: segments FFxx with a length, entropy-coded data after each SOS, EOI at the end."""
    at, frames, scans = 2, 0, 0
    bits = None
    while True:
        match = _MARKER.match(data, at)
        if match is None:
            if at + 2 > len(data):
                raise truncated("the JPEG")
            raise ImageError("E-IMAGE-BROKEN", f"no JPEG marker where one must be, at byte {at}: copy or record it again")
        marker, at = data[match.end() - 1], match.end()
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise truncated("a JPEG segment")
        if marker in _FRAME:
            frames += 1
            bits = data[at + 2]
            if length >= 8 and data[at + 7] == 4:
                raise ImageError("E-IMAGE-COLOUR", "a CMYK JPEG: save it as RGB or grey")
        at += length
        if marker == 0xDA:
            scans += 1
            at = _after_scan(data, at)
    check_end(data, at, "JPEG")
    if frames != 1 or not scans:
        raise ImageError("E-IMAGE-BROKEN", f"a JPEG with {frames} frame headers and {scans} scans: copy or record it again")
    if bits != 8:
        raise unread_depth(f"{bits}-bit JPEG")
    return Container("JPEG", bits, PIXELS_MP if scans == 1 else PIXELS_MP_TWICE)


def _after_scan(data: bytes, at: int) -> int:
    """Where the entropy-coded data from `at` ends: at the next marker."""
    while found := _NOT_STUFFED.search(data, at):
        at = found.start()
        if _MARKER.match(data, at) or data.startswith(_FILL, at):
            return at
        at += 1
    raise truncated("the JPEG's pixels")
