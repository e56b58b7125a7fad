"""The class activation map as a second output of a graph that ends in global average pooling and a dense layer.

B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, Learning Deep Features for Discriminative Localization (CVPR 2016),
section 2: the mean over places and the dense layer are both linear, so they can change places. The dense layer, applied at
every place as a convolution of 1x1, gives a map of each label; its mean over the places is the label's logit.
"""

from typing import Any

import numpy as np

from limiar.convert.source.ends import PASSING
from limiar.convert.source.frameworks import keras
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import MapGrid
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.system.stderr import captured_stderr

LAYER = "class_map"


def mapped(model: Any, where: str) -> Any:
    """A model of logits [N, K] -> one of the same logits and of their map [N, h, w, K]. Raises ConvertError.

    The logits are computed as before, so the map changes no bit of an answer. The bias is part of the map: the mean over h and
    w is the logit. Consecutive dense layers without activation count as one.
    """
    features, dense = _ending(model.outputs[0], where)
    kernel, bias = np.eye(features.shape[-1]), np.zeros(features.shape[-1])
    for layer in dense:
        weights = np.asarray(layer.get_weights()[0], np.float64)
        kernel, bias = kernel @ weights, bias @ weights + (layer.get_weights()[1] if layer.use_bias else 0.0)
    convolution = keras.layers.Conv2D(kernel.shape[1], 1, trainable=False, name=LAYER)
    both = keras.Model(model.inputs[0], [model.outputs[0], convolution(features)], name=model.name)
    convolution.set_weights([kernel[np.newaxis, np.newaxis], bias])
    return both


def _ending(tensor: Any, where: str) -> tuple[Any, list[Any]]:
    """What a model pools, [N, h, w, F], and the dense layers that follow. Raises ConvertError."""
    dense: list[Any] = []
    while True:
        made = tensor._keras_history
        layer, node = made.operation, made.operation._inbound_nodes[made.node_index]
        kind = type(layer)
        if kind is keras.layers.GlobalAveragePooling2D and layer.data_format == "channels_last" and dense:
            features = node.input_tensors[0]
            if features.shape[-1] == dense[0].get_weights()[0].shape[0]:
                return features, dense
        if kind is keras.layers.Dense and layer.activation is keras.activations.linear:
            dense.insert(0, layer)
        elif kind not in PASSING:
            met = f"{where} ends in {layer.name} ({kind.__name__})"
            wanted = "a class activation map needs global average pooling and dense layers without activation"
            raise ConvertError("E-CONVERT-MAP", f"{met}; {wanted}: leave --cam out, or train such a model, as compact is")
        tensor = node.input_tensors[0]


def grid(model: Any) -> MapGrid:
    """Where the cells of a mapped model's map are, by the arithmetic of receptive fields.

    A. Araujo, W. Norris, J. Sim, Computing Receptive Fields of Convolutional Neural Networks (Distill, 2019): a layer of kernel
    k, stride s and p pixels of padding before it moves the first cell by ((k - 1) / 2 - p) steps. Padding "same" is not the
    same on both sides where sizes are even: three such strides of 2 move every cell by 3.5 pixels, nearly half a cell. If
    there are branches, the first counts. If a layer changes the sides in another way, cells are taken to divide the image
    evenly.
    """
    features, _ = _ending(model.outputs[0], model.name)
    _, height, width, _ = features.shape
    sides = tuple(model.inputs[0].shape[1:3])
    axes = [_axis(_layers(features), axis) for axis in (0, 1)]
    even = [((side / cells - 1) / 2, side / cells) for side, cells in zip(sides, (height, width), strict=True)]
    (top, down), (left, right) = (known or by_size for known, by_size in zip(axes, even, strict=True))
    return MapGrid(height, width, (top, left), (down, right))


def _layers(features: Any) -> list[tuple[Any, tuple[int, int], tuple[int, int]]]:
    """The layers from the image to the features, each with the sides that it gets and gives."""
    path: list[tuple[Any, tuple[int, int], tuple[int, int]]] = []
    tensor = features
    while True:
        made = tensor._keras_history
        node = made.operation._inbound_nodes[made.node_index]
        if not node.input_tensors:
            return path[::-1]
        given = node.input_tensors[0]
        path.append((made.operation, tuple(given.shape[1:3]), tuple(tensor.shape[1:3])))
        tensor = given


def _axis(layers: list[tuple[Any, tuple[int, int], tuple[int, int]]], axis: int) -> tuple[float, float] | None:
    """First and step of one axis; None if a layer is met whose geometry is not known."""
    first, step = 0.0, 1.0
    for layer, given, made in layers:
        kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            first -= layer.padding[axis][0] * step
        elif kernel is not None and not isinstance(layer, keras.layers.Conv2DTranspose):
            stride = layer.strides if isinstance(layer.strides, int) else layer.strides[axis]
            reach = (kernel[axis] - 1) * np.broadcast_to(getattr(layer, "dilation_rate", 1), 2)[axis] + 1
            padded = max((made[axis] - 1) * stride + reach - given[axis], 0) if layer.padding == "same" else 0
            first += ((reach - 1) / 2 - padded // 2) * step
            step *= stride
        elif given != made:
            return None
    return float(first), float(step)


def keras_maps(model: Any, tensors: Pixels) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, h, w, K] of a mapped model."""
    with captured_stderr():
        return np.asarray(model.predict(tensors.astype(np.float32), verbose=0)[1], np.float32)
