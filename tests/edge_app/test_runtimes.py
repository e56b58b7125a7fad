"""Runtimes compute as they are asked to: with fast kernels by default, with more threads, or without the fast kernels."""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.inference.golden import golden_tensors
from limiar.edge_app.runtimes import OPTIONS, RUNTIMES, Runtime, installed_runtimes, open_runtime
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime

VARIANTS = [(name, options) for name, kind in RUNTIMES.items() for options in ("", *kind.variants)]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_runtime_computes_with_the_kernels_that_its_options_say(tiny_bundle: Bundle, name: str, options: str) -> None:
    if name not in {found.name for found in installed_runtimes()}:
        pytest.skip(f"{name} is not installed in this environment")
    asked = OPTIONS[options]
    model = tiny_bundle.model("onnx_fp32" if RUNTIMES[name].format == "onnx" else "tflite_fp32")[1]
    kernels = open_runtime(name, model, asked.threads, asked.optimised).kernels
    expected = {"onnx": ("optimised graph", "graph as written"), "tflite": ("XNNPACK", "built-in kernels")}
    assert kernels == expected[RUNTIMES[name].format][options.startswith("without")]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *itertools.product(("litert", "tflite-runtime"), ("tflite_fp32", "tflite_int8")),
        ("onnxruntime", "onnx_fp32"),
    ],
)
def test_what_is_measured_computes_the_logits_of_the_image_each_time(tiny_bundle: Bundle, name: str, file: str) -> None:
    if name not in {found.name for found in installed_runtimes()}:
        pytest.skip(f"{name} is not installed in this environment")
    runtime = open_runtime(name, tiny_bundle.model(file)[1])
    first, second = (tensor for tensor in golden_tensors(tiny_bundle).tensors[:2] if tensor is not None)
    expected = runtime.logits(second)
    assert not np.array_equal(expected, runtime.logits(first))
    invoke = runtime.invoker(second)
    for _ in range(3):
        invoke()
        np.testing.assert_array_equal(_left_by(invoke, runtime), expected)


def _left_by(invoke: Callable[[], object], runtime: Runtime) -> np.ndarray:
    """The logits in the memory of a runtime."""
    if isinstance(invoke, functools.partial):  # onnxruntime's
        logits: np.ndarray = invoke.args[0].copy_outputs_to_cpu()[0][0]
        return logits
    assert isinstance(runtime, InterpreterRuntime)
    return runtime._value(runtime._logits)
