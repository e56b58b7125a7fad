"""Both ends of a Keras model made what limiar's are: raw pixels in, one logit for each label out."""

from typing import Any

import numpy as np

from limiar.convert.source.frameworks import keras
from limiar.convert.source.origin import Scaling
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError, printable

SIDE_LIMIT = 4096  # px
RGBA = 4  # channels
UNIT = "one unit made two logits"
PASSING = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout, keras.layers.Identity)


def _given_images(sides: tuple[int | None, ...]) -> str:
    """The cure for a model whose input is not an image: usually one that was trained on arrays without a channel axis."""
    if None not in sides and len(sides) in (1, 2):
        image = "(HEIGHT, WIDTH, CHANNELS)" if len(sides) == 1 else f"({sides[0]}, {sides[1]}, 1)"
        return f"save keras.Sequential([keras.Input({image}), keras.layers.Reshape({sides}), model])"
    if len(sides) == 3 and sides[2] == RGBA:
        return "transparent images are read as RGB over black: train it on those"
    return "save the model with such an input"


def input_spec(model: Any, where: str, size: tuple[int, int] | None = None) -> InputSpec:
    """What the model takes, whatever its batch. Raises ConvertError for an input that the image rules never give.

    size: height and width, of a model that leaves them open. Channels may come first: (3, height, width).
    """
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        met = f"{where} has {len(inputs)} known inputs"
        raise ConvertError("E-CONVERT-INPUTS", f"{met}: give the model one, the image, with a fixed size")
    shape = tuple(inputs[0].shape)
    sides = shape[1:]
    if len(sides) == 3 and sides[2] not in (1, 3) and sides[0] in (1, 3):
        sides = (sides[1], sides[2], sides[0])
    if len(sides) == 3 and None in sides[:2] and sides[2] in (1, 3):
        if size is None:
            met = f"{where} takes {shape}, that is images of any size"
            raise ConvertError("E-CONVERT-INPUT", f"{met}: give the size it was trained at with --size HEIGHTxWIDTH")
        sides = (
            *(wanted if open_side is None else open_side for open_side, wanted in zip(sides, size, strict=False)),
            sides[2],
        )
    fits = len(sides) == 3 and all(side is not None and 0 < side <= SIDE_LIMIT for side in sides)
    if not fits or sides[2] not in (1, 3):
        met = f"{where} takes {shape}; an image is (None, height, width, 1 or 3) with sides up to {SIDE_LIMIT}"
        raise ConvertError("E-CONVERT-INPUT", f"{met}: {_given_images(sides)}")
    if size is not None and tuple(sides[:2]) != size:
        met = f"{where} takes {sides[0]}x{sides[1]}, but --size says {size[0]}x{size[1]}"
        raise ConvertError("E-CONVERT-INPUT", f"{met}: leave --size out")
    return InputSpec(height=sides[0], width=sides[1], channels=sides[2])


def logits_model(model: Any, labels: tuple[str, ...], where: str) -> tuple[Any, str | None]:
    """The model with one logit for each label, and what was changed for it: "softmax cut off". Raises ConvertError.

    One unit for two labels, x, is the logit of the second against the first, so [0, x]: softmax makes sigmoid(x) of it.
    """
    if len(model.outputs) != 1:
        met = f"{where} has {len(model.outputs)} outputs ({printable(', '.join(output.name for output in model.outputs[:8]))})"
        cure = "save the one that gives the labels, as keras.Model(model.inputs, model.outputs[0]).save('one.keras')"
        raise ConvertError("E-CONVERT-OUTPUTS", f"{met}: {cure}")
    cut, head = _before_head(model.outputs[0])
    changed = f"{head} cut off" if head else None
    if head or not _is_plain(model):
        model = keras.Model(model.inputs[0], cut, name=model.name)
    shape = tuple(model.outputs[0].shape)
    if shape == (None, 1) and len(labels) == 2 and head != "softmax":
        pair = keras.layers.Dense(2, use_bias=False, trainable=False, name="two_logits")
        model = keras.Model(model.inputs[0], pair(model.outputs[0]), name=model.name)
        pair.set_weights([np.array([[0.0, 1.0]], np.float32)])
        return model, ", ".join(filter(None, (changed, UNIT)))
    if head == "sigmoid":
        met = f"{where} ends in a sigmoid over {shape[-1]} units, which answers each label alone"
        cure = "limiar gives exactly one label: train with a softmax, or with one unit for two labels"
        raise ConvertError("E-CONVERT-SIGMOID", f"{met}: {cure}")
    if shape != (None, len(labels)):
        named = printable(", ".join(labels[:8])) + (", …" if len(labels) > 8 else "")
        met = f"{where} gives {shape}, but there are {len(labels)} labels ({named})"
        raise ConvertError("E-CONVERT-OUTPUTS", f"{met}: the last layer must give one logit for each label")
    return model, changed


