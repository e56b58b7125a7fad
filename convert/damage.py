"""A TFLite file with one layer's scale changed on purpose, to prove that the check of layers sees it."""

from collections.abc import Iterator

import msgspec

from convert.flatbuffer import PASSING, Graph

FACTORS = (0.9, 1.1)


class Damage(msgspec.Struct, frozen=True):
    """One layer's damage."""

    operator: int  # its place in the file
    factor: float
    weights: bool  # its weights' scale was changed; else, as it has none, that of the value which it makes
    data: bytes


def damages(data: bytes) -> Iterator[Damage]:
    """Every layer of an integer file in turn, by each of FACTORS.

    The scale of a bias is the product of those of input and weights, and kernels refuse a file where it is another: it goes along.
    """
    for place, op in enumerate(Graph(data).main.operators):
        for factor in FACTORS:
            graph = Graph(data)
            op = graph.main.operators[place]
            if graph.operator(op) in PASSING:
                continue
            weights = [index for index in graph.inputs(op) if graph.is_weight(index) and graph.quantization(index)]
            for index in weights or graph.outputs(op):
                quantization = graph.main.tensors[index].quantization
                quantization.scale = [scale * factor for scale in quantization.scale]
            yield Damage(place, factor, bool(weights), graph.data())
