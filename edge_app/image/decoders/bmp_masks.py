"""BMP of 16 or 32 bits with colour masks: the layouts that some versions of Pillow do not read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.bmp import Bmp

_MASKS = 3  # compression
_PLACE = 54  # of the masks: within the header, or after one of 40 bytes
_WITH_ALPHA = 56  # bytes of the shortest header with a mask for alpha
_PILLOW = {  # depths and masks that all versions of Pillow from 11 on read
    (16, 0xF800, 0x7E0, 0x1F),
    (16, 0x7C00, 0x3E0, 0x1F),
    (32, 0xFF0000, 0xFF00, 0xFF, 0),
    (32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    (32, 0, 0, 0, 0),
}
_BAND = 64  # rows at a time


def masks(data: bytes, bmp: Bmp) -> tuple[int, ...]:
    """The masks of red, green, blue and alpha (0: none); empty if Pillow decodes it."""
    if bmp.compression != _MASKS or bmp.depth not in (16, 32):
        return ()
    alpha = int.from_bytes(data[14:18], "little") >= _WITH_ALPHA
    found = [int.from_bytes(data[at : at + 4], "little") for at in range(_PLACE, _PLACE + 16, 4)]
    found[3] *= alpha
    if (bmp.depth, *found) in _PILLOW or (bmp.depth, *found[:3]) in _PILLOW and not found[3]:
        return ()
    return tuple(found)


def decode(data: bytes, bmp: Bmp, masks: tuple[int, ...]) -> Image.Image:
    """Mode RGB, or RGBA if there is alpha. Raises ImageError: a mask is not a run of bits."""
    for number, mask in enumerate(masks):
        if mask & (mask + (mask & -mask)) or mask >> bmp.depth or not (mask or number == 3):
            raise ImageError("E-IMAGE-COLOUR", f"a BMP with the colour mask {mask:#x}: save it with 24 bits")
    used = masks if masks[3] else masks[:3]
    stored = np.frombuffer(data, np.uint8, bmp.height * bmp.row_bytes, bmp.offset).reshape(bmp.height, bmp.row_bytes)
    samples = stored[:, : bmp.width * bmp.depth // 8].view(f"<u{bmp.depth // 8}") if bmp.width else stored
    if not bmp.top_down:
        samples = samples[::-1]
    image = Image.new("RGBA" if masks[3] else "RGB", (bmp.width, bmp.height))
    for top in range(0, bmp.height, _BAND):
        band = samples[top : top + _BAND]
        image.paste(Image.fromarray(np.stack([_channel(band, mask) for mask in used], axis=2)), (0, top))
    return image


def _channel(samples: NDArray[Any], mask: int) -> Pixels:
    """Scales the bits of a mask to 0..255, rounded to the nearest."""
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values = (samples.astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
    return ((values * 255 + most // 2) // most).astype(np.uint8)
