"""What a model file asks of a processor: its operators, their multiply-accumulates, parameters and memory. TFLite only.

onnxruntime says which operators ran and for how long, but not what they multiply: its kernels pack the weights away.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

XNNPACK = "XNNPACK"  # the delegate of LiteRT and TFLite

# Operators that multiply -> the places of their weights and bias among their inputs.
_OPERANDS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (1,),
}


class Step(Struct, frozen=True):
    """An operator of a model file."""

    name: str  # "CONV_2D"
    shape: tuple[int, ...]  # of its first output
    macs: int
    runs_in: str  # XNNPACK, or the runtime itself


class Work(Struct, frozen=True):
    """What one inference takes."""

    parameters: int | None  # weights and biases of the operators that multiply; None: the runtime does not say
    macs: int | None  # multiply-accumulates
    arena_bytes: int | None  # of the tensors between the operators, by the runtime's own planner, without a delegate
    weights: str | None  # "int8", "float32": the type of most weights
    gmacs_per_s: float | None = None  # thousand million a second, at the median of invoke
    peak_share: float | None = None  # of what this processor was measured to do with the same weights and threads, 0..1


def steps(interpreter: Any, runtime: str) -> list[Step]:
    """The operators, in order. interpreter: with its tensors allocated."""
    details = interpreter._get_ops_details()  # what TensorFlow's own analyzer reads
    shapes = {one["index"]: tuple(map(int, one["shape"])) for one in interpreter.get_tensor_details()}
    operators = [one for one in details if one["op_name"] != "DELEGATE"]
    delegated = set(_delegated(operators, [one for one in details if one["op_name"] == "DELEGATE"]))
    return [
        Step(
            name=one["op_name"],
            shape=shapes.get(int(one["outputs"][0]), ()) if len(one["outputs"]) else (),
            macs=_macs(one, shapes),
            runs_in=XNNPACK if one["index"] in delegated else runtime,
        )
        for one in operators
    ]


def work_of(plain: Any) -> Work:
    """plain: an interpreter without a delegate, with its tensors allocated."""
    details = [one for one in plain._get_ops_details() if one["op_name"] != "DELEGATE"]
    tensors = {one["index"]: one for one in plain.get_tensor_details()}
    shapes = {index: tuple(map(int, one["shape"])) for index, one in tensors.items()}
    behind = {int(one["outputs"][0]): int(one["inputs"][0]) for one in details if one["op_name"] == "DEQUANTIZE"}
    made = {int(output) for one in details if one["op_name"] != "DEQUANTIZE" for output in one["outputs"]}
    given = {one["index"] for one in plain.get_input_details()}
    constants = {
        index
        for one in details
        for place in _OPERANDS.get(one["op_name"], ())
        if place < len(one["inputs"]) and (index := int(one["inputs"][place])) in shapes and index not in made | given
    }
    counts: dict[str, int] = {}
    for index in constants:
        stored = tensors[behind.get(index, index)]
        kind = stored["dtype"].__name__
        counts[kind] = counts.get(kind, 0) + math.prod(shapes[index])
    return Work(
        parameters=sum(counts.values()),
        macs=sum(_macs(one, shapes) for one in details),
        arena_bytes=_covered([*_places(plain, sorted(made | given))]),
        weights=max(counts, key=lambda kind: counts[kind]) if counts else None,
    )


def _delegated(operators: Sequence[Mapping[str, Any]], delegates: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """The operators that a delegate runs: all that lie between its inputs and its outputs."""
    maker = {int(output): one for one in operators for output in one["outputs"]}
    for delegate in delegates:
        edge, seen = {int(index) for index in delegate["inputs"]}, set[int]()
        behind = [int(index) for index in delegate["outputs"]]
        while behind:
            one = maker.get(behind.pop())
            if one is not None and one["index"] not in seen:
                seen.add(one["index"])
                behind += [int(index) for index in one["inputs"] if int(index) not in edge]
        yield from seen


def _macs(one: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> int:
    """Multiply-accumulates: of a convolution, each weight once for every pixel of every output."""
    name, inputs = one["op_name"], [int(index) for index in one["inputs"]]
    if name not in _OPERANDS or len(inputs) < 2 or not len(one["outputs"]):
        return 0
    output, weights = shapes[int(one["outputs"][0])], shapes.get(inputs[1], ())
    if name == "BATCH_MATMUL":
        return math.prod(output) * shapes[inputs[0]][-1]
    if name == "TRANSPOSE_CONV":  # its input comes third: each of its pixels meets every weight
        return math.prod(shapes[inputs[2]][:-1]) * math.prod(weights) if len(inputs) > 2 else 0
    return math.prod(output[:-1]) * math.prod(weights)


def _places(plain: Any, indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where tensors lie in memory, as (start, end); those that have no place are left out."""
    for index in indices:
        try:
            array = plain.tensor(index)()
        except ValueError:  # it has no memory: nothing reads it
            continue
        start = array.__array_interface__["data"][0]
        yield start, start + array.nbytes


def _covered(places: list[tuple[int, int]]) -> int:
    """The bytes that intervals cover together: the planner lays tensors of different times over each other."""
    covered, reached = 0, 0
    for start, end in sorted(places):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered
