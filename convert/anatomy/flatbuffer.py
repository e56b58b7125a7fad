"""A .tflite file's graph, read and written with the schema that LiteRT brings: needs no TensorFlow."""

import flatbuffers
import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from limiar.edge_app.errors import ConvertError

OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
TYPES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
FLOATS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})
PASSING = frozenset({"QUANTIZE", "DEQUANTIZE"})  # change how a value is written, not what it is
_IDENTIFIER = b"TFL3"
_NONE = -1  # an optional input that is left out


class Quantization(msgspec.Struct, frozen=True):
    """value = scale * (stored - zero point), for the whole tensor or for each channel."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


class Graph:
    """The main subgraph. The object API's parts may be changed before `data()` writes them."""

    def __init__(self, data: bytes) -> None:
        try:
            self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
            self.main = self.model.subgraphs[0]
            if data[4:8] != _IDENTIFIER:
                raise ValueError("no identifier")
        except Exception:  # the generated reader trusts its offsets: any error means a damaged file
            raise ConvertError("E-CONVERT-READ", "this is not a TFLite model: convert it again") from None

    def data(self) -> bytes:
        """The file's bytes."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def operator(self, op: schema.OperatorT) -> str:
        """The builtin's name, or a custom operator's own."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return text(code.customCode) if self.is_custom(op) else OPERATORS.get(_number(code), f"BUILTIN {_number(code)}")

    def is_custom(self, op: schema.OperatorT) -> bool:
        """Whether it is not a builtin: TensorFlow's own (Flex), or another library's."""
        return bool(_number(self.model.operatorCodes[op.opcodeIndex]) == schema.BuiltinOperator.CUSTOM)

    def version(self, op: schema.OperatorT) -> int:
        """The builtin's version, which a runtime must know."""
        return int(self.model.operatorCodes[op.opcodeIndex].version)

    def name(self, index: int) -> str:
        """A tensor's name."""
        return text(self.main.tensors[index].name)

    def type(self, index: int) -> str:
        """A tensor's type, "INT8"."""
        return str(TYPES[self.main.tensors[index].type])

    def shape(self, index: int) -> tuple[int, ...]:
        """A tensor's shape; -1 for a side that is not fixed."""
        tensor = self.main.tensors[index]
        signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        return () if signature is None else tuple(int(side) for side in signature)

    def quantization(self, index: int) -> Quantization | None:
        """A tensor's quantization; None if it is float or has none."""
        found = self.main.tensors[index].quantization
        if found is None or found.scale is None or not len(found.scale):
            return None
        return Quantization(tuple(map(float, found.scale)), tuple(map(int, found.zeroPoint)))

    def is_weight(self, index: int) -> bool:
        """Whether its values are in the file."""
        data = self.model.buffers[self.main.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def inputs(self, op: schema.OperatorT) -> list[int]:
        """An operator's tensors, without those left out."""
        return [int(index) for index in op.inputs if index != _NONE]

    def outputs(self, op: schema.OperatorT) -> list[int]:
        """An operator's tensors."""
        return [int(index) for index in op.outputs]


def _number(code: schema.OperatorCodeT) -> int:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))  # files from before 2021 have only the old field


def text(name: bytes | None) -> str:
    """A flatbuffer's string."""
    return (name or b"").decode(errors="replace")


def made_values(graph: Graph) -> list[int]:
    """The tensors that operators make, in the order of the operators."""
    return [index for op in graph.main.operators for index in graph.outputs(op)]


def show_all(data: bytes) -> bytes:
    """The file with all of `made_values` as its outputs, so that a runtime returns them; a delegate would drop them."""
    graph = Graph(data)
    graph.main.outputs = np.array(made_values(graph), np.int32)
    graph.model.signatureDefs = None  # they name the former outputs
    return graph.data()
