"""What `limiar check` compares images by: a perceptual hash, a thumbnail, and features of shape. OpenCV and numpy alone."""

import cv2
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec

TURNS = 8  # the four quarter turns, mirrored or not
THUMBNAIL = 16  # pixels a side
_HASH_SIDE, _LOW = 32, 8  # the DCT of 32x32 pixels; its 8x8 lowest frequencies
_CELLS, _DIRECTIONS = 8, 8  # of the histograms of oriented gradients
_COLOURS = 10  # pixels a side of the small image beside them

# A mirror image has the same DCT, but for the sign of the frequencies that are odd along the mirrored axis.
_SIGNS_ACROSS = np.ones(_LOW), np.where(np.arange(_LOW) % 2, -1.0, 1.0)
_SIGNS_DOWN = tuple(signs[:, None] for signs in _SIGNS_ACROSS)


def grey(tensor: Pixels) -> Pixels:
    """uint8 [H, W, C] -> uint8 [H, W]."""
    return np.ascontiguousarray(tensor[..., 0] if tensor.shape[-1] == 1 else cv2.cvtColor(tensor, cv2.COLOR_RGB2GRAY))


def perceptual_hashes(image: Pixels) -> NDArray[np.uint64]:
    """uint8 [H, W] -> [8]: the image's hash first, then those of its other seven turns and mirror images.

    A hash has a bit for the sign of each of the 63 lowest frequencies of the DCT but the mean (after Zauner,
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1, but with signs in place of its
    median, so that a turned image has the same bits in another order).
    """
    small = cv2.resize(image, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW]
    turns = np.stack([spectrum * y * x for spectrum in (low, low.T) for y in _SIGNS_DOWN for x in _SIGNS_ACROSS])
    bits = turns.reshape(TURNS, _LOW * _LOW) > 0
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def turned(thumbnails: Pixels, turn: int) -> Pixels:
    """[N, S, S] -> the same turned as the `turn`-th of perceptual_hashes."""
    images = thumbnails.transpose(0, 2, 1) if turn & 4 else thumbnails
    images = images[:, ::-1] if turn & 2 else images
    return images[:, :, ::-1] if turn & 1 else images


def thumbnail(image: Pixels) -> Pixels:
    """uint8 [H, W] -> uint8 [16, 16]."""
    return np.asarray(cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def length(spec: InputSpec) -> int:
    """Of shape_features."""
    return _CELLS * _CELLS * _DIRECTIONS + _COLOURS * _COLOURS * spec.channels


def shape_features(tensor: Pixels) -> NDArray[np.float32]:
    """uint8 [H, W, C] -> [length]: histograms of oriented gradients and the image at 10x10, each within 0..1.

    Dalal & Triggs, Histograms of Oriented Gradients for Human Detection (2005): 8 signed directions, each pixel's gradient
    shared between the two next to it, over 8x8 cells; normalised over the image, then the square root.
    """
    image = grey(tensor).astype(np.float32)
    across, down = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=1)
    strength, angle = np.hypot(across, down), np.arctan2(down, across) / (2 * np.pi) * _DIRECTIONS
    apart = np.abs((angle[..., None] - np.arange(_DIRECTIONS) + _DIRECTIONS / 2) % _DIRECTIONS - _DIRECTIONS / 2)
    shared = (1 - apart).clip(0) * strength[..., None]
    cells = cv2.resize(shared, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    histogram = np.sqrt(cells / max(float(np.linalg.norm(cells)), 1e-6))
    small = cv2.resize(tensor, (_COLOURS, _COLOURS), interpolation=cv2.INTER_AREA)
    return np.concatenate([histogram.ravel(), small.ravel() / np.float32(255)]).astype(np.float32)
