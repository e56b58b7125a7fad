"""Does an image get the same answer whichever images share its batch? A device shows one at a time.

This includes layers that were called with training=True when the model was built: Keras passes training=False on to them.
"""

from typing import Any

import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.system.stderr import captured_stderr

IMAGES = 4  # that are shown together, then alone
APART = 1e-3  # of the largest logit: more than adding in another order changes


def check_steady(model: Any, tensors: Pixels) -> None:
    """tensors: uint8 [N, H, W, C]. Raises ConvertError if an answer depends on the other images of its batch."""
    shown = tensors[np.linspace(0, len(tensors) - 1, min(IMAGES, len(tensors))).round().astype(int)]
    with captured_stderr():
        together = model.predict(shown.astype(np.float32), batch_size=IMAGES, verbose=0)
        alone = model.predict(shown.astype(np.float32), batch_size=1, verbose=0)
    apart = float(np.abs(alone - together).max(initial=0.0))
    if apart > APART * max(float(np.abs(together).max()), 1.0):
        met = f"the Keras model gives an image different logits alone, as on a device, and in a batch (by up to {apart:.3g})"
        cure = "compute means, norms and the like for each image, not over axis 0, and train it again"
        raise ConvertError("E-CONVERT-KERAS", f"{met}: {cure}")
