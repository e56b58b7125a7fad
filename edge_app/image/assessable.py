"""Limits that a bundle carries, beyond which an image is not assessable: it is refused with the reason, before inference."""

from collections.abc import Mapping

import msgspec

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import Assessable, Assessed
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.statistics import noise

_UNLIKE = "unlike the images that the model was trained on"
_FAULTS = {
    ("sharpness", "at least"): ("too blurred", "check focus and lens"),
    ("mean", "at least"): ("too dark", "check light and exposure"),
    ("mean", "at most"): ("too bright", "check light and exposure"),
    ("clipped", "at most"): ("under- or overexposed", "check light and exposure"),
    ("noise", "at most"): ("too noisy", "check light and gain"),
}


def assessed(limits: Assessable, found: Mapping[str, float], tensor: Pixels) -> dict[Assessed, float]:
    """What the limits are about, of a model input. found: its statistics."""
    return {name: noise(tensor) if name == "noise" else found[name] for name in limits.limits}


def check_limits(limits: Assessable, values: Mapping[Assessed, float]) -> None:
    """Raises ImageError E-IMAGE-UNASSESSABLE, which names the first limit that is not kept. values: as from `assessed`."""
    for name, limit in limits.limits.items():
        value = values[name]
        for side, end in (("at least", limit.at_least), ("at most", limit.at_most)):
            if end is not msgspec.UNSET and (value < end if side == "at least" else value > end):
                fault, cure = _FAULTS.get((name, side), (_UNLIKE, "give images of the model's kind"))
                met = f"{fault}: {name} {_short(value, end)}, {side} {_short(end, value)}"
                raise ImageError("E-IMAGE-UNASSESSABLE", f"{met}, not assessable: {cure}")


def _short(value: float, other: float) -> str:
    """With as few digits as tell it from the other."""
    return next((short for digits in (3, 4, 6) if (short := f"{value:.{digits}g}") != f"{other:.{digits}g}"), repr(value))
