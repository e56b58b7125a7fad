"""A Keras model rebuilt so that this machine computes it and every format can express it: the same layers, the same weights.

TensorFlow convolves on a CPU only with channels last; TFLite and ONNX lack some of its resizing; its integer converter misreads
an input whose channels are exchanged first. Replacements give the same values, up to rounding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from limiar.convert.source.ends import pixelwise
from limiar.convert.source.frameworks import keras

_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # transpositions of [N, H, W, C] to channels first, and back
_PROBES = 6  # random images with which a front is tried
_SAME = 1e-4  # of a pixel's largest value


def runnable(model: Any, sides: tuple[int, int, int]) -> Any:
    """The model for any number of images [H, W, C] of these sides, its convolutions with channels last.

    model: of one input, of a fixed batch, of a size left open, or with channels first. Raises whatever Keras raises.
    """
    given = tuple(model.inputs[0].shape)
    if given == (None, *sides) and not any(map(_first_convolution, _operations(model))):
        return model
    image = keras.Input(sides, name=model.inputs[0].name, dtype=model.inputs[0].dtype)
    turned = given[3] != sides[2]
    outputs = _Rebuilding(_first_convolution, _channels_last).of(model, keras.ops.transpose(image, _FIRST) if turned else image)
    return keras.Model(image, outputs, name=model.name)


def exportable(model: Any) -> Any:
    """The model in operations that the formats have. Raises whatever Keras raises."""
    if any(map(_odd_resizing, _operations(model))):
        image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name, dtype=model.inputs[0].dtype)
        model = keras.Model(image, _Rebuilding(_odd_resizing, _Resized).of(model, image), name=model.name)
    return _front_folded(model)


def _graph(model: Any) -> Any:
    """The functional graph: a sequential model keeps its own inside."""
    return getattr(model, "_functional", None) or model


def _is_model(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and hasattr(_graph(operation), "_run_through_graph")


def _operations(model: Any) -> list[Any]:
    """All of them, also those of nested models."""
    own = list(_graph(model).operations)
    return own + [inner for op in own if _is_model(op) for inner in _operations(op)]


class _Rebuilding:
    """A model's graph rebuilt with some operations replaced. The others are shared, and so are their weights."""

    def __init__(self, wanted: Callable[[Any], bool], swap: Callable[[Any], Any]) -> None:
        self._wanted, self._swap = wanted, swap
        self._done: dict[tuple[int, Any], Any] = {}

    def of(self, model: Any, value: Any) -> Any:
        """What the rebuilt model makes of `value`."""
        return _graph(model)._run_through_graph(value, operation_fn=self._replaced)

    def _replaced(self, operation: Any) -> Any:
        if _is_model(operation) and len(operation.inputs) == 1:
            return lambda value, *_, **__: self._nested(operation, value)(value)
        return self._once((id(operation), None), lambda: self._swap(operation) if self._wanted(operation) else operation)

    def _nested(self, model: Any, value: Any) -> Any:
        if not any(map(self._wanted, _operations(model))) and model.inputs[0].shape[0] is None:
            return model
        sides = value.shape[1:]

        def made() -> Any:
            inside = keras.Input(sides, dtype=value.dtype)
            return keras.Model(inside, self.of(model, inside), name=model.name)

        return self._once((id(model), sides), made)

    def _once(self, key: tuple[int, Any], make: Callable[[], Any]) -> Any:
        if key not in self._done:
            self._done[key] = make()
        return self._done[key]


def _first_convolution(operation: Any) -> bool:
    """Those that TensorFlow does not compute on a CPU. (Keras itself transposes depthwise ones and pooling.)"""
    return type(operation) in _LAST_KINDS and operation.data_format == "channels_first"


def _channels_last(operation: Any) -> Any:
    """A layer with the configuration and weights of this one."""
    made = _LAST_KINDS[type(operation)].from_config(operation.get_config())
    made.build_from_config(operation.get_build_config())
    made.set_weights(operation.get_weights())
    return made


