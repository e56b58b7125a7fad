"""TIFF of 1 to 16 bits, grey or RGB -> 8 bits.

Pillow reads 12 bits as 16, and does not invert WhiteIsZero with 16 bits, nor with 8 if each sample has its own plane.

So Pillow and libtiff only decompress: they get the same strips and tiles as an 8-bit grey image with as many bytes in a row.
This module then reads the bytes according to the tags (TIFF 6.0, sections 3 to 6, 10, 14 and 18).
"""

import io
import math
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import depth
from limiar.edge_app.image.containers.container import unread_depth
from limiar.edge_app.image.containers.tiff import BLACK_IS_ZERO, GROUP4, JPEG, RGB, WHITE_IS_ZERO, Tiff
from limiar.edge_app.system.stderr import without_stderr
from limiar.edge_app.text import counted

_MOST_BYTES = 64_000_000  # decompressed: libtiff may hold a strip of that size besides the image and two copies of the file
_BAND = 1 << 20  # samples at a time
_DIFFERENCES = 2  # Predictor: each sample is stored as its difference from the one on its left
_ALPHA = 2  # ExtraSamples: alpha that the colours were not multiplied with
Samples = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decodes(tiff: Tiff) -> bool:
    """Whether this module decodes it; Pillow decodes palettes, YCbCr, JPEG and fax."""
    shallow = tiff.depth in (1, 2, 4, 8)
    return not shallow or (tiff.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and tiff.compression not in (JPEG, GROUP4))


def decode(data: bytes, tiff: Tiff, grey_max: int | msgspec.UnsetType) -> Image.Image:
    """Mode L, LA, RGB or RGBA, as stored, before orientation. Raises ImageError, and what Pillow raises for broken data."""
    colours = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}.get(tiff.photometric)
    if colours is None or tiff.samples < colours:
        met = f"a TIFF with {counted(tiff.samples, 'sample')} of {tiff.depth} bits, photometric {tiff.photometric}"
        raise ImageError("E-IMAGE-COLOUR", f"{met}: save it as grey or RGB")
    if tiff.compression in (JPEG, GROUP4) or tiff.predictor not in (1, _DIFFERENCES if tiff.depth in (8, 16) else 1):
        raise unread_depth(f"a TIFF with {tiff.depth} bits, compression {tiff.compression}, predictor {tiff.predictor}")
    if (size := sum(map(tiff.bytes, range(len(tiff.segments.offsets))))) > _MOST_BYTES:
        met = f"{size} bytes of pixels, the limit for a TIFF is {_MOST_BYTES}"
        raise ImageError("E-IMAGE-PIXELS", f"{met}: make it smaller")
    extra = tiff.extra[0] if tiff.extra else _ALPHA  # as in Pillow, a fourth sample without explanation is alpha
    alpha = tiff.samples > colours and extra == _ALPHA
    planes = [_decompressed(data, tiff, plane) for plane in range(colours + alpha if tiff.planes > 1 else 1)]
    counts = np.zeros(depth.FULL + 1, np.int64)
    most_alpha = 0
    for _, band in _bands(planes, tiff) if tiff.depth > 8 else ():
        counts += depth.count(band[:, :, :colours])
        most_alpha = max(most_alpha, int(band[:, :, colours : colours + alpha].max(initial=0)))
    levels = depth.levels(counts, tiff.declared, grey_max, white_is_zero=tiff.photometric == WHITE_IS_ZERO)
    opacity = depth.opacity(most_alpha, tiff.declared, grey_max)
    pixels = np.empty((tiff.height, tiff.width, colours + alpha), np.uint8)
    for top, band in _bands(planes, tiff):
        rows = pixels[top : top + len(band)]
        rows[:, :, :colours] = levels[band[:, :, :colours]]
        if alpha:
            rows[:, :, -1] = opacity[band[:, :, colours]]
    mode = _MODES[colours + alpha]
    return Image.frombuffer(mode, (tiff.width, tiff.height), pixels, "raw", mode, 0, 1)


def check_ycbcr(data: bytes, tiff: Tiff) -> None:
    """Decompresses YCbCr that is not JPEG, since Pillow hides libtiff's errors there. Raises what Pillow raises."""
    across, down = tiff.subsampling
    segments = tiff.segments
    high = math.ceil(segments.height / down)  # in blocks: some luma samples and one sample of each colour
    last = math.ceil((tiff.height - (segments.down - 1) * segments.height) / down)
    blocks = msgspec.structs.replace(segments, width=math.ceil(segments.width / across) * (across * down + 2), height=high)
    height = (segments.down - 1) * high + last
    _decompressed(data, msgspec.structs.replace(tiff, height=height, samples=1, planes=1, segments=blocks), 0)


