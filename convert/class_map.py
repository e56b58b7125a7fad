"""The class activation map as a second output of the same graph, where that ends in global average pooling and a dense layer.

B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, Learning Deep Features for Discriminative Localization (CVPR 2016),
section 2: the mean over places and the dense layer are both linear, so that they can change places. The dense layer, applied at
every place as a convolution of 1x1, gives a map of each label; its mean over the places is the label's logit.
"""

from typing import Any

import numpy as np

from convert.ends import PASSING
from convert.frameworks import keras
from edge_app.errors import ConvertError
from edge_app.frame import Pixels
from edge_app.stderr import captured_stderr

LAYER = "class_map"
_DECIMALS = 3  # of a cosine


def mapped(model: Any, where: str) -> Any:
    """A model of logits [N, K] -> one of the same logits and of their map [N, h, w, K]. Raises ConvertError.

    The logits stay computed as they were, so that the map costs no answer a bit. The bias is part of the map: the mean over h
    and w is the logit. Dense layers without activation behind one another count as one.
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


def keras_maps(model: Any, tensors: Pixels) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, h, w, K] of a mapped model."""
    with captured_stderr():
        return np.asarray(model.predict(tensors.astype(np.float32), verbose=0)[1], np.float32)


def alike(maps: np.ndarray, keras: np.ndarray) -> float | None:
    """Cosine between two sets of maps [N, h, w, K], each map less its mean, which is the logit; None where either is flat.

    -1 where they have other sides, or are not of numbers.
    """
    if maps.shape != keras.shape or not np.isfinite(maps).all():
        return -1.0
    a, b = (values - values.mean(axis=(1, 2), keepdims=True) for values in (maps.astype(np.float64), keras.astype(np.float64)))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return round(float((a * b).sum()) / norms, _DECIMALS) if norms > 0 else None
