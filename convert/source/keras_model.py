"""A Keras model run on images, and exported for the converters."""

from pathlib import Path
from typing import Any

import numpy as np

from limiar.convert.source.blame import one_line
from limiar.convert.source.frameworks import keras
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.text import counted

BATCH = 64  # images that Keras computes at once
CHUNK = 16 * BATCH  # images that are floats at once: four times their bytes
REPLACE = "replace that layer with others of Keras's own and save the model again"
_ONE = 1e-3  # how near to 1 probabilities add up, even in a model that computes in half precision


def keras_logits(model: Any, tensors: Pixels) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, K]: what every file is compared with.

    Raises ConvertError for NaN and infinity, and for probabilities.
    """
    if not len(tensors):
        return np.zeros((0, model.output_shape[-1]), np.float32)
    with one_line("E-CONVERT-KERAS", "Keras does not run the model here, on the CPU", REPLACE, model):
        chunks = (tensors[start : start + CHUNK].astype(np.float32) for start in range(0, len(tensors), CHUNK))
        logits = np.concatenate([model.predict(chunk, batch_size=BATCH, verbose=0) for chunk in chunks])
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        met = f"the Keras model gives NaN or infinity for {bad} of {counted(len(logits), 'image')}"
        raise ConvertError("E-CONVERT-FINITE", f"{met}: train it again, with a lower learning rate")
    if (logits >= 0).all() and np.abs(logits.sum(axis=1) - 1).max() < _ONE:
        met = "the Keras model gives probabilities instead of logits, even after the softmax at its end was cut off"
        raise ConvertError("E-CONVERT-SOFTMAX", f"{met}: leave one softmax, as the last step, or none")
    return np.asarray(logits, np.float32)


def export_saved_model(model: Any, spec: InputSpec, folder: Path) -> None:
    """Writes a SavedModel with a fixed batch of 1.

    from_concrete_functions on a Keras 3 model gives, silently, files whose weights are unread variables (NaN, TF 2.21);
    export and from_saved_model are right. model.export does not say training=False, so layers that augment would do so.
    """
    signature = [keras.InputSpec(shape=(1, spec.height, spec.width, spec.channels), dtype="float32")]
    archive = keras.export.ExportArchive()
    with one_line("E-CONVERT-KERAS", "TensorFlow does not export the model", REPLACE, model):
        archive.track(model)
        # The argument's name ends up in the TFLite files: another one gives other bytes.
        archive.add_endpoint("serve", lambda args_0: model(args_0, training=False), input_signature=signature)
        archive.write_out(folder, verbose=False)
