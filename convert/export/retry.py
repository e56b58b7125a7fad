"""If an integer file loses too much, its worst layers are kept in float: chosen on validation images, never on test images."""

from collections.abc import Callable, Collection, Iterator, Sequence

from limiar.convert.anatomy.flatbuffer import PASSING, Graph
from limiar.convert.anatomy.layers import LayerNoise
from limiar.edge_app.errors import ConvertError

Make = Callable[[tuple[str, ...]], bytes]  # LayerNoise.value of the layers to keep -> the file; raises ConvertError
Loses = Callable[[bytes], bool]


def choose_float_layers(
    original: bytes, noise: Sequence[LayerNoise], fp32: bytes, make: Make, loses: Loses
) -> tuple[bytes, tuple[LayerNoise, ...]]:
    """The first file that no longer loses, and the layers that it keeps in float; or else the original and none.

    Tries the worst 1, 2, 4, … layers by their own noise, each time alone and then with the layers before and behind them. Alone
    cures weights that int8 cannot represent. But a value that int8 cannot represent stays float only if both the layer that
    gives it and the layer that reads it do, and the noise may show in either.
    """
    if not loses(original):
        return original, ()
    for kept in _tries(noise, fp32):
        try:
            data = make(kept)
        except ConvertError:  # some layers cannot be kept apart: the next try may
            continue
        if not loses(data):
            return data, tuple(layer for layer in noise if layer.value in kept and layer.operator not in PASSING)
    return original, ()


def _tries(noise: Sequence[LayerNoise], fp32: bytes) -> Iterator[tuple[str, ...]]:
    """More and more layers, but never all: that would be the fp32 file, which exists."""
    known = {layer.value: layer.snr_db for layer in noise if layer.snr_db is not None and layer.operator not in PASSING}
    worst = sorted(known, key=lambda value: known[value] or 0.0)  # of equals, the first in the file
    tried: set[frozenset[str]] = set()
    count = 1
    while count < len(worst):
        alone = worst[:count]
        for kept in (alone, [*alone, *_neighbours(fp32, alone)]):
            each = known.keys() & set(kept)
            if each not in tried and len(each) < len(worst):
                tried.add(frozenset(each))
                yield tuple(value for value in known if value in each)
        count *= 2


def _neighbours(fp32: bytes, values: Collection[str]) -> list[str]:
    """What the operators that read these values give, and what the operators that give these values read."""
    graph = Graph(fp32)
    found = []
    for op in graph.main.operators:
        made, read = graph.name(graph.outputs(op)[0]), [graph.name(index) for index in graph.inputs(op)]
        if made in values:
            found += read  # weights and the image among them: no layer gives these, so they do no harm
        if any(name in values for name in read):
            found.append(made)
    return found
