"""The model files that convert makes, by name. Imports nothing heavy."""

from typing import Literal

import msgspec


class Recipe(msgspec.Struct, frozen=True):
    """One model file: how it is made, and how far its logits may be from the golden ones.

    A tolerance is a share of the largest golden logit of the Keras model, because rounding errors grow with the logits.
    """

    name: str
    format: Literal["tflite", "onnx"]
    precision: str
    runtime: str  # the one that gives the golden logits
    same_runtime: float  # tolerance on that runtime, whatever the processor; 0: bit for bit
    other_runtime: float  # tolerance on another one; raised to twice what convert saw between the runtimes here

    @property
    def key(self) -> tuple[str, str]:
        """That runtime with its options: none, as a device runs it."""
        return self.runtime, ""


# Measured on 303 images, 11 conv layers, largest logit 9: see docs/gate.md, "Golden tolerances".
RECIPES = (
    Recipe("tflite_fp32", "tflite", "fp32", "litert", same_runtime=1e-4, other_runtime=1e-4),  # seen 1e-7
    # A processor with half-precision arithmetic may use it for this file; 11 layers at 2**-11 each.
    Recipe("tflite_fp16", "tflite", "fp16", "litert", same_runtime=1e-2, other_runtime=1e-2),
    # The activations are quantized as they come: a float's last bit can move one by a step. Seen 1.6e-2.
    Recipe("tflite_dynamic", "tflite", "dynamic", "litert", same_runtime=2e-2, other_runtime=2e-2),
    # Integer arithmetic: equal on x86-64, Cortex-A53, A72 and A76; runtimes round halves differently. 1 step is 8e-3.
    Recipe("tflite_int8", "tflite", "int8", "litert", same_runtime=0.0, other_runtime=1e-2),
    Recipe("tflite_int16x8", "tflite", "int16x8", "litert", same_runtime=0.0, other_runtime=1e-3),
    Recipe("onnx_fp32", "onnx", "fp32", "onnxruntime", same_runtime=1e-4, other_runtime=1e-4),
    Recipe("onnx_fp16", "onnx", "fp16", "onnxruntime", same_runtime=1e-2, other_runtime=1e-2),
    Recipe("onnx_int8", "onnx", "int8", "onnxruntime", same_runtime=1e-2, other_runtime=1e-2),
)


# Which file a device takes when it is not told: the smallest first, the quicker one of two equal sizes. Measured with the
# reference model, 210 KB as float32, one thread of an x86-64: int8 60 KB, 15 to 32 us; fp16 105 KB, 37 to 44; fp32 37 to 44.
# int16x8 has 65 KB and no fast kernels anywhere: 1,250 us.
PREFERRED = (
    *("tflite_int8", "tflite_dynamic", "onnx_int8"),
    *("tflite_fp16", "onnx_fp16", "tflite_fp32", "onnx_fp32", "tflite_int16x8"),
)


def recipe(name: str) -> Recipe:
    """A recipe by its name."""
    return next(recipe for recipe in RECIPES if recipe.name == name)
