"""What other test suites of PNG have found wrong."""

import struct
import zlib

import numpy as np
import pytest

from edge_app.errors import ImageError
from edge_app.image import decode


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(samples: np.ndarray, bits: int, transparent: int) -> bytes:
    """Grey of 1, 2, 4 or 8 bits with one sample that is transparent (ISO/IEC 15948, 11.3.2.1)."""
    height, width = samples.shape
    bands = np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bands, axis=1))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", transparent)) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_grey_that_is_transparent_becomes_black_and_no_other(bits: int) -> None:
    most = (1 << bits) - 1
    samples = (np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 7 % (most + 1)).astype(np.uint8)
    for transparent in {0, 1, most, most // 2, most * 3 // 4}:
        expected = np.where(samples == transparent, 0, samples.astype(int) * 255 // most)
        assert np.array_equal(decode(grey_png(samples, bits, transparent))[:], expected), transparent


def test_of_a_transparent_sample_that_is_too_large_the_lowest_bits_count() -> None:
    samples = np.tile(np.arange(4, dtype=np.uint8), (8, 4))
    assert np.array_equal(decode(grey_png(samples, 2, 0xFFFE))[:], np.where(samples == 2, 0, samples * 85))


LONG_TEXT = b"k\0\0" + zlib.compress(bytes(1_500_000))
NOTES = [(b"zTXt", LONG_TEXT), (b"iCCP", LONG_TEXT), (b"tEXt", b"k\0" + bytes(1_500_000)), (b"pHYs", b"\0"), (b"iCCP", b"")]


@pytest.mark.parametrize(("kind", "content"), NOTES)
@pytest.mark.parametrize("before", [b"tRNS", b"IDAT", b"IEND"])
def test_good_pixels_are_shown_whatever_a_note_beside_them_holds(kind: bytes, content: bytes, before: bytes) -> None:
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = grey_png(samples, 8, 9)
    at = data.index(before) - 4
    assert np.array_equal(decode(data[:at] + chunk(kind, content) + data[at:])[:], np.where(samples == 9, 0, samples))


def test_a_png_of_endless_chunks_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = grey_png(np.zeros((8, 8), np.uint8), 8, 1)
    endless = data[:33] + chunk(b"tEXt", b"") * 60_000 + data[33:]
    monkeypatch.setattr("edge_app.image._decoded", lambda *_: pytest.fail("it came as far as the decoder"))
    with pytest.raises(ImageError) as refused:
        decode(endless)
    assert refused.value.code == "E-IMAGE-BROKEN"
