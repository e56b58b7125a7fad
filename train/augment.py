"""Random turns, flips, shifts and zooms of training images.

The draws are made here, as matrices; `augmented` applies them with OpenCV, train.on_device on the device that trains.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Pixels
from train.config import Config


def draws(count: int, height: int, width: int, rng: np.random.Generator, config: Config) -> NDArray[np.float64]:
    """Random maps about the centre, [count, 2, 3] on (x, y, 1): where a pixel of the image goes to."""
    angles = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, count))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)
    zoom = np.exp(rng.uniform(-config.zoom, config.zoom, count))
    shifts = rng.uniform(-config.shift_px, config.shift_px, (count, 2))
    cos, sin = zoom * np.cos(angles), zoom * np.sin(angles)
    linear = np.stack([np.stack([cos * mirror, -sin], 1), np.stack([sin * mirror, cos], 1)], 1)  # [N, 2, 2] on (x, y)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, (centre - linear @ centre + shifts)[:, :, None]], axis=2)


def augmented(images: Pixels, rng: np.random.Generator, config: Config) -> Pixels:
    """Each image turned, flipped, shifted and zoomed at random about its centre, the edges reflected; uint8 in and out."""
    count, height, width, channels = images.shape
    matrices = draws(count, height, width, rng, config)
    result = np.empty_like(images)
    for k in range(count):
        warped = cv2.warpAffine(images[k], matrices[k], (width, height), borderMode=cv2.BORDER_REFLECT_101)
        result[k] = warped.reshape(height, width, channels)
    return result
