"""Colours of a DICOM file -> RGB, in whole numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_elements import wrong

_DESCRIPTORS, _DATA = (0x00281101, 0x00281102, 0x00281103), (0x00281201, 0x00281202, 0x00281203)
_BAND = 1 << 20  # pixels at a time


def from_ycc(pixels: NDArray[Any]) -> Pixels:
    """YBR_FULL, uint8 [H, W, 3] -> RGB (PS3.3, C.7.6.3.1.2), in 16 bits after the point, as libjpeg."""
    found = np.empty(pixels.shape, np.uint8)
    rows = max(1, _BAND // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        y, blue, red = (pixels[top : top + rows, :, k].astype(np.int32) - (128 if k else 0) for k in range(3))
        out = found[top : top + rows]
        out[..., 0] = np.clip(y + (91881 * red + 32768 >> 16), 0, 255)
        out[..., 1] = np.clip(y + (-22554 * blue - 46802 * red + 32768 >> 16), 0, 255)
        out[..., 2] = np.clip(y + (116130 * blue + 32768 >> 16), 0, 255)
    return found


def from_palette(dicom: Dicom, codes: NDArray[Any], stored: range) -> Pixels:
    """PALETTE COLOR -> RGB (PS3.3, C.7.6.3.1.5). Raises ImageError."""
    tables = [_colour(dicom, *tags, stored) for tags in zip(_DESCRIPTORS, _DATA, strict=True)]
    table = np.roll(np.stack(tables, axis=-1), stored.start, axis=0)
    found = np.empty((*codes.shape, 3), np.uint8)
    rows = max(1, _BAND // codes.shape[1])
    for top in range(0, len(codes), rows):
        found[top : top + rows] = table[codes[top : top + rows]]
    return found


def _colour(dicom: Dicom, descriptor_tag: int, data_tag: int, stored: range) -> Pixels:
    """One colour's level of each stored value: the first entry below the table, the last one above it."""
    reader = dicom.reader
    descriptor, data = reader.whole(dicom.attribute(descriptor_tag)), dicom.attribute(data_tag)
    if len(descriptor) != 3 or data is None:
        met = "a DICOM file whose palette is missing or segmented"
        raise ImageError("E-IMAGE-COLOUR", f"{met}: save it as RGB")
    entries, first, bits = descriptor
    entries = entries or 1 << 16
    if dicom.signed and first >= 1 << 15:
        first -= 1 << 16
    value = reader.value(data)
    if bits == 8 and len(value) in (entries, entries + entries % 2):
        levels = np.frombuffer(value, np.uint8)[:entries]
    elif bits in (8, 16) and len(value) == 2 * entries:
        wide = np.array(reader.whole(data), np.uint16)
        # As in TIFF: a table of 16 bits whose values end below 256 was written for 8.
        levels = (wide >> 8 if wide.max() > 255 else wide).astype(np.uint8)
    else:
        raise wrong("a PaletteColorLookupTable")
    return levels[np.clip(np.arange(stored.start, stored.stop) - first, 0, entries - 1)]
