#!/usr/bin/env python3
"""Does the floor of the per-layer noise catch a damaged file? Prints a table; exit status 1 if it does not.

    tests/harness/damage.py models/lung-nodule models/lung-nodule.run DATA [--floor 25]

The scale of every layer of the bundle's int8 file is changed in turn, to 0.9 and 1.1 times its value. The floor must catch each
layer that has weights, and nothing in the undamaged file. The images are the first of the RUN's validation split.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import sys
from pathlib import Path

from limiar.convert.anatomy.layers import LAYER_IMAGES, LayerNoise, layer_noise, too_noisy
from limiar.convert.run.dataset import read_tensors
from limiar.convert.source.origin import RunFolder
from limiar.convert.source.source_model import read_source
from limiar.edge_app.bundle.open import open_bundle
from scaled_layers import Damage, damages


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("run", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--floor", type=float, default=25.0, help="dB (default: %(default)s)")
    asked = options.parse_args()
    bundle, source = open_bundle(asked.bundle), read_source(RunFolder(asked.run, asked.data), seed=0)
    model = source.model
    tensors = read_tensors(asked.data, [row for row in source.rows if row.part == "val"][:LAYER_IMAGES], source.input)
    fp32, int8 = bundle.model("tflite_fp32")[1], bundle.model("tflite_int8")[1]

    undamaged = layer_noise(model, fp32, int8, tensors)
    raised = too_noisy(undamaged, asked.floor)
    lowest = min(layer.snr_db for layer in undamaged if layer.snr_db is not None)
    print(f"undamaged: {len(raised)} layers below {asked.floor:g} dB, the lowest has {lowest:g} dB; {len(tensors)} images")
    print(f"{'layer':<26}{'operator':<18}{'scale':>6}{'before':>8}{'after':>8}  outcome")
    missed = 0
    for damage in damages(int8):
        try:
            noise: tuple[LayerNoise, ...] | None = layer_noise(model, fp32, damage.data, tensors)
        except RuntimeError:  # the interpreter's only error
            noise = None
        caught = noise is None or any(layer.value == undamaged[damage.layer].value for layer in too_noisy(noise, asked.floor))
        missed += damage.weights and not caught
        before, after = undamaged[damage.layer], noise[damage.layer] if noise else None
        figures = f"{before.snr_db:>8}{after.snr_db if after else '-':>8}"
        print(f"{before.layer[:24]:<26}{before.operator:<18}{damage.factor:>6}{figures}  {outcome(damage, noise, caught)}")
    print(f"{missed} damaged layers missed")
    return 1 if missed or raised else 0


def outcome(damage: Damage, noise: tuple[LayerNoise, ...] | None, caught: bool) -> str:
    """The outcome in words."""
    if noise is None:
        return "caught: the runtime refuses the file"
    if caught:
        return "caught"
    if damage.weights:
        return "MISSED"
    return "cannot be seen: the layer has no weights, and its value is read with the same scale"


if __name__ == "__main__":
    sys.exit(main())
