"""A framework's error in one line: the reason, without its stack of files, and the Keras layer it is about."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.stderr import captured_stderr

REASON_LIMIT = 200  # characters
_COLOUR = re.compile(r"\x1b?\[\d+m")
_NOISE = re.compile(
    r"Detected at node|Graph execution error|File \"|Arguments received|Stack trace|Exception encountered when calling|"
    r"\[\[|•|defined at|^\^+$|Encountered (an error|unresolved)|Full object config"
)
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+")  # of a node in a TensorFlow graph: model/layer/operation
_CALLING = re.compile(r"Exception encountered when calling (\w+)\.call")


def reason(error: BaseException) -> str:
    """What it says, one line of at most REASON_LIMIT characters."""
    lines = dict.fromkeys(line.strip() for line in _COLOUR.sub("", str(error)).splitlines())  # TFLite says one an op
    told = " ".join(line for line in lines if line and not _NOISE.search(line)) or type(error).__name__
    return printable(" ".join(told.split()))[:REASON_LIMIT]


def layer_of(model: Any, error: BaseException | None) -> str | None:
    """The layer that an error names, "conv2d_3 (Conv2D)"; None if it names none."""
    text = str(error)
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    for path in _PATH.findall(text):
        for part in reversed(path.split("/")[:-1]):  # Keras numbers the name of a layer that is called again
            if layer := layers.get(part) or layers.get(re.sub(r"_\d+$", "", part)):
                return printable(f"{layer.name} ({type(layer).__name__.lstrip('_')})")
    if found := _CALLING.search(text):
        fitting = [layer for layer in layers.values() if type(layer).__name__ == found[1]]
        return printable(f"{fitting[0].name} ({found[1]})") if len(fitting) == 1 else printable(f"one of its {found[1]}")
    return None


def blamed(model: Any, error: ConvertError) -> ConvertError:
    """The same refusal, with the layer that its cause names."""
    layer = layer_of(model, error.__cause__ or error)
    return ConvertError(error.code, f"layer {layer}: {error.message}") if layer else error


@contextmanager
def one_line(code: str, what: str, cure: str, model: Any = None) -> Iterator[None]:
    """Whatever a framework raises becomes a ConvertError "what (layer, reason): cure", and what it prints is kept.

    model: in which the layer is looked for.
    """
    try:
        with captured_stderr():
            yield
    except ConvertError:
        raise
    except Exception as error:  # TensorFlow, Keras and the converters raise whatever a model provokes
        layer = layer_of(model, error) if model is not None else None
        named = f"layer {layer}: " if layer else ""
        raise ConvertError(code, f"{what} ({named}{reason(error)}): {cure}") from error
