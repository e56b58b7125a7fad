"""How much noise each layer of a TFLite file adds: its own, and what has gathered up to it.

10 log10(sum of ref^2 / sum of (x - ref)^2) over all images and elements, in dB. `snr_db` is a layer's own: ref is what the same
layer of the fp32 file gives for the very values that the layer of this file got, so that what went wrong before it does not
count. `cumulative_snr_db` is against the Keras model's layer: all that went wrong so far.
"""

import copy
import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from limiar.convert.anatomy.flatbuffer import PASSING, Graph, made_values, show_all
from limiar.convert.anatomy.keras_layers import LayerValue, layer_values
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import Value
from limiar.edge_app.system.stderr import captured_stderr

LAYER_IMAGES = 32  # of validation
CEILING_DB = 100.0  # a float32's last bits, in which processors differ, are at 140 dB: more than this means "the same"
_BATCH = 8  # images whose layer values are held at once
_SAME = 1e-3  # of a value's largest element: an fp32 file's and Keras's differ by their rounding alone
_NUMBERED = re.compile(r"(_int16)?\d*\Z")  # what the converter adds to a name that it has given already


class LayerNoise(Value, frozen=True, forbid_unknown_fields=True):
    """One operator of a TFLite file."""

    layer: str  # in Keras's names; several that became one operator are joined by " + "
    operator: str  # "CONV_2D"
    snr_db: float | None  # None: the fp32 file has no such operator to compare it with
    cumulative_snr_db: float | None  # None: no Keras layer gives this value (between the halves of a SeparableConv2D)
    value: str  # its name in the fp32 file, or else in this one; `float_layers` of convert_tflite takes it


def layer_noise(model: Any, fp32: bytes, quantized: bytes, tensors: Pixels) -> tuple[LayerNoise, ...]:
    """Each operator's noise, in the file's order, both figures rounded to 0.1 dB.

    model: the Keras model; fp32, quantized: .tflite files of it; tensors: uint8 [N, H, W, C], images of validation.
    """
    graph, float_graph = Graph(quantized), Graph(fp32)
    pairs = _pairs(graph, float_graph)
    names, calls = _keras_names(model, fp32, tensors[:_BATCH])
    shown, cut = _Runner(show_all(quantized)), _Runner(_cut(float_graph, pairs))
    own, gathered = [_Ratio() for _ in pairs], [_Ratio() for _ in pairs]
    for start in range(0, len(tensors), _BATCH):
        batch = tensors[start : start + _BATCH]
        layers = layer_values(model, batch)
        for row, image in enumerate(batch):
            values = dict(zip(made_values(graph), shown.run([image]), strict=True)) | {int(graph.main.inputs[0]): image}
            expected = iter(cut.run([values[index] for pair in pairs if pair.twin is not None for index in pair.read]))
            for pair, alone, so_far in zip(pairs, own, gathered, strict=True):
                found = [values[index] for index in pair.made]
                if pair.twin is not None:
                    alone.add([next(expected) for _ in found], found)
                elif pair.operator in PASSING:
                    alone.add([values[index] for index in pair.read], found)
                if pair.float_value in calls:
                    so_far.add([layers[calls[pair.float_value]].value[row]], found[:1])
    return tuple(
        LayerNoise(
            layer=names.get(pair.float_value, pair.name),
            operator=pair.operator,
            snr_db=alone.decibels(),
            cumulative_snr_db=so_far.decibels(),
            value=pair.name,
        )
        for pair, alone, so_far in zip(pairs, own, gathered, strict=True)
    )


def layer_names(data: bytes, fp32: bytes, noise: Sequence[LayerNoise]) -> dict[int, str]:
    """The tensors that a file's operators make -> their layers. noise: of any files made from the same fp32 file."""
    known = {layer.value: layer.layer for layer in noise}
    return {index: known.get(pair.name, pair.name) for pair in _pairs(Graph(data), Graph(fp32)) for index in pair.made}


def too_noisy(noise: Sequence[LayerNoise], floor_db: float) -> tuple[LayerNoise, ...]:
    """The layers whose own noise is above the floor; those that could not be compared are not among them."""
    return tuple(layer for layer in noise if layer.snr_db is not None and layer.snr_db < floor_db)