class _Convolution(keras.layers.Conv2D):  # type: ignore[misc]  # Keras has no types
    """Channels first, computed with channels last."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        made = keras.ops.conv(
            keras.ops.transpose(inputs, _LAST),
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )
        return keras.ops.transpose(made, _FIRST)


class _Transposed(keras.layers.Conv2DTranspose):  # type: ignore[misc]
    """The same, transposed."""

    def call(self, inputs: Any) -> Any:
        made = keras.ops.conv_transpose(
            keras.ops.transpose(inputs, _LAST),
            self.kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )
        made = made + self.bias if self.use_bias else made
        made = made if self.activation is None else self.activation(made)
        return keras.ops.transpose(made, _FIRST)


_LAST_KINDS: dict[type, Any] = {keras.layers.Conv2D: _Convolution, keras.layers.Conv2DTranspose: _Transposed}


def _odd_resizing(operation: Any) -> bool:
    """Whether a format lacks its kind. Padding or cropping to the aspect ratio is left as it is."""
    if _resized_to(operation) is None or operation.data_format != "channels_last":
        return False
    plain = operation.interpolation == "nearest" or (operation.interpolation == "bilinear" and not operation.antialias)
    return not (plain or operation.pad_to_aspect_ratio or operation.crop_to_aspect_ratio)


def _resized_to(operation: Any) -> tuple[int, int] | None:
    """Height and width, of the layer and of keras.ops.image.resize, whose class has no public name."""
    if isinstance(operation, keras.layers.Resizing):
        return operation.height, operation.width
    return tuple(operation.size) if type(operation).__name__ == "Resize" else None


class _Resized(keras.layers.Layer):  # type: ignore[misc]
    """Resizing of a fixed size to a fixed size is linear in each axis: two matrices, found by resizing their unit images."""

    def __init__(self, resizing: Any) -> None:
        super().__init__(name=resizing.name, trainable=False)
        self._kind = {"interpolation": resizing.interpolation, "antialias": resizing.antialias}
        self._to = _resized_to(resizing) or (0, 0)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self._axes = [self._matrix(int(side or 0), to) for side, to in zip(shape[1:3], self._to, strict=True)]

    def _matrix(self, side: int, to: int) -> Any:
        units = np.eye(side, dtype=np.float32)[np.newaxis, :, :, np.newaxis]
        columns = keras.ops.convert_to_numpy(keras.layers.Resizing(to, side, **self._kind)(units))[0, :, :, 0]
        weight = self.add_weight(shape=(side, to), initializer="zeros", trainable=False)
        weight.assign(columns.T)
        return weight

    def call(self, inputs: Any) -> Any:
        down, across = self._axes
        lines = keras.ops.matmul(keras.ops.transpose(inputs, (0, 2, 3, 1)), down)  # [N, W, C, height]
        pixels = keras.ops.matmul(keras.ops.transpose(lines, (0, 3, 2, 1)), across)  # [N, height, C, width]
        return keras.ops.transpose(pixels, (0, 1, 3, 2))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], *self._to, shape[3])


def _front_folded(model: Any) -> Any:
    """Operations that mix channels at the very beginning (preprocess_input of the caffe kind) as one convolution of 1x1."""
    image = model.inputs[0]
    for tensor in _front(model):
        found = _pixelwise(keras.Model(image, tensor), tuple(image.shape[1:]))
        if found is None:
            continue
        matrix, offset = found
        if matrix.shape[0] == matrix.shape[1] and not (matrix - np.diag(np.diag(matrix))).any():
            return model  # only multiplied and shifted, which the converters can do
        try:
            rest = keras.Model(tensor, model.outputs if len(model.outputs) > 1 else model.outputs[0])
        except ValueError:  # another path starts at the image too
            continue
        again = keras.Input(image.shape[1:], name=image.name)
        return keras.Model(again, rest(pixelwise(matrix, offset)(again)), name=model.name)
    return model


def _front(model: Any) -> list[Any]:
    """What operations without weights make of the image before the first layer; the last one first."""
    if isinstance(model, keras.Sequential):
        return []  # it has layers only
    image = model.inputs[0]
    known, found = {id(image)}, []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer = isinstance(node.operation, keras.layers.Layer)
            known_kind = not layer or isinstance(node.operation, keras.layers.Rescaling | keras.layers.Normalization)
            if node.is_input or not known_kind or not all(id(value) in known for value in node.input_tensors):
                continue
            known.update(id(value) for value in node.outputs)
            found += [value for value in node.outputs if len(value.shape) == 4 and value.shape[1:3] == image.shape[1:3]]
    return found[::-1]


def _pixelwise(front: Any, sides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """The matrix and the offset of what it does to every pixel, if it does the same to all and nothing else; else None."""
    channels = sides[2]
    units = np.zeros((channels + 1, *sides), np.float32)
    for channel in range(channels):
        units[channel + 1, ..., channel] = 1.0
    random = np.random.default_rng(0).uniform(0, 255, (_PROBES, *sides)).astype(np.float32)
    made = np.asarray(front(np.concatenate([units, random]), training=False), np.float64)
    offset = made[0, 0, 0]
    matrix = made[1 : channels + 1, 0, 0] - offset
    expected = random.astype(np.float64) @ matrix + offset
    close = np.abs(made[channels + 1 :] - expected).max() <= _SAME * max(float(np.abs(expected).max()), 1.0)
    return (matrix, offset) if close else None
