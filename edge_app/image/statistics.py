"""What training images look like, in a few cheap statistics of the model's input.

An image outside their ranges is unlike the training images: its answer says so, and by default a person decides
(inference/rule.py). studies/envelope.py measures the costs, and what this catches.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import GREY, STATISTICS, Envelope, Range
from limiar.edge_app.image.resize import luma

QUANTILES = (0.001, 0.999)  # one training image in 500 is outside a range; none if there are fewer than 1,000
TAIL = 0.01  # of the pixels: a single pixel means nothing
NOISE_OF = math.sqrt(math.pi / 2) / 6  # a mean of `noise_response` -> standard deviation
POWERS = np.arange(256)[:, None] ** [1, 2]


def statistics(tensor: Pixels) -> dict[str, float]:
    """A model input, uint8 [1, H, W, 1 or 3] -> each of STATISTICS, the same numbers on every machine (sums of integers).

    For the grey image (ITU-R BT.601): `mean` and `deviation`; `low` and `high`, the 1st and 99th percentiles of the levels;
    `sharpness`, the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000); `clipped`, the share of pixels at 0 or 255.
    For the colours: `colour`, colourfulness (Hasler & Süsstrunk, Proc. SPIE 5007 (2003), equation 7), 0 if grey.
    """
    image = tensor[0]
    red = image[..., 0]
    is_grey = image.shape[-1] == 1 or bool((red == image[..., 1]).all() and (red == image[..., 2]).all())
    grey = np.ascontiguousarray(red if is_grey else luma(image))  # the luma of three equal channels equals each of them
    levels = np.bincount(grey.ravel(), minlength=256)
    mean, deviation = _moments(grey.size, *(levels @ POWERS).tolist())
    tail = max(1, math.ceil(TAIL * grey.size))
    low, high = levels.cumsum().searchsorted((tail, grey.size - tail + 1)).tolist()
    return {
        "mean": mean,
        "deviation": deviation,
        "low": float(low),
        "high": float(high),
        "sharpness": _moments_of(cv2.Laplacian(grey, cv2.CV_16S))[1] ** 2,
        "clipped": float(levels[0] + levels[255]) / grey.size,
        "colour": 0.0 if is_grey else _colourfulness(image.astype(np.int16)),
    }


def noise(tensor: Pixels) -> float:
    """The standard deviation of the noise in a model input, in grey levels (Immerkær, CVIU 64 (1996) 300-302).

    The mean absolute response to a filter that does not see planes and lines; texture counts as noise. The same number on every
    machine; 0 with a side under 3 pixels.
    """
    image = tensor[0]
    grey = image[..., 0] if image.shape[-1] == 1 else luma(image)
    if min(grey.shape) < 3:
        return 0.0
    response = noise_response(grey)
    return NOISE_OF * int(response.sum()) / response.size


def noise_response(grey: Pixels) -> NDArray[np.int32]:
    """[H, W] -> [H - 2, W - 2]: how much each pixel but those of the rim differs from planes and lines, absolute."""
    levels = grey.astype(np.int32)
    rows = levels[:-2] - 2 * levels[1:-1] + levels[2:]
    return np.asarray(np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]))


def measure(tensors: Iterable[Pixels]) -> Envelope:
    """The envelope of training images, each uint8 [1, H, W, C], one at a time. Raises ValueError if there are none."""
    rows = np.array([list(statistics(tensor).values()) for tensor in tensors])
    if not len(rows):
        raise ValueError("an envelope needs an image")
    # Each end of a range is the value of one image, never interpolated between two.
    low = np.quantile(rows, QUANTILES[0], axis=0, method="lower")
    high = np.quantile(rows, QUANTILES[1], axis=0, method="higher")
    ends = zip(STATISTICS, low.tolist(), high.tolist(), rows.min(axis=0).tolist(), rows.max(axis=0).tolist(), strict=True)
    return Envelope(len(rows), QUANTILES, {name: Range(*values) for name, *values in ends})


def outside(envelope: Envelope, found: Mapping[str, float]) -> tuple[str, ...]:
    """Those statistics of a model input that are outside an envelope's quantiles; empty if it is like the training images."""
    return tuple(
        name
        for name, range in envelope.ranges.items()
        if not (range.low <= found[name] <= range.high or (name == "colour" and _as_grey(range, found[name])))
    )


def _as_grey(range: Range, colour: float) -> bool:
    """Whether colourfulness is within a range if all that is invisible counts as the same."""
    return max(range.low, GREY) <= max(colour, GREY) <= max(range.high, GREY)


def _moments(n: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and standard deviation from integer sums, which do not depend on the order of addition."""
    return total / n, math.sqrt(n * squares - total * total) / n


def _moments_of(values: NDArray[Any]) -> tuple[float, float]:
    # OpenCV adds in float64, where integer sums are exact. With IPP it squares a root, which is off by far less than 1.
    return _moments(values.size, int(cv2.sumElems(values)[0]), round(cv2.norm(values, cv2.NORM_L2SQR)))


def _colourfulness(rgb: NDArray[np.int16]) -> float:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    (mean_rg, sd_rg), (mean_yb, sd_yb) = _moments_of(red - green), _moments_of(red + green - 2 * blue)  # twice yellow less blue
    return math.hypot(sd_rg, sd_yb / 2) + 0.3 * math.hypot(mean_rg, mean_yb / 2)