class _Ratio:
    """Signal to noise, gathered image by image."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0
        self._any = False

    def add(self, expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
        for ref, x in zip(expected, found, strict=True):
            wanted = ref.astype(np.float64).ravel()
            self._signal += float(np.square(wanted).sum())
            self._noise += float(np.square(x.astype(np.float64).ravel() - wanted).sum())
            self._any = True

    def decibels(self) -> float | None:
        """None if nothing was compared; a value that is all zero, and should be, is as good as can be."""
        if not self._any:
            return None
        if self._noise == 0.0:
            return CEILING_DB
        if self._signal == 0.0 or not math.isfinite(self._noise):
            return -CEILING_DB
        return round(max(-CEILING_DB, min(CEILING_DB, 10 * math.log10(self._signal / self._noise))), 1)


class _Runner:
    """A file of float or quantized values under LiteRT; values go in and come out as the numbers that they stand for."""

    def __init__(self, data: bytes) -> None:
        with captured_stderr():
            self._interpreter = Interpreter(model_content=data)
            self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays in the order of the inputs -> arrays in the order of the outputs."""
        for given, value in zip(self._inputs, values, strict=True):
            scale, zero_point = given["quantization"]
            stored = np.rint(value / scale + zero_point) if scale else value
            self._interpreter.set_tensor(given["index"], stored.reshape(given["shape"]).astype(given["dtype"]))
        self._interpreter.invoke()
        return [self._value(output) for output in self._outputs]

    def _value(self, output: dict[str, Any]) -> np.ndarray:
        value = np.asarray(self._interpreter.get_tensor(output["index"]))
        scale, zero_point = output["quantization"]
        return (value.astype(np.float32) - np.float32(zero_point)) * np.float32(scale) if scale else value


class _Pair(msgspec.Struct, frozen=True):
    """An operator of a file, and the one of the fp32 file that does the same."""

    operator: str
    name: str  # of the value it makes
    read: tuple[int, ...]  # the file's tensors, without weights
    made: tuple[int, ...]
    twin: int | None  # the fp32 file's operator
    float_value: int  # the fp32 file's tensor that stands for the first of `made`; -1: none does


def _pairs(graph: Graph, floats: Graph) -> list[_Pair]:
    """Pairs the operators that compute by what they read: names and order differ between precisions, the wiring does not.

    QUANTIZE is listed, alone: it adds noise. DEQUANTIZE adds none.
    """
    same = dict(zip(map(int, graph.main.inputs), map(int, floats.main.inputs), strict=True))
    unpacked: set[int] = set()  # weights that the file keeps in a smaller type
    left = [index for index, op in enumerate(floats.main.operators)]
    pairs = []
    for op in graph.main.operators:
        kind, made = graph.operator(op), tuple(graph.outputs(op))
        read = tuple(index for index in graph.inputs(op) if not graph.is_weight(index) and index not in unpacked)
        if not read:
            unpacked.update(made)
            continue
        twin = None
        if kind in PASSING:
            same[made[0]] = same.get(read[0], -1)
        else:
            twin = _twin(graph, op, floats, left, [same.get(index, -1) for index in read])
            if twin is not None:
                left.remove(twin)
                same.update(zip(made, floats.outputs(floats.main.operators[twin]), strict=True))
        float_value = same.get(made[0], -1)
        if kind != "DEQUANTIZE":
            name = floats.name(float_value) if float_value >= 0 else graph.name(made[0])
            pairs.append(_Pair(kind, name, read, made, twin, float_value))
    return pairs


def _twin(graph: Graph, op: Any, floats: Graph, left: list[int], read: list[int]) -> int | None:
    """The fp32 file's operator of the same kind that reads the same values; of several, the one with the same names."""
    named = {_plain(graph.name(index)) for index in (*graph.inputs(op), *graph.outputs(op))}

    def alike(index: int) -> int:
        other = floats.main.operators[index]
        return len(named & {_plain(floats.name(tensor)) for tensor in (*floats.inputs(other), *floats.outputs(other))})

    same_kind = [i for i in left if _kind(floats, floats.main.operators[i]) == _kind(graph, op)]
    fitting = [index for index in same_kind if _read(floats, index) == read]
    if not fitting:  # something before it was fused differently: then its own name must match
        made = _plain(graph.name(graph.outputs(op)[0]))
        fitting = [i for i in same_kind if _plain(floats.name(floats.outputs(floats.main.operators[i])[0])) == made]
        fitting = [i for i in fitting if len(_read(floats, i)) == len(read)]
    return max(fitting, key=alike, default=None)


