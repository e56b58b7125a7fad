"""BMP with a palette, also in run-length coding -> grey or palette. Pillow accepts damaged ones that lack pixels.

Pillow also reads 1 and 4 bits as 8 if the palette is plain grey. Source: Microsoft, "Bitmap Storage" and "Bitmap Compression"
(Win32, wingdi).
"""

import numpy as np
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.bmp import Bmp
from limiar.edge_app.image.containers.container import truncated

_RLE8, _RLE4 = 1, 2
_PADDED = {_RLE8: 4, _RLE4: 8}  # pixels: ImageMagick also codes the padding of a row, up to 4 bytes
_END_OF_LINE, _END, _DELTA = 0, 1, 2  # the byte after a 0


def decodes(bmp: Bmp) -> bool:
    """Whether this module decodes it, instead of Pillow."""
    return bmp.depth in (1, 4, 8)


def decode(data: bytes, bmp: Bmp) -> Image.Image:
    """Mode L if all colours are grey, otherwise P. Raises ImageError: rows are missing, or an index has no colour."""
    indices = _run_lengths(data, bmp) if bmp.run_lengths else _plain(data, bmp)
    if not bmp.top_down:
        indices = indices[::-1]
    colours = np.frombuffer(data, np.uint8, bmp.colours * bmp.colour_bytes, bmp.palette).reshape(-1, bmp.colour_bytes)
    if (largest := int(indices.max())) >= len(colours):
        met = f"colour {largest} of a palette of {len(colours)}"
        raise ImageError("E-IMAGE-BROKEN", f"the BMP has {met}: copy or record it again")
    size = bmp.width, bmp.height
    if (colours[:, :3] == colours[:, :1]).all():
        table = np.zeros(256, np.uint8)
        table[: len(colours)] = colours[:, 0]
        return Image.frombuffer("L", size, table[indices], "raw", "L", 0, 1)
    image = Image.frombuffer("P", size, np.ascontiguousarray(indices), "raw", "P", 0, 1)
    image.putpalette(colours[:, 2::-1].tobytes())
    return image


def _plain(data: bytes, bmp: Bmp) -> Pixels:
    """uint8 [H, W], in the order of the file."""
    rows = np.frombuffer(data, np.uint8, bmp.height * bmp.row_bytes, bmp.offset).reshape(bmp.height, bmp.row_bytes)
    if bmp.depth == 1:
        rows = np.unpackbits(rows, axis=1)
    elif bmp.depth == 4:
        rows = np.stack((rows >> 4, rows & 15), axis=2).reshape(bmp.height, -1)
    return rows[:, : bmp.width]


def _run_lengths(data: bytes, bmp: Bmp) -> Pixels:
    """uint8 [H, W], in the order of the file. Each row must be filled: skipped pixels have no colour."""
    wide = -(-bmp.width // _PADDED[bmp.compression]) * _PADDED[bmp.compression]
    pixels = bytearray(wide * bmp.height)
    at, end, nibbles = bmp.offset, bmp.end, bmp.compression == _RLE4
    column = row = 0
    while True:
        if at + 2 > end:
            raise truncated("the BMP's run lengths")
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = bytes((value >> 4, value & 15)) * ((count + 1) // 2) if nibbles else bytes((value,)) * count
        elif value > _DELTA:
            count, length = value, (value + 1) // 2 if nibbles else value
            run = data[at : at + length]
            at += length + length % 2
            if nibbles:
                run = bytes(nibble for byte in run for nibble in (byte >> 4, byte & 15))
        elif value == _END_OF_LINE and column >= bmp.width:
            column, row = 0, row + 1
            continue
        elif value == _END and ((row, column) == (bmp.height, 0) or (row == bmp.height - 1 and column >= bmp.width)):
            return np.frombuffer(pixels, np.uint8).reshape(bmp.height, wide)[:, : bmp.width]
        else:
            met = f"the BMP's run lengths skip pixels in row {row + 1}"
            raise ImageError("E-IMAGE-BROKEN", f"{met}: copy it again, or save it without compression")
        if row >= bmp.height or column + count > wide:
            met = f"the BMP's run lengths go beyond row {row + 1}"
            raise ImageError("E-IMAGE-BROKEN", f"{met}: copy it again, or save it without compression")
        start = row * wide + column
        pixels[start : start + count] = run[:count]
        column += count
