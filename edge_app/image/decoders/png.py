"""PNG with fewer or more than 8 bits -> 8, once Pillow has loaded it.

Pillow keeps 16-bit grey as it is, and drops the lower 8 bits of 16-bit colour. It spreads grey of 1, 2 or 4 bits over 0..255,
but looks for the transparent level among the old values.
"""

import importlib
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import depth
from limiar.edge_app.image.containers.container import truncated
from limiar.edge_app.image.containers.png import GREY, GREY_ALPHA, RGB, RGBA, Png, pixels, without_notes

_BAND_PX = 1 << 20  # of an image at a time
_STORED = 65_535  # bytes, at most, in a block without compression
_PIECE = 1 << 14  # deflated bytes at a time: zlib copies what it has not used yet
_BEYOND = 16  # blocks after the last row: more of them are damage that happens to inflate
# How to ask Pillow for the lower bytes of 16-bit colour, which it drops, and the channels that hold the upper and lower bytes.
_LOWER = {RGB: "RGB;16L", GREY_ALPHA: "RGBA", RGBA: "RGBA;16L"}
_CHANNELS = {RGB: ([0, 1, 2], [0, 1, 2]), GREY_ALPHA: ([0, 3], [1, 3]), RGBA: ([0, 1, 2, 3], [0, 1, 2, 3])}
_PLAIN = {GREY: ("L", 1), RGB: ("RGB", 3)}  # colour type -> Pillow's mode, channels
_HEADER_AT = 16  # first byte of IHDR's data
_NOT_INTERLACED = b"\0\0\0"  # compression, filter and interlace method: the only ones, and no Adam7 (11.2.2)
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
Samples = NDArray[np.uint16]


def small(data: bytes, png: Png) -> Image.Image | None:
    """A small and plain PNG: grey or RGB in 8 bits, its rows whole in one piece. None: another one, or a damaged one.

    Pillow's own decoder, as in `load`, without parsing the chunks once more: that took as long as the pixels of a CT patch.
    """
    if png.pixels is None or png.bits != 8 or png.colour not in _PLAIN:
        return None
    mode, channels = _PLAIN[png.colour]
    width, height, method = struct.unpack_from(">II2x3s", data, _HEADER_AT)
    length = height * (1 + width * channels)
    if not (width and 0 < length <= _STORED and method == _NOT_INTERLACED and data.startswith(b"IHDR", 12)):
        return None
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(data[slice(*png.pixels)], length + 1)
        if len(rows) != length or not inflate.eof:  # at the end, zlib has compared the checksum
            return None
        stored = struct.pack("<3sHH", b"\x78\x01\x01", length, length ^ _STORED) + rows + zlib.adler32(rows).to_bytes(4, "big")
        return Image.frombytes(mode, (width, height), stored, "zip", mode)
    except (ValueError, zlib.error):  # `load` says what is wrong
        return None


def load(data: bytes, image: Image.Image) -> Image.Image:
    """The image with its pixels, or one that takes its place. Raises ImageError, zlib.error and what Pillow raises.

    If the deflated data end early, Pillow leaves the remaining rows black, and it ignores the checksum unless it happens to
    read it. So the data are inflated here, and Pillow gets the rows uncompressed.
    """
    try:
        _load(data, image)
    except (OSError, zlib.error, ImageError):  # the pixels are at fault
        raise
    except Exception:  # a chunk after them, with any error
        module: Any = importlib.import_module("PIL.PngImagePlugin")
        image = module.PngImageFile(io.BytesIO(without_notes(data)))
        _load(data, image)
    return image


def _load(data: bytes, image: Any) -> None:
    rows = _rows(data)
    image.load_read = lambda _most: next(rows, b"")
    image.load()
    del image.load_read
    for count, _ in enumerate(rows):  # up to the checksum
        if count == _BEYOND:
            raise truncated("the PNG's pixels")


