"""A model file's parts: operators, float tensors, input and output. Needs no TensorFlow; onnx for ONNX files alone."""

from collections import Counter
from collections.abc import Collection, Iterable

from limiar.convert.anatomy.flatbuffer import FLOATS, PASSING, Graph, made_values
from limiar.edge_app.bundle.manifest import Count, Value
from limiar.edge_app.errors import ConvertError, printable

_NAMED = 5  # of many tensors


class Operator(Value, frozen=True, forbid_unknown_fields=True):
    """A kind of operator in a file, as a runtime must have it."""

    name: str  # "CONV_2D", "Conv", "com.microsoft.…"
    version: int  # TFLite: of the builtin; ONNX: the opset that last changed it
    count: Count


class Port(Value, frozen=True, forbid_unknown_fields=True):
    """An input or output. A float output that was dequantized last has its scale: it can only give multiples of it."""

    name: str
    type: str  # "UINT8"
    shape: tuple[int, ...]  # -1: not fixed
    scale: float | None = None
    zero_point: int | None = None


class Inventory(Value, frozen=True, forbid_unknown_fields=True):
    """A model file."""

    operators: tuple[Operator, ...]  # by name
    float_tensors: Count  # values and weights
    first_floats: tuple[str, ...]  # the names of the first five
    flex: tuple[str, ...]  # operators that only TensorFlow or someone's own library has
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external: tuple[str, ...] = ()  # weights in other files (ONNX)


def inventory(model_format: str, data: bytes) -> Inventory:
    """A model file's parts. model_format: "tflite" or "onnx". Raises ConvertError if it cannot be read."""
    return _tflite(Graph(data)) if model_format == "tflite" else _onnx(data)


def check_inventory(found: Inventory) -> None:
    """Checks what every file must fulfil. Raises ConvertError."""
    if found.flex:
        met = f"the file needs {printable(', '.join(found.flex[:_NAMED]))}, which only TensorFlow or a separate library has"
        raise ConvertError("E-CONVERT-FLEX", f"{met}: replace the layer that makes it")
    if found.external:
        met = f"the weights {printable(', '.join(found.external[:_NAMED]))} are in another file"
        raise ConvertError("E-CONVERT-EXTERNAL", f"{met}: keep them inside the model")
    if len(found.inputs) != 1:
        names = printable(", ".join(port.name for port in found.inputs[:_NAMED]))
        raise ConvertError("E-CONVERT-INPUTS", f"the file has {len(found.inputs)} inputs ({names}): give it one, the image")
    for port in (*found.inputs, *found.outputs):
        if not port.shape or min(port.shape) < 1:
            met = f"{printable(port.name)} has the shape {list(port.shape)}"
            raise ConvertError("E-CONVERT-DYNAMIC", f"{met}: devices need fixed dimensions, and a batch of 1")


def check_full_integer(data: bytes, kept: Collection[str] = ()) -> None:
    """Checks that an integer file reads raw pixels less 128, gives int8 and computes no float. Raises ConvertError.

    kept: names of the values that layers kept in float make; these layers' tensors may be float.
    """
    graph = Graph(data)
    floats = [graph.name(index) for index in made_values(graph) if graph.type(index) in FLOATS]
    if lost := [name for name in kept if not any(_is_called(found, name) for found in floats)]:
        met = f"TensorFlow did not keep {printable(lost[0])} in float"
        raise ConvertError("E-CONVERT-KEPT", f"{met}: choose another layer")
    declared = set(_around(graph, kept))
    others = [index for index in range(len(graph.main.tensors)) if graph.type(index) in FLOATS and index not in declared]
    if others:
        first = printable(f"{graph.name(others[0])} {graph.type(others[0])}")
        met = f"the integer file has {len(others)} float tensors, {first} first"
        raise ConvertError("E-CONVERT-FLOAT", f"{met}: replace the layer that has no integer kernel")
    found = _tflite(graph)
    given = found.inputs[0]
    if (given.type, given.scale, given.zero_point) != ("INT8", 1.0, -128):
        met = f"the integer file's input is {given.type} with scale {given.scale} and zero point {given.zero_point}"
        cure = "not INT8 with 1.0 and -128: raw pixels would be misread; scaling belongs in the graph"
        raise ConvertError("E-CONVERT-SCALE", f"{met}, {cure}")
    for output in found.outputs:
        if output.type != "INT8":
            met = f"the integer file's output {printable(output.name)} is {output.type}, not INT8"
            raise ConvertError("E-CONVERT-FLOAT", f"{met}: the last layer must have an integer kernel")


