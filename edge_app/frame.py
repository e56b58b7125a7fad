"""What travels between a source, the classifier and the store."""

import msgspec
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, 3] RGB or [H, W] grey; as model input [1, H, W, C]
Logits = NDArray[np.float32]  # [K], one per label


class Frame(msgspec.Struct, frozen=True):
    """One camera frame."""

    pixels: Pixels  # uint8 [H, W, 3], RGB
    sequence: int  # counts the frames that the source delivered, from 1
    taken_ns: int  # UTC, nanoseconds since 1970
    dropped: int  # frames that were captured and passed over since the frame before


class Prediction(msgspec.Struct, frozen=True):
    """A classifier's answer for one image."""

    decision: str  # a label, or "refer"
    label: str  # the label with the largest probability
    confidence: float  # its probability, 0..1
    probabilities: dict[str, float]  # label -> 0..1, sum 1
