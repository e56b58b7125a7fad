"""Changes the scale of one layer of a TFLite file, to prove that the check of layers sees it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from limiar.convert.anatomy.flatbuffer import PASSING, Graph

FACTORS = (0.9, 1.1)


class Damage(msgspec.Struct, frozen=True):
    """One layer's damage."""

    layer: int  # its index in layer_noise's result
    factor: float
    weights: bool  # True: its weights' scale was changed; False: it has no weights, and its output's scale was
    data: bytes


def damages(data: bytes) -> Iterator[Damage]:
    """Damages every layer of an integer file in turn, by each of FACTORS.

    The scale of a bias changes with that of the weights: it is the product of theirs and the input's.
    """
    for layer, op in enumerate(_layers(Graph(data))):
        for factor in () if Graph(data).operator(op) in PASSING else FACTORS:
            graph = Graph(data)
            op = _layers(graph)[layer]
            weights = [index for index in graph.inputs(op) if graph.is_weight(index) and graph.quantization(index)]
            for index in weights or graph.outputs(op):
                if quantized := graph.quantization(index):
                    graph.main.tensors[index].quantization.scale = [scale * factor for scale in quantized.scales]
            yield Damage(layer, factor, bool(weights), graph.data())


def _layers(graph: Graph) -> list[Any]:
    """The operators that layer_noise lists."""
    return [op for op in graph.main.operators if graph.operator(op) != "DEQUANTIZE"]
