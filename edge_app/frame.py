"""What a source gives and a runtime returns."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.camera.damage import Place

Pixels = NDArray[np.uint8]  # [H, W, 3] RGB or [H, W] grey; as model input [1, H, W, C]
Logits = NDArray[np.float32]  # [K], one per label
ClassMap = NDArray[np.float32]  # [h, w, K], where each label's logit comes from: its mean over h and w


class Frame(msgspec.Struct, frozen=True):
    """One camera frame."""

    pixels: Pixels  # uint8 [H, W, 3], RGB
    sequence: int  # counts the frames that the source delivered, from 1
    taken_ns: int  # UTC, nanoseconds since 1970
    dropped: int  # frames that were captured and passed over since the frame before
    place: Place | None = None  # in its video file
    doubtful: bool | None = None  # decoded beside damage, or built on a frame that is missing; None: nobody can tell
