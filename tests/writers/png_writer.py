"""PNG files of every kind that ISO/IEC 15948 allows, and of some that it does not: made from samples, chunk by chunk."""

import random
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # top, left, steps
SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]
Samples = NDArray[Any]  # [H, W, channels], 0 .. 2^bits - 1


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    samples: Samples,
    colour: int,
    bits: int,
    *,
    before: tuple[Chunk, ...] = (),
    after: tuple[Chunk, ...] = (),
    interlaced: bool = False,
    filters: random.Random | None = None,
    deflated: bytes | None = None,
    piece: int = 1 << 13,
) -> bytes:
    """before, after: chunks around the pixels. filters: chance picks the filter of each row; None: no filter.

    deflated: instead of the pixels. piece: bytes of an IDAT.
    """
    height, width = samples.shape[:2]
    data = zlib.compress(rows(samples, bits, interlaced, filters)) if deflated is None else deflated
    pixels = [(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece)]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return SIGNATURE + b"".join(chunk(*each) for each in [(b"IHDR", header), *before, *pixels, *after, (b"IEND", b"")])


def rows(samples: Samples, bits: int, interlaced: bool = False, filters: random.Random | None = None) -> bytes:
    """The filtered rows of each pass, each behind the number of its filter."""
    passes = [samples[top::down, left::across] for top, left, down, across in ADAM7] if interlaced else [samples]
    step = max(1, bits * samples.shape[2] // 8)
    return b"".join(_filtered(part, bits, step, filters) for part in passes if part.size)


def _filtered(part: Samples, bits: int, step: int, filters: random.Random | None) -> bytes:
    above, found = None, []
    for row in part:
        packed = _packed(row.reshape(-1), bits).astype(np.int32)
        above = np.zeros_like(packed) if above is None else above
        kind = filters.randrange(5) if filters else 0
        left, corner = (np.concatenate([np.zeros(step, np.int32), line[:-step]])[: len(line)] for line in (packed, above))
        guess = [0 * packed, left, above, (left + above) // 2, _paeth(left, above, corner)][kind]
        found.append(bytes([kind]) + (packed - guess).astype(np.uint8).tobytes())
        above = packed
    return b"".join(found)


def _packed(values: Samples, bits: int) -> NDArray[np.uint8]:
    if bits >= 8:
        return np.frombuffer(values.astype(f">u{bits // 8}").tobytes(), np.uint8)
    return np.packbits(np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].reshape(-1))


def _paeth(left: Samples, above: Samples, corner: Samples) -> Samples:
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner))
