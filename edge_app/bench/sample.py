"""The picture that is answered if the user gives none."""

import io

import cv2
import numpy as np
from PIL import Image

SIDE_PX = 128  # decoding a larger one would hide the model's share
_NOISE_LEVELS = 4.0  # standard deviation of the noise


def sample_png() -> bytes:
    """A picture like a camera's: soft blobs of colour under sensor noise; the same on every machine."""
    rng = np.random.default_rng(20260101)
    coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
    soft = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR_EXACT)
    noisy = np.clip(soft + rng.normal(0, _NOISE_LEVELS, soft.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "PNG")
    return file.getvalue()
