"""PGM and PPM: a header in words, then samples."""

import re

from edge_app.containers.container import PIXELS_MP, Container, check_end, unread_depth
from edge_app.errors import ImageError

_HEADER = re.compile(rb"P[56](?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,5})\s")


def inspect(data: bytes) -> Container:
    header = _HEADER.match(data[:4096])
    if header is None:
        raise ImageError("E-IMAGE-BROKEN", "a PGM or PPM without a readable header: write it again")
    width, height, largest = map(int, header.groups())
    grey = data.startswith(b"P5")
    if largest != 255 and not (grey and largest == 65535):
        raise unread_depth(f"a {'PGM' if grey else 'PPM'} with maximum {largest}")
    samples = width * height * (1 if grey else 3)
    behind = check_end(data, header.end() + samples * (2 if largest > 255 else 1), "PGM" if grey else "PPM")
    return Container("PPM", 16 if largest > 255 else 8, PIXELS_MP, trailing=behind)
