"""BMP of 16 and 32 bits in layouts of colours that not every Pillow reads."""

import struct

import numpy as np
import pytest

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode

RGB = np.random.default_rng(1).integers(0, 256, (21, 17, 3), dtype=np.uint8)


def bmp(values: np.ndarray, masks: tuple[int, ...], header: int = 108, top_down: bool = False) -> bytes:
    """values: uint16 or uint32 [H, W]. header: 40 (the masks follow), 56 or 108."""
    height, width = values.shape
    row = width * values.itemsize
    rows = [line.tobytes() + bytes(-row % 4) for line in (values if top_down else values[::-1])]
    mask_bytes = struct.pack("<4I", *masks)[: 12 if header == 40 else 16]
    start = struct.pack(
        "<IiiHHIIiiII", header, width, -height if top_down else height, 1, 8 * values.itemsize, 3, 0, 0, 0, 0, 0
    )
    head = (start + mask_bytes).ljust(max(header, 52), b"\0")
    pixels = b"".join(rows)
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels


def packed(pixels: np.ndarray, masks: tuple[int, ...], dtype: str) -> np.ndarray:
    """Each channel in its mask's bits, from its upper ones."""
    values = np.zeros(pixels.shape[:2], np.uint64)
    for channel, mask in zip(np.moveaxis(pixels, 2, 0), masks, strict=False):
        shift = (mask & -mask).bit_length() - 1
        most = mask >> shift
        values |= np.uint64(shift >= 0) * ((channel.astype(np.uint64) * most + 127) // 255 << np.uint64(shift))
    return values.astype(dtype)


LAYOUTS = {
    "565": ("<u2", (0xF800, 0x7E0, 0x1F, 0)),
    "555": ("<u2", (0x7C00, 0x3E0, 0x1F, 0)),
    "BGR 565": ("<u2", (0x1F, 0x7E0, 0xF800, 0)),
    "444": ("<u2", (0xF00, 0xF0, 0xF, 0)),
    "231": ("<u2", (0x600, 0x1C0, 0x20, 0)),
    "XRGB": ("<u4", (0xFF0000, 0xFF00, 0xFF, 0)),
    "XBGR": ("<u4", (0xFF, 0xFF00, 0xFF0000, 0)),
    "RGBX": ("<u4", (0xFF000000, 0xFF0000, 0xFF00, 0)),
    "bits apart": ("<u4", (0xFF0, 0xFF000, 0xFF00000, 0)),
    "101010": ("<u4", (0x3FF00000, 0xFFC00, 0x3FF, 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("header", [40, 56, 108])
@pytest.mark.parametrize("top_down", [False, True])
def test_colours_are_taken_from_where_the_masks_say(layout: str, header: int, top_down: bool) -> None:
    dtype, masks = LAYOUTS[layout]
    steps = [255 / (mask >> (mask & -mask).bit_length() - 1) for mask in masks[:3]]
    found = decode(bmp(packed(RGB, masks, dtype), masks, header, top_down)).pixels()
    assert (np.abs(found.astype(int) - RGB) <= np.ceil(np.array(steps) / 2)).all()


def test_alpha_goes_over_black_and_alpha_of_0_throughout_means_none() -> None:
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    half = np.dstack([RGB, np.full(RGB.shape[:2], 119, np.uint8)])  # 7 of 15
    found = decode(bmp(packed(half, masks, "<u2"), masks)).pixels()
    assert np.abs(found.astype(int) - RGB * (7 / 15)).max() <= 9
    none = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    assert np.abs(decode(bmp(packed(none, masks, "<u2"), masks)).pixels().astype(int) - RGB).max() <= 9


@pytest.mark.parametrize("masks", [(0x505, 0xF0, 0xF000, 0), (0, 0xF0, 0xF, 0), (0xFF0000, 0xF0, 0xF, 0)])
def test_masks_that_are_none_are_refused(masks: tuple[int, ...]) -> None:
    with pytest.raises(ImageError) as refused:
        decode(bmp(np.zeros((5, 5), np.uint16), masks))
    assert refused.value.code == "E-IMAGE-COLOUR"
