"""A TFLite file for one tile -> a file for a block of tiles, by surgery on its graph: the weights stay the same bytes.

A network that pads nothing computes of a tile what it computes of the same pixels inside a larger picture. So the layers up to
the first that does more than look at a neighbourhood (it pools over all, flattens or pads) get a larger input, and compute
once what neighbouring tiles share. A GATHER then takes every tile's part of the result, and the rest of the network answers all
parts as a batch, with the very operators that answer one tile: in integers, bit for bit the same.
"""

import copy
import math
from collections.abc import Collection, Sequence

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.edge_app.errors import ConvertError, printable

Sides = tuple[int, int]  # of rows, and of columns

_POOLS = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D"})
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_ELEMENTWISE = frozenset(
    {
        *("ABS", "ADD", "CAST", "DEQUANTIZE", "DIV", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM"),
        *("MINIMUM", "MUL", "NEG", "PRELU", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SQRT"),
        *("SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH"),
    }
)
_BY_ROW = _POOLS | _CONVOLUTIONS | _ELEMENTWISE | {"FULLY_CONNECTED", "MEAN", "PAD", "RESHAPE"}  # of a batch, one after another
_GATHER_VERSION = {"INT8": 2, "INT16": 4}  # of other types 1: op_version.cc of TensorFlow

_BLOCK_TILES = 20  # both ways: the index of what tiles take grows with their number, 25 kB here (studies/tiles.py)
_BLOCK_PX = 256  # a larger block's values leave the caches of a processor


class Tiled(msgspec.Struct, frozen=True):
    """The file for a block of tiles: uint8 [1, height, width, C] in, a row of logits for each tile out, top row first."""

    data: bytes
    height: int
    width: int


class _Parts(msgspec.Struct, frozen=True):
    """A graph, parted where its values no longer have places of the picture."""

    steps: dict[int, Sides]  # value with places -> px from one to the next
    before: list[schema.OperatorT]  # make the values with places, and unpack weights
    seam: int  # the one value that the rest reads
    after: list[schema.OperatorT]


def block_tiles(size: int, stride: int) -> int:
    """How many tiles of a block, down and across: tiles of `size` px, one every `stride` px."""
    return max(2, min(_BLOCK_TILES, (_BLOCK_PX - size) // stride + 1))


def tiled(data: bytes, stride: int, rows: int, columns: int) -> Tiled:
    """A .tflite file of one image -> that of rows x columns tiles, `stride` px from each to the next. Raises ConvertError."""
    graph = Graph(data)
    parts = _parted(graph)
    step = parts.steps[parts.seam]
    if stride % step[0] or stride % step[1]:
        raise _cannot(f"the network looks at every {step[0]}x{step[1]} pixels, which does not divide the stride of {stride}")
    given = int(graph.main.inputs[0])
    _, height, width, channels = graph.shape(given)
    _, high, wide, _ = graph.shape(parts.seam)
    _set_shape(graph, given, (1, height + (rows - 1) * stride, width + (columns - 1) * stride, channels))
    _enlarge(graph, parts)
    taken = _windows(graph.shape(parts.seam)[2], (rows, columns), (stride // step[0], stride // step[1]), (high, wide))
    gathered, gathering = _gathering(graph, parts.seam, taken)
    for op in parts.after:
        _answer_rows(graph, op, rows * columns)
        op.inputs = np.array([gathered if index == parts.seam else index for index in op.inputs], np.int32)
    graph.main.operators = [*parts.before, *gathering, *parts.after]
    graph.main.outputs = np.array([_logits(graph)], np.int32)
    graph.model.signatureDefs = None  # they have the former shapes
    return Tiled(graph.data(), *graph.shape(given)[1:3])


def _cannot(met: str) -> ConvertError:
    return ConvertError("E-CONVERT-TILED", f"{met}: `limiar train --model windowed` makes a model whose tiles share work")


def _logits(graph: Graph) -> int:
    """The output that is not a class activation map."""
    return min(map(int, graph.main.outputs), key=lambda index: len(graph.shape(index)))


def _needed(graph: Graph) -> list[schema.OperatorT]:
    """The operators that the logits depend on, in order."""
    wanted = {_logits(graph)}
    found: list[schema.OperatorT] = []
    for op in reversed(graph.main.operators):
        if wanted.intersection(graph.outputs(op)):
            wanted.update(graph.inputs(op))
            found.insert(0, op)
    return found


def _parted(graph: Graph) -> _Parts:
    """Raises ConvertError: tiles share nothing, or the rest of the network cannot answer a batch."""
    steps: dict[int, Sides] = {int(graph.main.inputs[0]): (1, 1)}
    unpacked: set[int] = set()  # weights that an operator makes
    before: list[schema.OperatorT] = []
    after: list[schema.OperatorT] = []
    seams: dict[int, None] = {}
    for op in _needed(graph):
        read = [index for index in graph.inputs(op) if not graph.is_weight(index) and index not in unpacked]
        made = graph.outputs(op)
        placed = [steps[index] for index in read if index in steps]
        stride = _stride_of(graph, op, read) if len(set(placed)) == 1 and len(placed) == len(read) else None
        if not read:
            unpacked.update(made)
        elif stride:
            steps[made[0]] = (placed[0][0] * stride[0], placed[0][1] * stride[1])
        else:
            _check_by_row(graph, op)
            seams |= dict.fromkeys(index for index in read if index in steps)
        (before if not read or stride else after).append(op)
    if len(seams) != 1:
        raise _cannot("the network's end reads several values of the picture, or none")
    (seam,) = seams
    if not any(graph.operator(op) in _CONVOLUTIONS for op in before):
        raise _cannot("the first layer pads or looks at the whole tile, so tiles share nothing")
    return _Parts(steps, before, seam, after)


def _stride_of(graph: Graph, op: schema.OperatorT, read: Collection[int]) -> Sides | None:
    """Px of what it reads from one place of its result to the next; None if it pads, or looks at more than a neighbourhood."""
    kind = graph.operator(op)
    if kind in _ELEMENTWISE:
        others = [graph.shape(index) for index in graph.inputs(op) if index not in read]
        everywhere = all(math.prod(shape[:-1]) == 1 for shape in others)  # the same numbers at every place
        return (1, 1) if everywhere and len({graph.shape(index)[1:3] for index in read}) == 1 else None
    if kind not in _CONVOLUTIONS | _POOLS:
        return None
    given, made = graph.shape(graph.inputs(op)[0])[1:3], graph.shape(graph.outputs(op)[0])[1:3]
    stride, reach = _strides(op), _reach(graph, op)
    # SAME pads nothing where the strides end at the rim by themselves, as a pool of 2 does on even sides.
    padded = any((made[axis] - 1) * stride[axis] + reach[axis] > given[axis] for axis in (0, 1))
    return None if padded or (made == (1, 1) and given != (1, 1)) else stride


def _strides(op: schema.OperatorT) -> Sides:
    return int(op.builtinOptions.strideH), int(op.builtinOptions.strideW)


def _reach(graph: Graph, op: schema.OperatorT) -> Sides:
    """Rows and columns of what one place of the result is computed from."""
    options = op.builtinOptions
    if graph.operator(op) in _POOLS:
        return int(options.filterHeight), int(options.filterWidth)
    _, height, width, _ = graph.shape(graph.inputs(op)[1])
    return (height - 1) * int(options.dilationHFactor) + 1, (width - 1) * int(options.dilationWFactor) + 1


def _check_by_row(graph: Graph, op: schema.OperatorT) -> None:
    """Checks that an operator answers a batch as it answers one image after another. Raises ConvertError."""
    kind = graph.operator(op)
    mixes = kind == "MEAN" and 0 in _integers(graph, graph.inputs(op)[1])
    if kind not in _BY_ROW or mixes or any(graph.shape(index)[:1] != (1,) for index in graph.outputs(op)):
        raise _cannot(f"{printable(kind)} does not answer a batch")


def _enlarge(graph: Graph, parts: _Parts) -> None:
    """Gives every value with places the sides that follow from the input's."""
    for op in parts.before:
        (made,) = graph.outputs(op)
        if made not in parts.steps:
            continue
        height, width = next(graph.shape(index) for index in graph.inputs(op) if index in parts.steps)[1:3]
        if graph.operator(op) not in _ELEMENTWISE:
            stride, reach = _strides(op), _reach(graph, op)
            height, width = (height - reach[0]) // stride[0] + 1, (width - reach[1]) // stride[1] + 1
            op.builtinOptions.padding = schema.Padding.VALID
        _set_shape(graph, made, (1, height, width, graph.shape(made)[3]))


def _windows(across: int, tiles: Sides, step: Sides, sides: Sides) -> np.ndarray:
    """int32 [tiles, h, w]: the places of each tile's part, in a value with `across` places to a row, counted row by row."""
    rows = np.arange(tiles[0])[:, None] * step[0] + np.arange(sides[0])
    columns = np.arange(tiles[1])[:, None] * step[1] + np.arange(sides[1])
    places = rows[:, None, :, None] * across + columns[None, :, None, :]
    return places.reshape(-1, *sides).astype(np.int32)


def _gathering(graph: Graph, seam: int, taken: np.ndarray) -> tuple[int, list[schema.OperatorT]]:
    """A value with places, [1, H, W, F] -> the tiles' parts, [tiles, h, w, F], and the operators that take them."""
    _, height, width, features = graph.shape(seam)
    flat = _like(graph, seam, b"places", (height * width, features))
    gathered = _like(graph, seam, b"parts", (*taken.shape, features))
    reshape = schema.OperatorT(
        opcodeIndex=_code(graph, schema.BuiltinOperator.RESHAPE, 1),
        inputs=np.array([seam, _constant(graph, b"places_shape", np.array(graph.shape(flat), np.int32))], np.int32),
        outputs=np.array([flat], np.int32),
        builtinOptionsType=schema.BuiltinOptions.ReshapeOptions,
        builtinOptions=schema.ReshapeOptionsT(newShape=np.array(graph.shape(flat), np.int32)),
    )
    gather = schema.OperatorT(
        opcodeIndex=_code(graph, schema.BuiltinOperator.GATHER, _GATHER_VERSION.get(graph.type(seam), 1)),
        inputs=np.array([flat, _constant(graph, b"parts_places", taken)], np.int32),
        outputs=np.array([gathered], np.int32),
        builtinOptionsType=schema.BuiltinOptions.GatherOptions,
        builtinOptions=schema.GatherOptionsT(axis=0, batchDims=0),
    )
    return gathered, [reshape, gather]


def _answer_rows(graph: Graph, op: schema.OperatorT, batch: int) -> None:
    """Makes an operator answer a batch; it answered one image."""
    for index in graph.outputs(op):
        _set_shape(graph, index, (batch, *graph.shape(index)[1:]))
    if graph.operator(op) == "RESHAPE":
        shape = np.array(graph.shape(graph.outputs(op)[0]), np.int32)
        op.inputs = np.array([op.inputs[0], _constant(graph, b"rows_shape", shape)], np.int32)
        op.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        op.builtinOptions = schema.ReshapeOptionsT(newShape=shape)


def _set_shape(graph: Graph, index: int, shape: Sequence[int]) -> None:
    tensor = graph.main.tensors[index]
    tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None


def _like(graph: Graph, index: int, name: bytes, shape: Sequence[int]) -> int:
    """A new value of another's type, scale and zero point."""
    made = copy.deepcopy(graph.main.tensors[index])
    made.name = name
    graph.main.tensors.append(made)
    _set_shape(graph, len(graph.main.tensors) - 1, shape)
    return len(graph.main.tensors) - 1


def _constant(graph: Graph, name: bytes, values: np.ndarray) -> int:
    """A new int32 tensor in the file."""
    graph.model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
    buffer = len(graph.model.buffers) - 1
    shape = np.array(values.shape, np.int32)
    graph.main.tensors.append(schema.TensorT(shape=shape, type=schema.TensorType.INT32, buffer=buffer, name=name, hasRank=True))
    return len(graph.main.tensors) - 1


def _code(graph: Graph, number: int, version: int) -> int:
    """The place of a builtin in the file's list of operator codes, where it is put if it is not there."""
    for place, code in enumerate(graph.model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
            return place
    graph.model.operatorCodes.append(schema.OperatorCodeT(number, None, version, number))
    return len(graph.model.operatorCodes) - 1


def _integers(graph: Graph, index: int) -> list[int]:
    """The values of an int32 tensor in the file."""
    return [int(value) for value in np.frombuffer(bytes(graph.model.buffers[graph.main.tensors[index].buffer].data), np.int32)]
