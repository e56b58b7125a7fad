"""Random turns, flips, shifts, zooms and stretches of training images, and other light and noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Pixels
from train.config import Config


def augmented(images: Pixels, rng: np.random.Generator, config: Config) -> Pixels:
    """Each image moved about its centre, the edges reflected, and lit otherwise, at random; uint8 [N, H, W, C] in and out."""
    count, height, width, channels = images.shape
    linear = _linear(count, rng, config)
    shifts = rng.uniform(-config.shift_px, config.shift_px, (count, 2))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrices = np.concatenate([linear, (centre - linear @ centre + shifts)[:, :, None]], axis=2)
    result = np.empty_like(images)
    for k in range(count):
        warped = cv2.warpAffine(images[k], matrices[k], (width, height), borderMode=cv2.BORDER_REFLECT_101)
        result[k] = warped.reshape(height, width, channels)
    return _lit(result, rng, config) if config.brightness or config.contrast or config.noise else result


def _linear(count: int, rng: np.random.Generator, config: Config) -> NDArray[np.float64]:
    """[N, 2, 2] on (x, y): turn, mirror, zoom, and a stretch along an axis of any angle."""
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)
    zoom = np.exp(rng.uniform(-config.zoom, config.zoom, count))
    turn = _rotation(np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, count)))
    scale = _diagonal(zoom * mirror, zoom)
    if not config.stretch:
        return turn @ scale
    factor = np.exp(rng.uniform(-config.stretch, config.stretch, count))
    axis = _rotation(rng.uniform(-np.pi, np.pi, count))
    return turn @ scale @ axis @ _diagonal(factor, 1 / factor) @ axis.transpose(0, 2, 1)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)


def _diagonal(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    none = np.zeros_like(x)
    return np.stack([np.stack([x, none], 1), np.stack([none, y], 1)], 1)


def _lit(images: Pixels, rng: np.random.Generator, config: Config) -> Pixels:
    """Another contrast, brightness and noise for each image: what scanners, cameras and doses differ in."""
    count, height, width, _ = images.shape
    gain = np.exp(rng.uniform(-config.contrast, config.contrast, (count, 1, 1, 1))).astype(np.float32)
    offset = rng.uniform(-config.brightness, config.brightness, (count, 1, 1, 1)).astype(np.float32)
    deviation = rng.uniform(0.0, config.noise, (count, 1, 1, 1)).astype(np.float32)
    grain = rng.standard_normal((count, height, width, 1), dtype=np.float32)
    return np.clip(np.rint(images * gain + offset + deviation * grain), 0, 255).astype(np.uint8)
