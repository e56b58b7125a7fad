"""What Keras 2 saved, in Keras 3's words: the configuration of a .keras file or of an .h5 file (perhaps of Keras 3).

Keras 3 reads the weights of both, and the configuration of plain layers. It does not know where Keras 2 kept its functional
model, arguments that no longer exist, or `TFOpLambda`, Keras 2's layer for an operation, which `preprocess_input` was saved as.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import h5py

from limiar.convert.source.frameworks import keras

CONFIG_ATTRIBUTE = "model_config"  # of an .h5 file
_MODELS = {"Functional": "keras.src.models.functional", "Model": "keras.src.models.functional", "Sequential": "keras"}
_ROOMS = ("layers", "initializers", "regularizers", "constraints")
# Arguments that no longer exist, and the values that change no answer; with another value Keras refuses the layer by name.
_GONE: dict[str, tuple[object, ...]] = {"rng_type": ("stateful",), "time_major": (False,), "groups": (1,)}
_UNUSED = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")  # of separable layers: they have no such kernel
_GROUPED = ("Conv1D", "Conv2D", "Conv3D")  # which still have groups
# An operation with a number y -> scale and offset of a Rescaling layer.
_SCALED: dict[str, Callable[[float], tuple[float, float]]] = {
    "math.truediv": lambda y: (1.0 / y, 0.0),
    "math.divide": lambda y: (1.0 / y, 0.0),
    "math.multiply": lambda y: (y, 0.0),
    "math.subtract": lambda y: (1.0, -y),
    "math.add": lambda y: (1.0, y),
    "__operators__.add": lambda y: (1.0, y),
}
# An operation with another value -> the layer that joins the two.
_JOINED = {"math.add": "Add", "__operators__.add": "Add", "math.multiply": "Multiply", "math.subtract": "Subtract"}


def in_keras_3(config: Any) -> Any:
    """The configuration with Keras 3's names; what it has no name for stays as it is."""
    if isinstance(config, list):
        return [in_keras_3(part) for part in config]
    if not isinstance(config, dict):
        return config
    made = {key: in_keras_3(value) for key, value in config.items()}
    if "class_name" not in made:
        return made
    if made["class_name"] == "TFOpLambda":
        made = _operation(made)
    if isinstance(made.get("config"), dict):
        grouped = made["class_name"] in _GROUPED
        made["config"] = {
            key: value
            for key, value in made["config"].items()
            if value not in _GONE.get(key, ()) or (grouped and key == "groups")
            if not (key in _UNUSED and str(made["class_name"]).startswith(("Separable", "Depthwise")))
        }
        if made["class_name"] == "BatchNormalization" and isinstance(axis := made["config"].get("axis"), list):
            made["config"]["axis"] = axis[0]
    if made["class_name"] in _MODELS and isinstance(made.get("config"), dict):
        _count_calls(made["config"])
    if room := _room(made["class_name"]):
        made |= {"module": room, "registered_name": made["class_name"] if room.startswith("keras.src") else None}
        made["class_name"] = "Functional" if made["class_name"] == "Model" else made["class_name"]
    return made


def read_h5_config(data: bytes) -> Any:
    """The configuration in an .h5 file, in Keras 3's names; None if it holds weights alone. Raises what h5py raises."""
    with h5py.File(io.BytesIO(data), "r") as file:
        text = file.attrs.get(CONFIG_ATTRIBUTE)
    return None if text is None else in_keras_3(json.loads(text))


def with_h5_config(data: bytes, config: Any) -> bytes:
    """The .h5 file with another configuration."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        file.attrs[CONFIG_ATTRIBUTE] = json.dumps(config)
    return buffer.getvalue()


def _count_calls(config: dict[str, Any]) -> None:
    """In Keras 2 the first call of a model in a model has number 1, in Keras 3 number 0."""
    layers = [layer for layer in config.get("layers", []) if isinstance(layer, dict)]
    inner = {layer["config"]["name"] for layer in layers if layer.get("class_name") in _MODELS}
    lists = [config.get("output_layers"), *(layer.get("inbound_nodes") for layer in layers)]
    while lists:
        part = lists.pop()
        if isinstance(part, list):
            if len(part) in (3, 4) and part[0] in inner and isinstance(part[1], int):
                part[1] = max(part[1] - 1, 0)
            else:
                lists += part


def _room(name: Any) -> str | None:
    """The module of one of Keras's own classes."""
    if name in _MODELS:
        return _MODELS[name]
    return next((f"keras.{room}" for room in _ROOMS if isinstance(name, str) and hasattr(getattr(keras, room), name)), None)


def _operation(layer: dict[str, Any]) -> dict[str, Any]:
    """Two values, or a value and a number, added or multiplied are a layer; another operation stays, and is refused by name."""
    nodes: Any = layer.get("inbound_nodes")
    config = layer["config"]
    if not isinstance(nodes, list) or len(nodes) != 1 or len(nodes[0]) != 4:
        return layer
    operation, (*first, given) = config.get("function"), nodes[0]
    other = given.get("y")
    made = {"name": config["name"], "trainable": False, "dtype": config.get("dtype")}
    layer = {key: value for key, value in layer.items() if key != "build_config"}  # it is for a single input
    if operation in _JOINED and isinstance(other, list):
        return layer | {"class_name": _JOINED[operation], "config": made, "inbound_nodes": [[[*first, {}], [*other, {}]]]}
    if operation in _SCALED and isinstance(other, int | float) and other:
        scale, offset = _SCALED[operation](float(other))
        made |= {"scale": scale, "offset": offset}
        return layer | {"class_name": "Rescaling", "config": made, "inbound_nodes": [[[*first, {}]]]}
    return layer
