"""Runtimes compute as they are asked to: with fast kernels by default, with more threads, or without the fast kernels."""

import pytest

from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.runtimes import OPTIONS, RUNTIMES, installed_runtimes, open_runtime

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