def _decompressed(data: bytes, tiff: Tiff, plane: int) -> Image.Image:
    """The decompressed rows of a plane, mode L, one pixel per byte; tiles reach beyond the image's edges."""
    segments = tiff.segments
    wide = (segments.width * (tiff.samples // tiff.planes) * tiff.stored + 7) // 8
    width, height = segments.across * wide, segments.down * segments.height if segments.tiled else tiff.height
    own = slice(plane * segments.across * segments.down, (plane + 1) * segments.across * segments.down)
    counts = segments.counts or tuple(map(tiff.bytes, range(len(segments.offsets))))
    one = {256: width, 257: height, 258: 8, 259: tiff.compression, 262: 1, 266: 1 + tiff.reversed_bits, 277: 1}
    shape = {322: wide, 323: segments.height} if segments.tiled else {278: segments.height}
    tags: dict[int, tuple[int, ...]] = {tag: (value,) for tag, value in (one | shape).items()}
    tags |= {324: segments.offsets[own], 325: counts[own]} if segments.tiled else {273: segments.offsets[own], 279: counts[own]}
    from PIL.TiffImagePlugin import TiffImageFile  # 10 ms that a scan of other files does not need

    image = TiffImageFile(io.BytesIO(_with_directory(data, tags, "<" if tiff.order == "little" else ">")))
    with without_stderr():
        image.load()
    return image


def _with_directory(data: bytes, tags: dict[int, tuple[int, ...]], order: str) -> bytes:
    """The TIFF with another directory, at its end; all offsets stay valid."""
    at = len(data) + len(data) % 2
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        place = at + 2 + 12 * len(tags) + 4 + len(values)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        entries += packed if len(numbers) == 1 else struct.pack(f"{order}I", place)
        values += packed if len(numbers) > 1 else b""
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values
    start = data[:4] + struct.pack(f"{order}I", at)
    return b"".join((start, memoryview(data)[8:], bytes(at - len(data)), directory))


def _bands(planes: list[Image.Image], tiff: Tiff) -> Iterator[tuple[int, Samples]]:
    """The samples, a band of rows at a time: its first row, and [rows, W, samples]."""
    band = max(1, _BAND // (tiff.segments.across * tiff.segments.width * tiff.samples))
    for top in range(0, tiff.height, band):
        bottom = min(top + band, tiff.height)
        found = [_samples(np.asarray(plane.crop((0, top, plane.width, bottom))), tiff) for plane in planes]
        yield top, found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _samples(rows: Pixels, tiff: Tiff) -> Samples:
    """uint8 [rows, bytes] of one plane -> [rows, W, samples of that plane]."""
    segments, samples = tiff.segments, tiff.samples // tiff.planes
    packed = rows.reshape(len(rows), segments.across, -1)
    values: Samples = packed
    if tiff.stored == 16:
        values = packed.view("<u2" if tiff.order == "little" else ">u2").astype(np.uint16)
    elif tiff.stored != 8:
        values = _unpacked(packed, tiff.stored, segments.width * samples)
    pixels = values.reshape(len(rows), segments.across, segments.width, samples)
    if tiff.predictor == _DIFFERENCES:
        pixels = pixels.cumsum(axis=2, dtype=values.dtype)
    return pixels.reshape(len(rows), segments.across * segments.width, samples)[:, : tiff.width]


def _unpacked(packed: Pixels, bits: int, count: int) -> NDArray[np.uint16]:
    """[..., bytes] -> [..., count]: samples of 1 to 15 bits, highest bit first, whatever the file's byte order.

    Eight samples fill `bits` bytes; each sample touches at most three of them.
    """
    groups = -(-count // 8)
    padded = np.zeros((*packed.shape[:-1], groups * bits + 2), np.uint32)
    padded[..., : packed.shape[-1]] = packed
    values = np.empty((*packed.shape[:-1], groups, 8), np.uint16)
    for place in range(8):
        first, skipped = divmod(place * bits, 8)
        high, middle, low = (padded[..., first + i : first + i + (groups - 1) * bits + 1 : bits] for i in range(3))
        values[..., place] = (high << 16 | middle << 8 | low) >> (24 - skipped - bits) & ((1 << bits) - 1)
    return values.reshape(*packed.shape[:-1], groups * 8)[..., :count]
