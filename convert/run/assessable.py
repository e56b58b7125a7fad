"""Limits beyond which a device refuses an image as not assessable: chosen on validation, with what they cost and catch."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.convert.run.assessing import Assessing
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import GREY, Assessable, Assessed, Envelope, Limit, Metric
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.assessable import assessed, check_limits
from limiar.edge_app.image.statistics import noise, statistics
from limiar.train.record.metrics import proportion, rounded

# What a limit is about, and whether it is a lower one. A device names the first that is not kept: light, exposure and noise
# change the sharpness, so blur comes after them; last what is unlike the training images.
ENDS: tuple[tuple[Assessed, bool], ...] = (
    ("mean", True),
    ("mean", False),
    ("clipped", False),
    ("noise", False),
    ("sharpness", True),
    ("deviation", True),
    ("low", False),
    ("colour", False),
)
_SEED = 0  # of the noise


def choose_limits(tensors: Pixels, training: Pixels, envelope: Envelope, share: float) -> Assessable:
    """Limits that refuse at most this share of validation images, uint8 [N, H, W, C], together.

    Each limit is the value of an image, with the same number of images beyond it: the largest one that keeps to the share. With
    few images that is none, and what they have not shown would be refused: so no limit is inside the envelope and, since that
    has no noise, none below the noise of some training images, uint8 [M, H, W, C].
    """
    values = {name: column(tensors, name) for name, _ in ENDS}
    noisiest = float(column(training, "noise").max())
    limits = _limits(values, envelope, noisiest, 0)
    for beyond in range(1, len(tensors)):
        tighter = _limits(values, envelope, noisiest, beyond)
        if _refused(tighter, values).mean() > share:
            break
        limits = tighter
    return Assessable(share, limits)


def assessing(limits: Assessable, splits: Mapping[str, Pixels], truth: NDArray[np.int64], labels: Sequence[str]) -> Assessing:
    """What limits refuse. splits: images of "val" and "test", uint8 [N, H, W, C]; truth: of test, int [N]."""
    refused = {name: refusals(limits, tensors) for name, tensors in splits.items()}
    return Assessing(
        limits=limits,
        refused={name: _share(found) for name, found in refused.items()},
        refused_of_label={label: _share(refused["test"][truth == k]) for k, label in enumerate(labels)},
        caught={name: _share(refusals(limits, damage(splits["val"]))) for name, damage in DAMAGES.items()},
    )


def refusals(limits: Assessable, tensors: Pixels) -> NDArray[np.bool_]:
    """bool [N]: refused by the limits, as on a device."""
    return np.array([_refuses(limits, tensors[k : k + 1]) for k in range(len(tensors))])


def _refuses(limits: Assessable, tensor: Pixels) -> bool:
    try:
        check_limits(limits, assessed(limits, statistics(tensor), tensor))
    except ImageError:
        return True
    return False


def column(tensors: Pixels, name: Assessed) -> NDArray[np.float64]:
    """float64 [N]: what a limit is about, of each image."""
    each = (tensors[k : k + 1] for k in range(len(tensors)))
    return np.array([noise(tensor) if name == "noise" else statistics(tensor)[name] for tensor in each])


def _limits(
    values: Mapping[Assessed, NDArray[np.float64]], envelope: Envelope, noisiest: float, beyond: int
) -> dict[Assessed, Limit]:
    found: dict[Assessed, Limit] = {}
    for name, lower in ENDS:
        ordered = np.sort(values[name])
        end = float(ordered[beyond] if lower else ordered[len(ordered) - 1 - beyond])
        if name == "noise":
            end = max(end, noisiest)
        else:
            end = min(end, envelope.ranges[name].low) if lower else max(end, envelope.ranges[name].high)
        if name == "colour":
            end = max(end, GREY)
        side = "at_least" if lower else "at_most"
        found[name] = msgspec.structs.replace(found.get(name, Limit()), **{side: end})
    return found


def _refused(limits: Mapping[Assessed, Limit], values: Mapping[Assessed, NDArray[np.float64]]) -> NDArray[np.bool_]:
    refused = np.zeros(len(next(iter(values.values()))), bool)
    for name, limit in limits.items():
        if limit.at_least is not msgspec.UNSET:
            refused |= values[name] < limit.at_least
        if limit.at_most is not msgspec.UNSET:
            refused |= values[name] > limit.at_most
    return refused


def _share(refused: NDArray[np.bool_]) -> Metric:
    return rounded(proportion(int(refused.sum()), len(refused)))


def _blurred(sigma: float) -> Callable[[Pixels], Pixels]:
    def blur(tensors: Pixels) -> Pixels:
        copies = [np.asarray(cv2.GaussianBlur(tensor, (0, 0), sigma), np.uint8) for tensor in tensors]
        return np.stack(copies).reshape(tensors.shape)  # OpenCV drops a single channel

    return blur


def _lit(gain: float) -> Callable[[Pixels], Pixels]:
    return lambda tensors: np.clip(np.rint(tensors * gain), 0, 255).astype(np.uint8)


def _noisy(deviation: float) -> Callable[[Pixels], Pixels]:
    def add(tensors: Pixels) -> Pixels:
        grain = np.random.default_rng(_SEED).normal(0, deviation, (*tensors.shape[:3], 1))  # the same in all channels
        return np.clip(np.rint(tensors + grain), 0, 255).astype(np.uint8)

    return add


# Of the model's input: what is finer than its pixels is not seen by the model either.
DAMAGES: dict[str, Callable[[Pixels], Pixels]] = {
    "blurred, sigma 1 px": _blurred(1),
    "blurred, sigma 2 px": _blurred(2),
    "blurred, sigma 4 px": _blurred(4),
    "a quarter of the light": _lit(0.25),
    "a tenth of the light": _lit(0.1),
    "twice the light": _lit(2),
    "four times the light": _lit(4),
    "noise, 20 levels": _noisy(20),
    "noise, 40 levels": _noisy(40),
    "noise, 80 levels": _noisy(80),
}