def _kind(graph: Graph, op: Any) -> tuple[str, int]:
    """What it does; with a fused ReLU it does something else."""
    return graph.operator(op), int(getattr(op.builtinOptions, "fusedActivationFunction", 0))


def _read(graph: Graph, index: int) -> list[int]:
    return [tensor for tensor in graph.inputs(graph.main.operators[index]) if not graph.is_weight(tensor)]


def _plain(name: str) -> str:
    return _NUMBERED.sub("", name)


def _cut(floats: Graph, pairs: Sequence[_Pair]) -> bytes:
    """The paired operators of the fp32 file side by side, each with inputs of its own: every wire between them is cut."""
    given, made, operators = [], [], []
    for pair in pairs:
        if pair.twin is None:
            continue
        op = floats.main.operators[pair.twin]
        renamed = {}
        for index in _read(floats, pair.twin):
            tensor = copy.copy(floats.main.tensors[index])
            tensor.buffer = 0  # the empty one
            renamed[index] = len(floats.main.tensors)
            floats.main.tensors.append(tensor)
            given.append(renamed[index])
        op.inputs = np.array([renamed.get(int(index), int(index)) for index in op.inputs], np.int32)
        made.extend(floats.outputs(op))
        operators.append(op)
    floats.main.operators = operators
    floats.main.inputs, floats.main.outputs = np.array(given, np.int32), np.array(made, np.int32)
    floats.model.signatureDefs = None
    return floats.data()


def _keras_names(model: Any, fp32: bytes, tensors: Pixels) -> tuple[dict[int, str], dict[int, int]]:
    """The fp32 file's tensor -> the Keras layers that it is the outcome of, and -> the last one's call.

    A tensor belongs to the layer that gives the same values; layers before it whose values the file does not have were fused
    into the same operator. A tensor that no layer gives belongs to the next tensor that one does.
    """
    graph = Graph(fp32)
    made = made_values(graph)
    found = _Runner(show_all(fp32)).run([tensors[0]])
    layers = layer_values(model, tensors[:1])
    calls: dict[int, int] = {}
    for index, value in zip(made, found, strict=True):
        if (call := _same_values(layers, value)) is not None:
            calls[index] = call
    names = {index: " + ".join(_fused(layers, call, set(calls.values()))) for index, call in calls.items()}
    names[int(graph.main.inputs[0])] = str(model.inputs[0].name)
    for index in made:
        names.setdefault(index, names.get(_next_named(graph, index, calls), graph.name(index)))
    return names, calls


def _next_named(graph: Graph, index: int, calls: dict[int, int]) -> int:
    """The tensor of `calls` that this one leads to; -1 if it leads to none."""
    for op in graph.main.operators:
        if index in graph.inputs(op):
            index = graph.outputs(op)[0]
            if index in calls:
                return index
    return -1


def _same_values(layers: Sequence[LayerValue], value: np.ndarray) -> int | None:
    """The first call of those that come closest, if that is close enough; one of the same shape, if there is one."""
    close = []
    for index, layer in enumerate(layers):
        if layer.value.size == value.size:
            largest = float(np.abs(layer.value).max()) or 1.0
            difference = float(np.abs(layer.value.ravel() - value.ravel()).max()) / largest
            if difference < _SAME:
                close.append((layer.value.shape != value.shape, difference, index))
    return min(close)[2] if close else None


def _fused(layers: Sequence[LayerValue], call: int, known: set[int]) -> list[str]:
    """The names of the layers up to this call since the last that the file has a value for."""
    names = [layers[call].name]
    while len(layers[call].read) == 1 and (call := layers[call].read[0]) >= 0 and call not in known:
        names.insert(0, layers[call].name)
    return names
