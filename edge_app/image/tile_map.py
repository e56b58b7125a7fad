"""A map of scores laid over its picture, and its peaks marked."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limiar.edge_app.answer import Answer, Peak, TileMap
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.image.heat import coloured
from limiar.edge_app.image.scores import Scores, scores_of

SIDE_PX = 800  # of the longer side of a picture with its map
_HEAT = 0.6  # share of the map's colours where the score is 1; the rest is the picture
_SCALE_PX, _BAR_PX, _BAR_HIGH_PX = 36, 160, 12  # the scale below: its height, and width and height of its bar
_GREY = 96  # the picture that the scale's bar stands for
_RING_MIN_PX = 6
_FONT_PX = 14


def map_png(pixels: Pixels, answer: Answer) -> bytes:
    """A PNG file: the picture under its scores, uncoloured where they are 0 or unknown, its peaks, a scale, the answer."""
    assert answer.tiles
    over = Image.fromarray(with_map(enlarged(pixels, SIDE_PX), pixels.shape, answer.tiles, scores_of(answer.tiles)))
    mark(over, pixels.shape, answer.tiles.size, answer.peaks or ())
    shown = Image.new("RGB", (over.width, over.height + _SCALE_PX), "white")
    shown.paste(over, (0, 0))
    _draw_scale(shown, over.height, f"1 {answer.tiles.sought}")
    return png(shown, answer)


def peaks_png(pixels: Pixels, answer: Answer) -> bytes:
    """A PNG file: the picture with its peaks, and the answer."""
    assert answer.tiles
    shown = enlarged(pixels, SIDE_PX)
    mark(shown, pixels.shape, answer.tiles.size, answer.peaks or ())
    return png(shown, answer)


def with_map(image: Image.Image, shape: tuple[int, ...], tiles: TileMap, scores: Scores) -> Pixels:
    """An RGB image of a picture with this shape, under its scores: uint8 [H, W, 3]. Between the middles of tiles, linear."""
    picture = np.asarray(image)
    height, width = picture.shape[:2]
    y_px, x_px = shape[0] / height, shape[1] / width  # pixels of the picture per pixel of the image
    top, left = (first + (tiles.size - 1) / 2 for first in tiles.first)
    cells = np.array([[x_px, 0, x_px / 2 - 0.5 - left], [0, y_px, y_px / 2 - 0.5 - top]]) / tiles.stride
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    known = np.nan_to_num(scores).astype(np.float32)
    smooth = cv2.warpAffine(known, cells, (width, height), flags=way, borderMode=cv2.BORDER_REPLICATE)
    return _blended(picture, np.asarray(smooth, np.float32))


def mark(image: Image.Image, shape: tuple[int, ...], size: int, peaks: Sequence[Peak]) -> None:
    """Draws a ring around each peak, as wide as a tile, with its number. shape: of the picture; size: of a tile, px."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_PX)
    scale = image.width / shape[1]
    radius = max(_RING_MIN_PX, size * scale / 2)
    for number, peak in enumerate(peaks, 1):
        x, y = (peak.x + 0.5) * scale, (peak.y + 0.5) * scale
        for wider, colour in ((1, "black"), (0, "white")):
            box = (x - radius - wider, y - radius - wider, x + radius + wider, y + radius + wider)
            draw.ellipse(box, outline=colour, width=1 + 2 * wider)
        at = min(x + radius + 2, image.width - 2 * _FONT_PX), max(y - radius - 2, 0)
        draw.text(at, str(number), fill="white", font=font, stroke_width=2, stroke_fill="black")


def _blended(picture: Pixels, scores: NDArray[np.float32]) -> Pixels:
    """uint8 RGB under the colours of scores [H, W], the more of them the higher the score."""
    levels = (scores * 255).round().astype(np.uint8)
    share = (_HEAT * scores)[..., None]
    return np.asarray((picture * (1 - share) + coloured(levels) * share).round(), np.uint8)


def _draw_scale(image: Image.Image, top: int, most: str) -> None:
    """Below a map: which colour is which score."""
    bar = np.tile(np.linspace(0, 1, _BAR_PX, dtype=np.float32), (_BAR_HIGH_PX, 1))
    grey = np.full((*bar.shape, 3), _GREY, np.uint8)
    at, middle = (image.width - _BAR_PX) // 2, top + _SCALE_PX // 2
    image.paste(Image.fromarray(_blended(grey, bar)), (at, middle - _BAR_HIGH_PX // 2))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_PX)
    draw.text((at - 8, middle), "0", fill="black", font=font, anchor="rm")
    draw.text((at + _BAR_PX + 8, middle), most, fill="black", font=font, anchor="lm")
