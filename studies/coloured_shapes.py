"""Ten classes of small RGB images: a disc and another shape, one of them red, the other blue, on grey noise.

The class says which of five shapes the other one is, and whether it is red. Both have the same area, so that an image's mean
colour does not give the class away.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # [N, 2], corners

_FINE = 4  # shapes are drawn this many times larger, then averaged, for smooth edges
_AREA = 0.16  # of each shape, as a share of the square on the image's shorter side
_SIDES_PX = (28, 64)  # of an image
_NOISE = 10.0  # grey levels


def _polygon(corners: int) -> Points:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], 1)


DISC = _polygon(48)
SHAPES = {
    "triangle": _polygon(3),
    "square": _polygon(4),
    "star": _polygon(10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None],
    "bar": np.array([[-3.0, -1], [3, -1], [3, 1], [-3, 1]]),
    "corner": np.array([[-2.0, -2], [2, -2], [2, -0.7], [-0.7, -0.7], [-0.7, 2], [-2, 2]]),
}
CLASSES = tuple(f"{colour}-{shape}" for colour in ("blue", "red") for shape in SHAPES)


def counts(rarest: int) -> dict[str, int]:
    """Images of each class: the most frequent has four times as many as the rarest."""
    return dict(zip(CLASSES, np.geomspace(rarest, 4 * rarest, len(CLASSES)).round().astype(int).tolist(), strict=True))


def write_shapes(folder: Path, images: dict[str, int], seed: int) -> None:
    """PNGs in class folders below `folder`. The same seed gives the same images."""
    rng = np.random.default_rng(seed)
    for name, count in images.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            shape(name, rng).save(folder / name / f"{k:05}.png")


def shape(name: str, rng: np.random.Generator) -> Image.Image:
    """One image of a class, with random sizes, places, turns and shades."""
    colour, _, own = name.partition("-")
    width, height = (int(side) for side in rng.integers(*_SIDES_PX, 2))
    side = min(width, height)
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), _shade(rng, "grey"))
    draw = ImageDraw.Draw(canvas)
    # Side by side along the longer side, in either order.
    along = np.array([1.0, 0.0] if width >= height else [0.0, 1.0]) * rng.choice([-1, 1])
    other = "blue" if colour == "red" else "red"
    for corners, fill, where in ((SHAPES[own], colour, along), (DISC, other, -along)):
        centre = np.array([width, height]) / 2 + where * max(width, height) * 0.25 + rng.uniform(-0.04, 0.04, 2) * side
        draw.polygon([tuple(point) for point in (_placed(corners, rng) * side + centre) * _FINE], fill=_shade(rng, fill))
    pixels = np.asarray(canvas.reduce(_FINE), np.float64) + rng.normal(0, _NOISE, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _placed(corners: Points, rng: np.random.Generator) -> Points:
    """Turned at random, with the area that all shapes have."""
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    placed: Points = corners @ turn * np.sqrt(_AREA / area)
    return placed


def _shade(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    strong, weak, grey = (int(level) for level in rng.integers((150, 30, 60), (226, 91, 171)))
    return {"red": (strong, weak, weak), "blue": (weak, weak, strong), "grey": (grey, grey, grey)}[colour]