def _rows(data: bytes) -> Iterator[bytes]:
    """The rows as a zlib stream without compression or end (RFC 1951, 3.2.4), piece by piece. Raises ImageError, zlib.error."""
    inflate = zlib.decompressobj()
    head = b"\x78\x01"
    for start, end in pixels(data):
        for piece in range(start, end, _PIECE):
            rest = data[piece : min(piece + _PIECE, end)]
            while rest and not inflate.eof:
                rows = inflate.decompress(rest, _STORED)
                rest = inflate.unconsumed_tail
                if rows:
                    yield head + struct.pack("<xHH", len(rows), len(rows) ^ _STORED) + rows
                    head = b""
    if not inflate.eof:
        raise truncated("the PNG's pixels")


def in_8_bits(data: bytes, image: Image.Image, png: Png, grey_max: int | msgspec.UnsetType) -> Image.Image:
    """The image with 8 bits per channel, after checking that its palette has every colour that is used. Raises ImageError."""
    if image.mode == "P" and any(image.histogram()[png.colours :]):
        met = f"a colour that its palette of {png.colours} does not have"
        raise ImageError("E-IMAGE-BROKEN", f"the PNG uses {met}: copy or record it again")
    if png.transparent is not None and png.bits:
        image.info["transparency"] = png.transparent * 255 // ((1 << png.bits) - 1)
    return _of_16(image, None if png.colour == GREY else _lower(data, png), png, grey_max) if png.bits == 16 else image


def _lower(data: bytes, png: Png) -> Image.Image:
    module: Any = importlib.import_module("PIL.PngImagePlugin")
    image: Image.Image = module.PngImageFile(io.BytesIO(without_notes(data)))
    image.tile = [tile._replace(args=_LOWER[png.colour]) for tile in image.tile]  # type: ignore[attr-defined]
    _load(data, image)
    return image


def _of_16(image: Image.Image, lower: Image.Image | None, png: Png, grey_max: int | msgspec.UnsetType) -> Image.Image:
    """16 bits, grey or colour, with or without alpha -> mode L, LA, RGB or RGBA. lower: its lower bytes; None for grey."""
    colours = 3 if png.colour in (RGB, RGBA) else 1
    alpha = png.colour in (GREY_ALPHA, RGBA)
    rows = max(1, _BAND_PX // image.width)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    counts, most_alpha = np.zeros(depth.FULL + 1, np.int64), 0
    for box in boxes:
        samples = _samples(image, lower, png, box)
        counts += depth.count(samples[:, :, :colours])
        most_alpha = max(most_alpha, int(samples[:, :, colours:].max(initial=0)))
    declared = _declared(counts, png.significant)
    levels = depth.levels(counts, declared, grey_max, significant=png.significant)
    opacity = depth.opacity(most_alpha, declared, grey_max)
    pixels = np.empty((image.height, image.width, colours + alpha), np.uint8)
    for box in boxes:
        samples = _samples(image, lower, png, box)
        pixels[box[1] : box[3], :, :colours] = levels[samples[:, :, :colours]]
        pixels[box[1] : box[3], :, colours:] = opacity[samples[:, :, colours:]]
    mode = _MODES[colours + alpha]
    return Image.frombuffer(mode, image.size, pixels, "raw", mode, 0, 1)


def _declared(counts: depth.Counts, significant: int | None) -> int | None:
    """The largest value by sBIT, if its bits are the lower ones; None if they are the upper ones of the 16, as in 11.3.2.4.

    Some writers store them at the lower end all the same. Their samples are small and use low bits, as no scaled sample does.
    """
    values = np.flatnonzero(counts)
    if not significant or not 8 <= significant < 16:
        return None
    kept = values[-1] < 1 << significant and (values & ((1 << (16 - significant)) - 1)).any()
    return (1 << significant) - 1 if kept else None


def _samples(image: Image.Image, lower: Image.Image | None, png: Png, box: tuple[int, int, int, int]) -> Samples:
    """A band of rows, [rows, W, channels], alpha last."""
    upper: Samples = np.asarray(image.crop(box)).astype(np.uint16)
    if lower is None:
        return upper[:, :, None]
    high, low = _CHANNELS[png.colour]
    samples: Samples = upper[:, :, high] << 8 | np.asarray(lower.crop(box))[:, :, low]
    return samples
