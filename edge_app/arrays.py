"""The arrays that sources and runtimes return."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, 3] RGB or [H, W] grey; as model input [1, H, W, C]
Logits = NDArray[np.float32]  # [K], one per label
ClassMap = NDArray[np.float32]  # [h, w, K]: the mean over h and w is each label's logit
