"""What `limiar inspect` shows of a model file: inventory, layers, and how their values and weights are quantized."""

import os
from pathlib import Path

import msgspec
import numpy as np

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.anatomy.inventory import Inventory, inventory
from limiar.convert.anatomy.layers import LayerNoise
from limiar.edge_app.bundle.manifest import Count, Manifest, Name, Value
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import ConvertError, printable

_REPORT = "report.json"


class Tensor(Value, frozen=True, forbid_unknown_fields=True):
    """A value or a weight. value = scale * (stored - zero_point)."""

    name: str
    type: str  # "INT8"
    shape: tuple[int, ...]
    channels: Count = 0  # how many scales it has; 0: not quantized
    scale: float | None = None  # the smallest, if each channel has one
    largest_scale: float | None = None  # if each channel has one
    zero_point: int | None = None  # the first; weights of TFLite files have 0 everywhere


class Layer(Value, frozen=True, forbid_unknown_fields=True):
    """An operator, in the order of the file."""

    operator: str
    value: Tensor  # what it makes; of several, the first
    weights: tuple[Tensor, ...]


class Details(Value, frozen=True, forbid_unknown_fields=True):
    """A model file of a bundle."""

    name: Name
    format: str
    precision: Name
    bytes: Count
    inventory: Inventory
    layers: tuple[Layer, ...]
    noise: tuple[LayerNoise, ...]  # as the bundle's report has it; TFLite alone


class Inspection(msgspec.Struct, frozen=True):
    """A bundle's model files."""

    bundle: Manifest
    files: tuple[Details, ...]  # by name


class _FileReport(msgspec.Struct, frozen=True):
    """The needed part of report.json; an older limiar wrote no noise."""

    name: str
    layers: tuple[LayerNoise, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    files: tuple[_FileReport, ...]


def inspect(bundle: str | os.PathLike[str], file: str | None = None) -> Inspection:
    """Shows what a bundle's model files are made of, or one of them. Needs no TensorFlow.

    Raises BundleError if the bundle or its file is not what the manifest says, and ConvertError.

        for file in inspect("models/lung-nodule").files:
            print(file.name, file.bytes, file.inventory.float_tensors)
            for layer in file.layers:
                print(layer.operator, layer.value.shape)
    """
    opened = open_bundle(Path(bundle))
    noise = _noise(opened)
    found = []
    for name in [file] if file else sorted(opened.manifest.models):
        model, data = opened.model(name)
        layers = _tflite(Graph(data)) if model.format == "tflite" else _onnx(data)
        parts = inventory(model.format, data)
        found.append(Details(name, model.format, model.precision, len(data), parts, tuple(layers), noise.get(name, ())))
    return Inspection(opened.manifest, tuple(found))


def _noise(bundle: Bundle) -> dict[str, tuple[LayerNoise, ...]]:
    if all(file.path != _REPORT for file in bundle.manifest.files):
        return {}
    try:
        report = msgspec.json.decode(bundle.read(_REPORT), type=_Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        where = printable(f"{bundle.path}/{_REPORT}")
        raise ConvertError("E-CONVERT-READ", f"{where}: {printable(str(error))[:200]}: convert the model again") from None
    return {file.name: file.layers for file in report.files}


def _tflite(graph: Graph) -> list[Layer]:
    return [
        Layer(
            graph.operator(op),
            _tensor(graph, graph.outputs(op)[0]),
            tuple(_tensor(graph, index) for index in graph.inputs(op) if graph.is_weight(index)),
        )
        for op in graph.main.operators
        if len(op.outputs)
    ]


def _tensor(graph: Graph, index: int) -> Tensor:
    found = graph.quantization(index)
    name, kind, shape = graph.name(index), graph.type(index), graph.shape(index)
    return _quantized(name, kind, shape, found.scales, found.zero_points) if found else Tensor(name, kind, shape)


def _quantized(name: str, kind: str, shape: tuple[int, ...], scales: tuple[float, ...], zero_points: tuple[int, ...]) -> Tensor:
    return Tensor(
        name,
        kind,
        shape,
        len(scales),
        min(scales),
        max(scales) if len(scales) > 1 else None,
        zero_points[0] if zero_points else 0,
    )


def _onnx(data: bytes) -> list[Layer]:
    """An ONNX file says how a value is quantized in the nodes QuantizeLinear and DequantizeLinear."""
    import onnx
    from onnx import numpy_helper

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    weights = {weight.name: weight for weight in model.graph.initializer}
    values = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}

    def array(name: str) -> np.ndarray:
        return np.atleast_1d(numpy_helper.to_array(weights[name]))

    def tensor(name: str, node: onnx.NodeProto) -> Tensor:
        if name in weights:
            kind, shape = weights[name].data_type, tuple(map(int, weights[name].dims))
        else:
            kind = values[name].elem_type if name in values else onnx.TensorProto.UNDEFINED
            shape = tuple(int(side.dim_value) for side in values[name].shape.dim) if name in values else ()
        written = onnx.TensorProto.DataType.Name(kind)
        # What QuantizeLinear makes and DequantizeLinear reads is stored with the scale and zero point beside it.
        stored = {"QuantizeLinear": node.output[0], "DequantizeLinear": node.input[0]}.get(node.op_type)
        if name != stored or node.input[1] not in weights:
            return Tensor(name, written, shape)
        zero_points = array(node.input[2]).ravel().tolist() if len(node.input) > 2 else [0]
        return _quantized(name, written, shape, tuple(map(float, array(node.input[1]))), tuple(map(int, zero_points)))

    return [
        Layer(node.op_type, tensor(node.output[0], node), tuple(tensor(name, node) for name in node.input if name in weights))
        for node in model.graph.node
    ]
