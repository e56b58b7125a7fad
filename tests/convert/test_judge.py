"""What is decided about a file, and from which images."""

import numpy as np

from limiar.convert.export.recipes import recipe
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.gate.judge import Judge
from limiar.convert.run.dataset import Split
from limiar.convert.run.golden_images import draw_golden_images
from limiar.convert.run.model_inputs import Images
from limiar.edge_app.bundle.manifest import InputSpec, Tolerance

SPEC = InputSpec(height=8, width=8, channels=3)


def tolerance(test_logit: float, val_logit: float) -> Tolerance:
    """The tolerance of the dynamic file, if Keras gives these logits for images of test and val, and 1 for golden images."""
    labels = np.array([0, 1, 0, 1])
    split = Split(np.zeros((4, 8, 8, 3), np.uint8), labels, ("",) * 4, ("",) * 4)
    images = Images(split, split, draw_golden_images(SPEC, 0))
    signs = np.ones((len(images.tensors), 2), np.float32)
    signs[:8] = np.where(np.tile(labels, 2)[:, None] == [0, 1], 1, -1)
    size = np.array([val_logit] * 4 + [test_logit] * 4 + [1.0] * (len(signs) - 8), np.float32)
    judge = Judge(images, signs * size[:, None], ("neg", "pos"), "pos", read_gate())
    return judge._tolerance(recipe("tflite_dynamic"), ())


def test_a_tolerance_is_a_share_of_the_largest_logit_and_the_test_split_has_no_say_in_it() -> None:
    assert tolerance(test_logit=3, val_logit=5) == tolerance(test_logit=50, val_logit=5)
    assert tolerance(test_logit=3, val_logit=50).same_runtime > tolerance(test_logit=3, val_logit=5).same_runtime
