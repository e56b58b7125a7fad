"""A class activation map laid over its image."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec, MapGrid

_GAP_PX = 8  # between the image and its map
_SCALE_PX, _BAR_PX, _BAR_HIGH_PX = 36, 160, 12  # the scale below both: its height, and width and height of its bar
_HEAT = 0.4  # share of the map's colours; the rest is the image


def overlaid(image: Pixels, heat: NDArray[np.float32], grid: MapGrid, spec: InputSpec) -> Pixels:
    """uint8 RGB [H, W, 3] under the colours of a map [h, w], blue where it is least, red where most; a flat one is blue."""
    low, high = float(heat.min()), float(heat.max())
    levels = (heat - low) * (255.0 / (high - low)) if high > low else np.zeros_like(heat)
    height, width = image.shape[:2]
    (top, left), (down, right) = grid.first, grid.step
    y_px, x_px = spec.height / height, spec.width / width  # pixels of the model's input per pixel of the image
    cells = np.array([[x_px / right, 0, (x_px / 2 - 0.5 - left) / right], [0, y_px / down, (y_px / 2 - 0.5 - top) / down]])
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    smooth = cv2.warpAffine(levels.astype(np.float32), cells, (width, height), flags=way, borderMode=cv2.BORDER_REPLICATE)
    colours = coloured(np.asarray(smooth).round().astype(np.uint8))
    return np.asarray(cv2.addWeighted(image, 1 - _HEAT, colours, _HEAT, 0), np.uint8)


def beside(image: Pixels, heat: Pixels, own: NDArray[np.float32], label: str) -> Image.Image:
    """The image, the image under its map, and below them a scale: the colours are parts of the label's logit."""
    height, width = image.shape[:2]
    shown = Image.new("RGB", (2 * width + _GAP_PX, height + _SCALE_PX), "white")
    shown.paste(Image.fromarray(image), (0, 0))
    shown.paste(Image.fromarray(heat), (width + _GAP_PX, 0))
    bar = np.tile(np.arange(_BAR_PX) * 255 // (_BAR_PX - 1), (_BAR_HIGH_PX, 1)).astype(np.uint8)
    at, top = (shown.width - _BAR_PX) // 2, height + (_SCALE_PX - _BAR_HIGH_PX) // 2
    shown.paste(Image.fromarray(coloured(bar)), (at, top))
    draw, font = ImageDraw.Draw(shown), ImageFont.load_default(14)
    middle = top + _BAR_HIGH_PX // 2
    draw.text((at - 8, middle), f"{own.min():.1f}", fill="black", font=font, anchor="rm")
    draw.text((at + _BAR_PX + 8, middle), f"{own.max():.1f} for {label}", fill="black", font=font, anchor="lm")
    return shown


def coloured(levels: Pixels) -> Pixels:
    """uint8 [H, W] -> RGB [H, W, 3]: blue for 0, red for 255."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)
