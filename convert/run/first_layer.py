"""The first layer of a TFLite file whose value on another runtime differs from that on the file's own runtime.

A copy of the file that returns every value runs on both, for the image whose logits differ most. Returning more values can
keep a runtime from fusing layers, so this is done only if the logits of the file itself differ.
"""

import functools
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from limiar.convert.anatomy.flatbuffer import Graph, made_values, show_all
from limiar.convert.run.evaluate import Answers, Bench, Environment, Key, RuntimeFailure

ROUNDING = 1e-5  # of a float value's largest element: less comes from another order of adding. Integers must be equal


class TfliteFile(msgspec.Struct, frozen=True):
    """A TFLite file, and what its values are called."""

    name: str
    data: bytes
    layers: Mapping[int, str]  # tensor -> layer, in Keras's names if it has one


def first_layers(
    bench: Bench, file: TfliteFile, environments: Sequence[Environment], outcomes: Mapping[Key, Answers | RuntimeFailure]
) -> dict[Key, str]:
    """For each environment but the first, the file's own: the layer, "" if none differs beyond rounding.

    Environments that gave nothing are left out, and those whose difference the copy does not show.
    """
    own, *others = environments
    reference = outcomes.get(own.key)
    if not isinstance(reference, Answers):
        return {}
    expected = functools.cache(lambda row: bench.values(own, file.name, show_all(file.data), row))
    found = {}
    for other in others:
        answers = outcomes.get(other.key)
        if not isinstance(answers, Answers):
            continue
        if not differs(answers.logits, reference.logits):
            found[other.key] = ""
            continue
        row = int(np.abs(answers.logits - reference.logits).max(axis=1).argmax())
        try:
            values = bench.values(other, file.name, show_all(file.data), row)
            index = first_differing(values, expected(row))
        except RuntimeFailure:  # of the copy alone
            continue
        if index is not None:
            tensor = made_values(Graph(file.data))[index]
            found[other.key] = file.layers.get(tensor, Graph(file.data).name(tensor))
    return found


def first_differing(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> int | None:
    """The place of the first pair of values that differ; None: none does."""
    return next((place for place, (x, ref) in enumerate(zip(found, expected, strict=True)) if differs(x, ref)), None)


def differs(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether any integer differs, or a float by more than ROUNDING."""
    if found.dtype.kind != "f":
        return not np.array_equal(found, expected)
    limit = ROUNDING * float(np.abs(expected).max(initial=0.0))
    return not float(np.abs(found - expected).max(initial=0.0)) <= limit  # NaN differs too
