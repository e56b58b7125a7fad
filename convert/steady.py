"""Does a Keras model answer an image alike whatever it is shown beside? A device shows one at a time.

Layers that were called with training=True when the model was built answer as any other: Keras passes training=False on to them.
"""

from typing import Any

import numpy as np

from convert.keras_model import keras_logits
from edge_app.errors import ConvertError
from edge_app.frame import Pixels

IMAGES = 4  # that are shown together, then alone
APART = 1e-3  # of the largest logit: more than rounding in another order gives


def check_steady(model: Any, tensors: Pixels) -> None:
    """tensors: uint8 [N, H, W, C]. Raises ConvertError where the other images of a batch have a part in an answer."""
    shown = tensors[np.linspace(0, len(tensors) - 1, min(IMAGES, len(tensors))).round().astype(int)]
    together = keras_logits(model, shown)
    alone = np.concatenate([keras_logits(model, shown[k : k + 1]) for k in range(len(shown))])
    apart = float(np.abs(alone - together).max(initial=0.0))
    if apart > APART * max(float(np.abs(together).max()), 1.0):
        met = f"the Keras model gives an image other logits alone, as a device shows it, than beside others, by up to {apart:.3g}"
        cure = "take means, norms and the like over each image, not over axis 0, and train it again"
        raise ConvertError("E-CONVERT-KERAS", f"{met}: {cure}")
