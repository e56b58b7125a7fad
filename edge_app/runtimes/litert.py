"""LiteRT (ai-edge-litert): the default runtime for TFLite files."""

from typing import Any

# The Interpreter API only: CompiledModel loads a WebGPU library built for ARMv8.1 atomics, which dies on a Pi 3 or Pi 4.
from ai_edge_litert import __version__, interpreter

from limiar.edge_app.runtimes.interpreter import InterpreterRuntime, open_interpreter


def open_model(model: bytes, threads: int, optimised: bool) -> Any:
    """The Interpreter of any .tflite file. Raises ModelUnfit."""
    return open_interpreter("litert", __version__, interpreter, model, threads, optimised)


def load(model: bytes, threads: int, optimised: bool) -> InterpreterRuntime:
    """The bytes of a .tflite file -> a runtime. Raises RuntimeUnavailable."""
    return InterpreterRuntime("litert", __version__, open_model(model, threads, optimised))
