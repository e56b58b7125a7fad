"""Random turns, flips, shifts, zooms and stretches of training images, and other light and noise.

The random numbers are drawn here: `augmented` applies them with OpenCV, limiar.train.device.on_device on an accelerator.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.train.config import Config


@dataclass(frozen=True)
class Draws:
    """What happens to each of N images."""

    maps: NDArray[np.float64]  # [N, 2, 3] on (x, y, 1): where a pixel goes
    light: NDArray[np.float32] | None  # [N, 3]: factor, offset, standard deviation of noise; None: not asked for


def draw(count: int, height: int, width: int, rng: np.random.Generator, config: Config, sharp: bool = False) -> Draws:
    """Draws for images of one size. sharp: every pixel keeps its value, see Config.sharp_epochs."""
    linear = _exact(count, rng, config, 90 if height == width else 180) if sharp else _linear(count, rng, config)
    shifts = rng.uniform(-config.shift_px, config.shift_px, (count, 2))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = centre - linear @ centre + (np.rint(shifts) if sharp else shifts)
    lit = not sharp and (config.brightness or config.contrast or config.noise)
    return Draws(np.concatenate([linear, moved[:, :, None]], axis=2), _light(count, rng, config) if lit else None)


def augmented(images: Pixels, rng: np.random.Generator, config: Config, sharp: bool = False) -> Pixels:
    """Moves each image about its centre at random, edges reflected, and changes its light; uint8 [N, H, W, C] in and out.

    sharp: as in `draw`.
    """
    count, height, width, channels = images.shape
    drawn = draw(count, height, width, rng, config, sharp)
    result = np.empty_like(images)
    for k in range(count):
        warped = cv2.warpAffine(images[k], drawn.maps[k], (width, height), borderMode=cv2.BORDER_REFLECT_101)
        result[k] = warped.reshape(height, width, channels)
    return result if drawn.light is None else _lit(result, drawn.light, rng)


def _linear(count: int, rng: np.random.Generator, config: Config) -> NDArray[np.float64]:
    """[N, 2, 2] on (x, y): turn, mirror, zoom, and a stretch along an axis of any angle."""
    mirror = _mirror(count, rng, config)
    zoom = np.exp(rng.uniform(-config.zoom, config.zoom, count))
    turn = _rotation(np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, count)))
    scale = _diagonal(zoom * mirror, zoom)
    if not config.stretch:
        return turn @ scale
    factor = np.exp(rng.uniform(-config.stretch, config.stretch, count))
    axis = _rotation(rng.uniform(-np.pi, np.pi, count))
    return turn @ scale @ axis @ _diagonal(factor, 1 / factor) @ axis.transpose(0, 2, 1)


def _exact(count: int, rng: np.random.Generator, config: Config, step_deg: int) -> NDArray[np.float64]:
    """[N, 2, 2]: a mirror and a turn by a multiple of step_deg, which moves pixels onto pixels."""
    mirror = _diagonal(_mirror(count, rng, config), np.ones(count))
    most = config.rotate_deg // step_deg
    steps = np.clip(np.rint(rng.uniform(-config.rotate_deg, config.rotate_deg, count) / step_deg), -most, most)
    return np.rint(_rotation(np.deg2rad(steps * step_deg))) @ mirror


def _mirror(count: int, rng: np.random.Generator, config: Config) -> NDArray[np.float64]:
    return np.where(rng.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)


def _diagonal(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    none = np.zeros_like(x)
    return np.stack([np.stack([x, none], 1), np.stack([none, y], 1)], 1)


def _light(count: int, rng: np.random.Generator, config: Config) -> NDArray[np.float32]:
    """[N, 3]: another contrast, brightness and noise for each image, as scanners, cameras and doses differ."""
    gain = np.exp(rng.uniform(-config.contrast, config.contrast, count))
    offset = rng.uniform(-config.brightness, config.brightness, count)
    deviation = rng.uniform(0.0, config.noise, count)
    return np.stack([gain, offset, deviation], 1).astype(np.float32)


def _lit(images: Pixels, light: NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    gain, offset, deviation = light.T[..., None, None, None]
    grain = rng.standard_normal((*images.shape[:3], 1), dtype=np.float32)
    result: Pixels = np.clip(np.rint(images * gain + offset + deviation * grain), 0, 255).astype(np.uint8)
    return result
