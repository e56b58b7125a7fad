"""Draws photographs as phones and small cameras write them: a bottle, a cup or a ball on a table.

JPEGs of several sizes and qualities, rotated by EXIF alone, some with padding after the end. Light, place, size and the table
are random; a class has roughly its usual colour, as things do.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("ball", "bottle", "cup")
SIZES_PX = ((640, 480), (800, 600), (1024, 768), (960, 540), (768, 768))  # width, height
_ORIENTATIONS = (1, 1, 6, 8, 3)  # EXIF 2.32, tag 274: how the camera was held
_CAMERAS = (("Raspberry Pi", "imx708"), ("Espressif", "OV2640"), ("Phone", "One"))
_TURNED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
_COLOURS = {"ball": (205, 90, 45), "bottle": (50, 120, 70), "cup": (175, 185, 210)}  # RGB
_BACKGROUND = 6  # the table's grain is this many times coarser than a pixel


def write_photographs(folder: Path, count: int, seed: int) -> None:
    """Writes `count` photographs in class folders below `folder`. The same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        place = folder / CLASSES[k % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"IMG_{20260000 + k}.jpg").write_bytes(photograph(place.name, rng))


def photograph(name: str, rng: np.random.Generator) -> bytes:
    """The file of one picture of a class."""
    width, height = SIZES_PX[rng.integers(len(SIZES_PX))]
    orientation = int(_ORIENTATIONS[rng.integers(len(_ORIENTATIONS))])
    image = _scene(name, width, height, rng)
    stored = image.transpose(_TURNED[orientation]) if orientation != 1 else image
    exif = Image.Exif()
    make, model = _CAMERAS[rng.integers(len(_CAMERAS))]
    exif[0x010F], exif[0x0110], exif[0x0112] = make, model, orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=int(rng.integers(70, 93)), exif=exif, progressive=bool(rng.random() < 0.2))
    return buffer.getvalue() + (bytes(int(rng.integers(1, 200))) if rng.random() < 0.3 else b"")


def _scene(name: str, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    table = _table(width, height, rng)
    centre = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    size = min(width, height) * rng.uniform(0.28, 0.4)
    colour = tuple(int(level) for level in np.clip(rng.normal(_COLOURS[name], 30), 0, 255))
    shadow = Image.new("L", (width, height))
    _draw(ImageDraw.Draw(shadow), name, centre + size * 0.12, size, 110, 110)
    table.paste((20, 18, 16), mask=shadow.filter(ImageFilter.GaussianBlur(size * 0.08)))
    light = tuple(min(255, level + 60) for level in colour)
    _draw(ImageDraw.Draw(table), name, centre, size, colour, light)
    noisy = np.asarray(table.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))), np.float64)
    noisy = noisy * rng.uniform(0.7, 1.15) + rng.normal(0, rng.uniform(2, 8), noisy.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _table(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A table with grain along one side, lit from another."""
    rows, columns = height // _BACKGROUND + 1, width // _BACKGROUND + 1
    grain: NDArray[np.float64] = rng.normal(0, 14, (rows, 1)) + rng.normal(0, 5, (rows, columns))
    light = np.add.outer(np.linspace(-1, 1, rows) * rng.uniform(-30, 30), np.linspace(-1, 1, columns) * rng.uniform(-30, 30))
    shade = rng.uniform(80, 190, 3)
    pixels = np.clip(shade + (grain + light)[..., None] * rng.uniform(0.7, 1.1, 3), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def _draw(
    draw: ImageDraw.ImageDraw,
    name: str,
    centre: NDArray[np.float64],
    size: float,
    colour: int | tuple[int, ...],
    light: int | tuple[int, ...],
) -> None:
    """Draws the object; light: the colour of its bright side."""

    def box(left: float, top: float, right: float, bottom: float) -> list[float]:
        return [*(centre + size * np.array([left, top])), *(centre + size * np.array([right, bottom]))]

    if name == "ball":
        draw.ellipse(box(-0.75, -0.75, 0.75, 0.75), colour)
        draw.ellipse(box(-0.45, -0.5, -0.1, -0.15), light)
    elif name == "bottle":
        draw.rounded_rectangle(box(-0.38, -0.35, 0.38, 1.05), size * 0.12, colour)
        draw.polygon(
            [
                tuple(centre + size * np.array(corner))
                for corner in ((-0.38, -0.25), (-0.13, -0.7), (0.13, -0.7), (0.38, -0.25))
            ],
            colour,
        )
        draw.rectangle(box(-0.13, -1.1, 0.13, -0.65), colour)
        draw.rectangle(box(-0.26, -0.1, -0.14, 0.85), light)
    else:
        draw.arc(box(0.25, -0.3, 0.95, 0.4), -100, 100, colour, max(2, int(size * 0.14)))
        draw.rounded_rectangle(box(-0.6, -0.55, 0.55, 0.65), size * 0.15, colour)
        draw.ellipse(box(-0.58, -0.68, 0.53, -0.42), light)
