"""The classifier's answer for an image, and what the store keeps of it. Without numpy, as the process that keeps the store.

gc=False: they hold text and numbers and can be part of no circle, so Python need not look for one among thousands of them.
"""

import msgspec


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A classifier's answer for one image."""

    decision: str  # a label, or "refer"
    label: str  # the label with the largest probability
    confidence: float  # its probability, 0..1
    probabilities: dict[str, float]  # label -> 0..1, sum 1


class Timing(msgspec.Struct, frozen=True, gc=False):
    """How long an answer took, in milliseconds."""

    decode: float
    resize: float
    infer: float


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A prediction as the store keeps it."""

    decision: str  # a label, or "refer"
    label: str  # the label with the largest probability
    confidence: float  # its probability, 0..1
    probabilities: dict[str, float]
    ms: Timing
    time: str  # UTC, ISO 8601
    app: str  # "limiar 0.1.0"
    outside: tuple[str, ...] | None = None  # statistics outside the bundle's envelope; None: the bundle has no envelope
    trailing: str = ""  # what follows the picture in its file; "" for nothing
    statistics: tuple[float, ...] | None = None  # in the order of STATISTICS; not stored; None: they were not asked for
