"""Where an integer file loses, its worst layers are kept in float: chosen with images of validation, never of test."""

from collections.abc import Callable, Collection, Iterator, Sequence

from convert.flatbuffer import PASSING, Graph
from convert.layers import LayerNoise
from edge_app.errors import ConvertError

Make = Callable[[tuple[str, ...]], bytes]  # LayerNoise.value of the layers to keep -> the file; raises ConvertError
Loses = Callable[[bytes], bool]


def choose_float_layers(
    original: bytes, noise: Sequence[LayerNoise], fp32: bytes, make: Make, loses: Loses
) -> tuple[bytes, tuple[LayerNoise, ...]]:
    """The first file that no longer loses, and the layers that it keeps in float; else the original and none.

    Tried are the worst 1, 2, 4, … layers by their own noise, each time alone and then with the layers that read what they give:
    alone cures weights that int8 cannot hold, but a value that it cannot hold is only kept in float when its reader is too.
    """
    if not loses(original):
        return original, ()
    for kept in _tries(noise, fp32):
        try:
            data = make(kept)
        except ConvertError:  # some layers cannot be kept apart: the next try may
            continue
        if not loses(data):
            return data, tuple(layer for layer in noise if layer.value in kept)
    return original, ()


def _tries(noise: Sequence[LayerNoise], fp32: bytes) -> Iterator[tuple[str, ...]]:
    """Ever more layers, fewer than all: that file is there already, it is the fp32 one."""
    known = {layer.value: layer.snr_db for layer in noise if layer.snr_db is not None and layer.operator not in PASSING}
    worst = sorted(known, key=lambda value: known[value] or 0.0)  # of equals, the first in the file
    tried: set[frozenset[str]] = set()
    count = 1
    while count < len(worst):
        alone = worst[:count]
        for kept in (alone, [*alone, *_readers(fp32, alone)]):
            if (each := frozenset(kept)) not in tried and len(each) < len(worst):
                tried.add(each)
                yield tuple(value for value in known if value in each)
        count *= 2


def _readers(fp32: bytes, values: Collection[str]) -> list[str]:
    """What the operators give that read these values."""
    graph = Graph(fp32)
    return [
        graph.name(graph.outputs(op)[0])
        for op in graph.main.operators
        if any(graph.name(index) in values for index in graph.inputs(op))
    ]
