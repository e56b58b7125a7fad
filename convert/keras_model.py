"""The Keras model of a RUN: loaded safely, checked against the record, exported for the converters."""

from pathlib import Path
from typing import Any

import numpy as np

from convert.frameworks import keras
from edge_app.bundle import InputSpec
from edge_app.errors import ConvertError, printable
from edge_app.frame import Pixels
from edge_app.run_folder import MODEL, Run
from edge_app.stderr import captured_stderr

BATCH = 64  # images that Keras is given at once


def load_model(run_folder: Path, run: Run) -> Any:
    """model.keras of a RUN, read without running code from it. Raises ConvertError: unreadable, or not what train.json says."""
    path = run_folder / MODEL
    where = printable(str(path))
    try:
        with captured_stderr():
            model = keras.saving.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # Keras raises whatever the content provokes: ValueError, TypeError, KeyError, OSError
        reason = " ".join(str(error).split())[:200]
        raise ConvertError("E-CONVERT-MODEL", f"{where}: Keras does not load it ({reason}): train it again") from None
    wanted = (None, run.input.height, run.input.width, run.input.channels)
    if model.input_shape != wanted:
        met = f"{where} takes {model.input_shape}, the run's image rules give {wanted}"
        raise ConvertError("E-CONVERT-INPUT", f"{met}: train it again, or correct train.json's input")
    if model.output_shape != (None, len(run.labels)):
        met = f"{where} gives {model.output_shape}, the run has the {len(run.labels)} labels {', '.join(run.labels)}"
        raise ConvertError("E-CONVERT-OUTPUTS", f"{met}: the last layer must give one logit for each label")
    return model


def keras_logits(model: Any, tensors: Pixels) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, K]: what every file is compared with. Raises ConvertError for NaN or infinity."""
    with captured_stderr():
        logits = model.predict(tensors.astype(np.float32), batch_size=BATCH, verbose=0)
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        met = f"the Keras model gives NaN or infinity for {bad} of {len(logits)} images"
        raise ConvertError("E-CONVERT-FINITE", f"{met}: train it again, with a lower learning rate")
    return np.asarray(logits, np.float32)


def export_saved_model(model: Any, spec: InputSpec, folder: Path) -> None:
    """Writes a SavedModel with a fixed batch of 1.

    from_concrete_functions on a Keras 3 model gives, without a word, files whose weights are unread variables (NaN, TF 2.21);
    export and from_saved_model are right.
    """
    signature = [keras.InputSpec(shape=(1, spec.height, spec.width, spec.channels), dtype="float32")]
    with captured_stderr():
        model.export(folder, input_signature=signature, verbose=False)
