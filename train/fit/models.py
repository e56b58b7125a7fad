"""The networks. All take raw pixels 0..255 and return logits: scaling is inside, softmax is the app's."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from limiar.edge_app.bundle.manifest import InputSpec

# compact: 3x3 convolutions, (filters, stride). Chosen by cross-validation among nets whose int8 file has at most 64 KiB and
# invokes in a twelfth of LeNet's float32 time on one core (studies/architectures.py): full convolutions beat separable ones of
# the same latency (XNNPACK runs them at 80 G multiply-adds a second, and a depthwise layer has too little work for
# its overhead). docs/training.md has the tables.
COMPACT = ((16, 2), (16, 1), (32, 2), (32, 1), (48, 2), (48, 1))
# windowed: the same without padding, so one row and column of pixels step by 4 through it, and a larger picture is answered at
# every fourth pixel by one pass (convert/export/tiled.py). Without padding a third stride of 2 would leave one place of 40 px.
WINDOWED = ((16, 2), (16, 1), (32, 2), (32, 1), (48, 1))
BATCH_NORM_MOMENTUM = 0.9  # a run has some thousand steps: the default 0.99 averages over too many of them


def build(name: str, spec: InputSpec, classes: int, dropout: float) -> keras.Model:
    """A new network with random weights, [N, H, W, C] pixels 0..255 -> [N, classes] logits.

    dropout: the share of activations dropped before the last layer while training.
    """
    return BUILDERS[name](spec, classes, dropout)


def lenet(spec: InputSpec, classes: int, dropout: float) -> keras.Model:
    """The course's LeNet: two 5x5 convolutions with pooling, 500 dense units. One output per class, without its softmax.

    (The course's text gives the last layer one output per training image, a slip.)
    """
    return keras.Sequential(
        [
            keras.Input((spec.height, spec.width, spec.channels)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(20, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(50, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(classes, dtype="float32"),  # even if the rest computes in half precision
        ],
        name="lenet",
    )


def compact(spec: InputSpec, classes: int, dropout: float, filters: tuple[tuple[int, int], ...] = COMPACT) -> keras.Model:
    """A small convolutional net made for full-integer inference: batch norm that folds away, ReLU, global average pooling."""
    return _convolutional("compact", spec, classes, dropout, filters, "same")


def windowed(spec: InputSpec, classes: int, dropout: float) -> keras.Model:
    """`compact` without padding: what it computes of a tile, it computes of the same pixels inside a larger picture."""
    return _convolutional("windowed", spec, classes, dropout, WINDOWED, "valid")


def _convolutional(
    name: str, spec: InputSpec, classes: int, dropout: float, filters: tuple[tuple[int, int], ...], padding: str
) -> keras.Model:
    stack: list[keras.Layer] = [keras.Input((spec.height, spec.width, spec.channels)), layers.Rescaling(1 / 255)]
    for count, stride in filters:
        stack.append(layers.Conv2D(count, 3, stride, padding=padding, use_bias=False))
        stack.append(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM))
        stack.append(layers.ReLU())
    stack += [layers.GlobalAveragePooling2D(), layers.Dropout(dropout), layers.Dense(classes, dtype="float32")]
    return keras.Sequential(stack, name=name)


BUILDERS: dict[str, Callable[[InputSpec, int, float], keras.Model]] = {
    "compact": compact,
    "lenet": lenet,
    "windowed": windowed,
}


def deployable(model: keras.Model, temperature: float) -> keras.Model:
    """The same function divided by `temperature`, without what only training needs: the network in model.keras.

    Batch norm goes into the convolution before it, w' = w g / s and b' = b m - mean g / s with s = sqrt(variance + epsilon);
    the scaling of the pixels goes into the first convolution (it has no offset, so that zero padding stays right); dropout
    is left out; the last layer's weights and bias are divided by the temperature.
    """
    parts = [layer for layer in model.layers if not isinstance(layer, layers.Dropout)]
    stack: list[keras.Layer] = [keras.Input(model.input_shape[1:], name="pixels")]
    weights: list[list[np.ndarray]] = []
    scale = 1.0
    for layer, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(layer, layers.Rescaling):
            scale = layer.scale
        elif not isinstance(layer, layers.BatchNormalization):
            stack.append(_copy(layer, f"layer_{len(stack)}"))
            weights.append(_folded(layer, following, scale))
            scale = scale if not layer.weights else 1.0
    weights[-1] = [array / np.float32(temperature) for array in weights[-1]]
    folded = keras.Sequential(stack, name=model.name)
    for layer, arrays in zip(folded.layers, weights, strict=True):
        layer.set_weights(arrays)
    return folded


def trainable(model: keras.Model, temperature: float, dropout: float) -> keras.Model:
    """A network that `deployable` returned, made trainable again: times `temperature`, with dropout before the last layer.

    The scaling of pixels comes out of the first convolution again: AdamW steps by the rate, whatever a weight's size, and
    weights for pixels of 0..255 are 255 times too small for that. Batch norm stays where it is, in the weights.
    """
    parts = model.layers
    copies = [_copy(layer, layer.name) for layer in parts]
    first, last = (
        next(k for k in numbers if parts[k].weights) for numbers in (range(len(parts)), range(len(parts) - 1, -1, -1))
    )
    stack = [keras.Input(model.input_shape[1:]), layers.Rescaling(1 / 255), *copies]
    stack.insert(2 + last, layers.Dropout(dropout))
    grown = keras.Sequential(stack, name=model.name)
    for k, (layer, copy) in enumerate(zip(parts, copies, strict=True)):
        arrays = [array * np.float32(temperature if k == last else 1) for array in layer.get_weights()]
        if k == first:
            arrays[0] = arrays[0] * np.float32(255)
        copy.set_weights(arrays)
    return grown


def _copy(layer: keras.Layer, name: str) -> keras.Layer:
    """The layer in float32, without weights; a convolution gets the bias that its batch norm becomes."""
    # Keras numbers its own names through the process: with them the same run would not give the same file.
    config = layer.get_config() | {"name": name, "dtype": "float32"}
    if isinstance(layer, layers.Conv2D):
        config["use_bias"] = True
    return type(layer).from_config(config)


def _folded(layer: keras.Layer, following: keras.Layer | None, scale: float) -> list[np.ndarray]:
    """[kernel, bias] of a layer with `scale` before it and, if one follows, the batch norm after it; [] without weights."""
    if not layer.weights:
        return []
    kernel, *bias = (np.asarray(array, np.float64) for array in layer.get_weights())
    kernel, offset = kernel * scale, bias[0] if bias else np.zeros(kernel.shape[-1])
    if isinstance(following, layers.BatchNormalization):
        gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in following.get_weights())
        gain = gamma / np.sqrt(variance + following.epsilon)
        kernel, offset = kernel * gain, beta + (offset - mean) * gain
    return [kernel.astype(np.float32), offset.astype(np.float32)]
