"""tflite-runtime 2.14, its last version, for devices that already use it (Python <= 3.11, numpy < 2)."""

from typing import Any

from tflite_runtime import __version__, interpreter

from limiar.edge_app.runtimes.interpreter import InterpreterRuntime, open_interpreter


def open_model(model: bytes, threads: int, optimised: bool) -> Any:
    """The Interpreter of any .tflite file. Raises ModelUnfit."""
    return open_interpreter("tflite-runtime", __version__, interpreter, model, threads, optimised)


def load(model: bytes, threads: int, optimised: bool) -> InterpreterRuntime:
    """The bytes of a .tflite file -> a runtime. Raises RuntimeUnavailable."""
    return InterpreterRuntime("tflite-runtime", __version__, open_model(model, threads, optimised))