def _around(graph: Graph, kept: Collection[str]) -> Iterable[int]:
    """The tensors that a layer kept in float reads and makes."""
    for op in graph.main.operators:
        made = [graph.name(index) for index in graph.outputs(op)]
        if graph.operator(op) not in PASSING and any(_is_called(found, name) for found in made for name in kept):
            yield from (*graph.inputs(op), *graph.outputs(op))


def _is_called(found: str, name: str) -> bool:
    """The converter adds a number if a float layer's value and its integer copy would have the same name."""
    return found.startswith(name) and found[len(name) :].isdecimal() or found == name


def _tflite(graph: Graph) -> Inventory:
    operators = [op for part in graph.model.subgraphs for op in part.operators]
    tensors = range(len(graph.main.tensors))
    floats = [graph.name(index) for index in tensors if graph.type(index) in FLOATS]
    builtin = Counter((graph.operator(op), graph.version(op)) for op in operators)
    return Inventory(
        operators=_sorted(builtin),
        float_tensors=len(floats),
        first_floats=tuple(floats[:_NAMED]),
        flex=tuple(sorted({graph.operator(op) for op in operators if graph.is_custom(op)})),
        inputs=tuple(_port(graph, int(index)) for index in graph.main.inputs),
        outputs=tuple(_port(graph, int(index)) for index in graph.main.outputs),
    )


def _port(graph: Graph, index: int) -> Port:
    quantized = graph.quantization(index)
    scale, zero_point = (quantized.scales[0], quantized.zero_points[0]) if quantized else (None, None)
    return Port(graph.name(index), graph.type(index), graph.shape(index), scale, zero_point)


def _sorted(counted: Counter[tuple[str, int]]) -> tuple[Operator, ...]:
    return tuple(Operator(name, version, count) for (name, version), count in sorted(counted.items()))


def _onnx(data: bytes) -> Inventory:
    import onnx

    try:
        model = onnx.load_from_string(data)
        if not model.graph.node:  # an empty file is a valid message
            raise ValueError("it has no nodes")
        typed = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf's and onnx's own, which share no base class
        reason = printable(" ".join(str(error).split()))[:160]
        raise ConvertError("E-CONVERT-READ", f"this is not an ONNX model ({reason}): convert it again") from None
    opsets = {opset.domain: int(opset.version) for opset in model.opset_import}
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    weights = {weight.name: weight.data_type for weight in model.graph.initializer}
    given = [value for value in typed.graph.input if value.name not in weights]
    values = {value.name: value.type.tensor_type.elem_type for value in (*given, *typed.graph.value_info, *typed.graph.output)}
    named = [name for name, kind in (weights | values).items() if kind in floats]

    def operator(node: "onnx.NodeProto") -> tuple[str, int]:
        if node.domain:
            return f"{node.domain}.{node.op_type}", opsets.get(node.domain, 1)
        try:
            return node.op_type, int(onnx.defs.get_schema(node.op_type, opsets.get("", 1), "").since_version)
        except onnx.defs.SchemaError:
            return node.op_type, 0

    constants = {weight.name: weight for weight in model.graph.initializer}
    scales = {
        node.output[0]: float(onnx.numpy_helper.to_array(constants[node.input[1]]))
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[1] in constants and not constants[node.input[1]].dims
    }

    def port(value: "onnx.ValueInfoProto") -> Port:
        kind = value.type.tensor_type
        sides = tuple(int(side.dim_value) if side.HasField("dim_value") else -1 for side in kind.shape.dim)
        return Port(value.name, onnx.TensorProto.DataType.Name(kind.elem_type), sides, scales.get(value.name))

    found = Counter(map(operator, model.graph.node))
    return Inventory(
        operators=_sorted(found),
        float_tensors=len(named),
        first_floats=tuple(named[:_NAMED]),
        # onnxruntime brings com.microsoft itself; any other domain, or a name that ONNX does not have, is a library's own.
        flex=tuple(sorted({name for name, version in found if version == 0 or _foreign(name)})),
        inputs=tuple(map(port, given)),
        outputs=tuple(map(port, typed.graph.output)),
        external=tuple(weight.name for weight in model.graph.initializer if weight.data_location == onnx.TensorProto.EXTERNAL),
    )


def _foreign(name: str) -> bool:
    return "." in name and not name.startswith(("com.microsoft.", "ai.onnx.ml."))
