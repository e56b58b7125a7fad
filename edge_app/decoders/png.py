"""PNG of fewer or more bits -> 8, once Pillow has loaded it. Pillow keeps 16-bit grey as it is, and the upper 8 bits of colour.

It also spreads grey of 1, 2 or 4 bits over 0..255, and looks for the transparent one where it was before.
"""

import msgspec
import numpy as np
from PIL import Image

from edge_app import depth
from edge_app.containers.png import Png
from edge_app.errors import ImageError

_BAND_PX = 1 << 20  # of an image at a time
_GREY_ALPHA = 4  # colour type


def in_8_bits(image: Image.Image, png: Png, grey_max: int | msgspec.UnsetType) -> Image.Image:
    """The image with 8 bits a channel; its palette has every colour that is used. Raises ImageError."""
    if image.mode == "P" and any(image.histogram()[png.colours :]):
        met = f"a colour that its palette of {png.colours} does not have"
        raise ImageError("E-IMAGE-BROKEN", f"the PNG uses {met}: copy or record it again")
    if png.transparent is not None and png.bits:
        image.info["transparency"] = png.transparent * 255 // ((1 << png.bits) - 1)
    if image.mode == "I;16":
        return _grey(image, png.significant, grey_max)
    if png.bits == 16:
        bands = np.reshape(image.histogram(), (-1, 256))[: 1 if png.colour == _GREY_ALPHA else 3]
        depth.check_full_levels(bands.sum(axis=0))
    return image


def _grey(image: Image.Image, significant: int | None, grey_max: int | msgspec.UnsetType) -> Image.Image:
    """16-bit grey -> mode L. significant: the bits of sBIT, which a PNG has at the upper end of its 16 (11.3.2.4).

    Who has them at the lower end all the same has samples that no rule of scaling up gives: small, and with bits below.
    """
    rows = max(1, _BAND_PX // image.width)
    counts = np.zeros(depth.FULL + 1, np.int64)
    bands = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    for band in bands:
        counts += depth.count(np.asarray(image.crop(band)))
    declared = None
    if significant and 8 <= significant < 16:
        values = np.flatnonzero(counts)
        if values[-1] < 1 << significant and (values & ((1 << (16 - significant)) - 1)).any():
            declared = (1 << significant) - 1
    levels = depth.levels(counts, declared, grey_max)
    grey = np.empty((image.height, image.width), np.uint8)
    for band in bands:
        grey[band[1] : band[3]] = levels[np.asarray(image.crop(band))]
    return Image.frombuffer("L", image.size, grey, "raw", "L", 0, 1)
