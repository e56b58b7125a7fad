"""No run of bytes keeps a parser: each format's header, and its middle, is followed by megabytes of every class of byte."""

import io
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_app.errors import ImageError
from edge_app.image import decode

SIZE = 4_000_000
HANG_S = 10  # what is linear takes a fraction of a second; a scan gives up an image after 5

PICTURE = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def saved(format: str, grey: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE[:, :, 0] if grey else PICTURE).save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


STARTS = {
    "PNG": saved("PNG"),
    "JPEG": saved("JPEG"),
    "progressive JPEG": saved("JPEG", progressive=True),
    "JPEG with restarts": saved("JPEG", restart_marker_blocks=1),
    "BMP": saved("BMP"),
    "WebP": saved("WEBP"),
    "lossless WebP": saved("WEBP", lossless=True),
    "TIFF": saved("TIFF"),
    "deflated TIFF": saved("TIFF", compression="tiff_adobe_deflate"),
    "big-endian TIFF": b"MM\0*\0\0\0\x08",
    "PGM": saved("PPM", grey=True),
    "PPM": saved("PPM"),
    "plain PGM": b"P2 50 40 255\n1 2 3 ",
    "plain PPM": b"P3 50 40 255\n1 2 3 ",
    "PBM": b"P1 8 8\n",
    "nothing": b"",
    "XML": b"<?xml ",
    "a space": b" ",
}
RUNS = {
    "NUL": b"\0",
    "0xFF": b"\xff",
    "spaces": b" ",
    "line ends": b"\n",
    "digits": b"1",
    "letters": b"a",
    "comments": b"#",
    "comments that end": b"#\n",
    "digits and spaces": b"1 ",
    "minus signs": b"-",
    "less-than signs": b"<",
    "stuffed 0xFF": b"\xff\0",
    "restarts": b"\xff\xd0",
    "starts": b"\xff\xd8\xff",
    "fill bytes, stuffed": b"\xff" * 256 + b"\0",
    "fill bytes, 256 and a restart": b"\xff" * 256 + b"\xd0",
    "empty JPEG comments": b"\xff\xfe\0\x02",
    "empty scans": b"\xff\xda\0\x08\x01\x01\0\0\x3f\0",
    "empty PNG chunks": png_chunk(b"tEXt"),
    "empty IDAT": png_chunk(b"IDAT"),
    "empty RIFF chunks": b"NONE\0\0\0\0",
    "0x80, which PackBits passes over": b"\x80",
    "every byte": bytes(range(256)),
}


@contextmanager
def hang_limit() -> Iterator[None]:
    def give_up(*_: object) -> None:
        pytest.fail(f"still busy after {HANG_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def places(data: bytes) -> list[tuple[bytes, bytes]]:
    """Where a run is put: what stands before and behind it."""
    header = data.index(b"\xff\xda") if data.startswith(b"\xff\xd8") else min(33, len(data))
    cuts = {2, 8, header, len(data) // 2, len(data) - 2, len(data) - 12, len(data)}
    return [(data[:cut], data[cut:]) for cut in sorted(cuts) if 0 <= cut <= len(data)] + [(b"", b"")]


@pytest.mark.parametrize("start", STARTS)
def test_no_run_of_bytes_keeps_a_parser(start: str) -> None:
    for run in RUNS.values():
        block = run * (SIZE // len(run))
        for before, behind in places(STARTS[start]):
            with hang_limit(), suppress(ImageError):
                assert decode(before + block + behind).shape  # whole: a run of padding, for instance
