"""What each layer of a Keras model gives for some images, by the layer's name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from limiar.edge_app.arrays import Pixels


class LayerValue(msgspec.Struct, frozen=True):
    """One call of a layer."""

    name: str
    read: tuple[int, ...]  # which calls gave what it got; -1: none of them (the image, or an operation outside a layer)
    value: np.ndarray  # float32 [N, …]


def layer_values(model: Any, tensors: Pixels) -> list[LayerValue]:
    """Every innermost layer's output in the order of the calls, also inside nested and shared models.

    Layers that pass on what they got (Dropout when not training) are left out.
    """
    seen: list[tuple[str, list[Any], Any]] = []  # holds the tensors themselves, so that no id is given twice
    with _listening(model, seen):
        model(np.asarray(tensors, np.float32), training=False)
    calls = [call for call in seen if not any(call[2] is value for value in call[1])]
    maker = {id(output): index for index, (_, _, output) in enumerate(calls)}
    return [
        LayerValue(name, tuple(maker.get(id(value), -1) for value in given), np.asarray(output, np.float32))
        for name, given, output in calls
    ]


@contextmanager
def _listening(model: Any, seen: list[tuple[str, list[Any], Any]]) -> Iterator[None]:
    """A layer's `call` is replaced for a while: a second model of all outputs would not reach into nested models."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if not list(_inside(layer))]

    def noted(layer: Any) -> Any:
        call = layer.call

        def run(*arguments: Any, **options: Any) -> Any:
            output = call(*arguments, **options)
            if hasattr(output, "shape"):  # layers that give several values are named by what follows them
                given = [
                    one for argument in arguments for one in (argument if isinstance(argument, list | tuple) else [argument])
                ]
                seen.append((layer.name, given, output))
            return output

        return run

    try:
        for layer in layers:
            object.__setattr__(layer, "call", noted(layer))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


def _inside(layer: Any) -> Iterator[Any]:
    return iter(layer._flatten_layers(include_self=False))