def raw_pixels(model: Any, spec: InputSpec, scaling: Scaling) -> Any:
    """The model with the scaling in front, as one multiplication and one addition for each channel. Raises ConvertError.

    With bgr a 1x1 convolution reorders the channels too: TensorFlow's integer files misread a reversed input.
    """
    for name, values in scaling.values.items():
        if len(values) not in (1, spec.channels):
            met = f"--{name} has {len(values)} values, the model takes {spec.channels} channels"
            raise ConvertError("E-CONVERT-CHANNELS", f"{met}: give one, or one for each channel")
    if scaling.bgr and spec.channels != 3:
        raise ConvertError("E-CONVERT-CHANNELS", f"--bgr needs 3 channels, the model takes {spec.channels}: leave --bgr out")
    scale, mean, std = (np.asarray(values) for values in scaling.values.values())
    factor, offset = (np.broadcast_to(values, spec.channels) for values in (scale / std, -mean / std))
    image = keras.Input((spec.height, spec.width, spec.channels), name="image")
    if scaling.bgr:
        front = pixelwise(np.eye(3)[::-1] * factor, offset)
    else:
        front = keras.layers.Rescaling(factor.tolist(), offset.tolist(), name="scaling")
    return keras.Model(image, model(front(image)), name=model.name)


def pixelwise(matrix: np.ndarray, offset: np.ndarray) -> Any:
    """A layer that gives pixel @ matrix + offset for every pixel. matrix: [C, D]; offset: [D]."""
    layer = keras.layers.Conv2D(matrix.shape[1], 1, trainable=False, name="scaling")
    layer.build((None, None, None, matrix.shape[0]))
    layer.set_weights([matrix[np.newaxis, np.newaxis], offset])
    return layer


def _is_plain(model: Any) -> bool:
    """Takes and gives a value, not {"name": value}; a sequential model always does."""
    return isinstance(model, keras.Sequential) or all(isinstance(end, keras.KerasTensor) for end in (model.input, model.output))


def _before_head(tensor: Any) -> tuple[Any, str | None]:
    """What the last softmax or sigmoid of a model is made from, and which it was; the tensor and None if there is none."""
    made = tensor._keras_history
    layer, node = made.operation, made.operation._inbound_nodes[made.node_index]
    if isinstance(layer, keras.Model):
        inner, head = _before_head(layer.outputs[made.tensor_index])
        if head is None:
            return tensor, None
        cut = keras.Model(layer.inputs, inner, name=layer.name)
        return cut(*node.arguments.args, **node.arguments.kwargs), head
    if not node.input_tensors:
        return tensor, None
    given = node.input_tensors[0]
    if isinstance(layer, PASSING):
        inner, head = _before_head(given)
        return (layer(inner), head) if head else (tensor, None)
    if (name := type(layer).__name__.lower()) in ("softmax", "sigmoid"):  # a layer, or keras.ops.softmax
        return given, name
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    if name not in ("softmax", "sigmoid"):
        return tensor, None
    if isinstance(layer, keras.layers.Activation):
        return given, name
    linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    logits = linear(given)
    linear.set_weights(layer.get_weights())
    return logits, name
