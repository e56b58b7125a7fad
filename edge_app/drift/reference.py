"""What a bundle's validation images look like to a device: reference.json, with which it compares what comes.

Convert writes it (convert/report/reference.py); an app that does not know it ignores it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from limiar.edge_app.bundle.manifest import GREY, REFER, STATISTICS, Count, Name, Statistic, Text, Value
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, printable

REFERENCE = "reference.json"
_LIMIT = 4 << 20  # bytes; with 1,000 labels and eight model files it has 200 KB
CONFIDENCE = "confidence"


class Distribution(Value, frozen=True, forbid_unknown_fields=True):
    """A statistic of the reference images, counted in bins: each has the values over the edge before it, up to its own edge."""

    least: float  # the smallest value
    edges: Annotated[tuple[float, ...], Meta(min_length=1, max_length=100)]  # ascending; the last is the largest value
    counts: tuple[Count, ...]  # images; as many as edges

    def bin(self, value: float) -> int:
        """The place in `outer_counts`."""
        return 0 if value < self.least else 1 + bisect_left(self.edges, value)

    @property
    def outer_counts(self) -> list[int]:
        """The counts, with a bin below and one above all reference images."""
        return [0, *self.counts, 0]


class FileReference(Value, frozen=True, forbid_unknown_fields=True):
    """What a model file answers for the reference images."""

    confidence: Distribution
    decisions: dict[Text, Count]  # each label and "refer", by the bundle's own rule -> images


class BundleReference(Value, frozen=True, forbid_unknown_fields=True):
    """reference.json, schema 1."""

    schema: Literal[1]
    images: Annotated[int, Meta(ge=1)]  # of the validation split
    statistics: dict[Statistic, Distribution]  # each of STATISTICS
    files: dict[Name, FileReference]

    def of(self, file: str, own_rule: bool = True) -> "Reference":
        """The part for a model file. own_rule: whether the device decides as the bundle says. Raises KeyError."""
        found = self.files[file]
        distributions: dict[str, Distribution] = {name: self.statistics[name] for name in STATISTICS}
        return Reference(self.images, distributions | {CONFIDENCE: found.confidence}, found.decisions if own_rule else {})


class Reference(msgspec.Struct, frozen=True):
    """With what one model file's answers are compared."""

    images: int
    distributions: dict[str, Distribution]  # STATISTICS in their order, then the confidence
    decisions: dict[str, int]  # empty: not compared, since the device decides by another rule


def distribution(values: Sequence[float], bins: int) -> Distribution:
    """The distribution of at least one value, in at most so many bins with about the same number of values in each."""
    ordered = sorted(values)
    count = min(bins, len(ordered))
    edges = sorted({ordered[-(-len(ordered) * k // count) - 1] for k in range(1, count + 1)})
    counts = [0] * len(edges)
    for value in ordered:
        counts[bisect_left(edges, value)] += 1
    return Distribution(ordered[0], tuple(edges), tuple(counts))


def compared(statistics: Sequence[float], confidence: float) -> tuple[float, ...]:
    """An answer's values, as the distributions of a Reference are ordered.

    Colour that nobody sees counts as none. Integer files give a confidence many times over, and the last bits of an exponential
    differ between processors: rounded, the same answer is in the same bin.
    """
    seen = (max(value, GREY) if name == "colour" else value for name, value in zip(STATISTICS, statistics, strict=True))
    return (*seen, round(confidence, 6))


def read_reference(bundle: Bundle) -> BundleReference | None:
    """A bundle's reference; None if it has none. Raises BundleError."""
    listed = next((file for file in bundle.manifest.files if file.path == REFERENCE), None)
    if listed is None:
        return None
    try:
        if listed.bytes > _LIMIT:
            raise ValueError(f"over {_LIMIT >> 20} MiB")
        reference = msgspec.json.decode(bundle.read(REFERENCE), type=BundleReference)
        _check(reference, bundle)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        met = f"{printable(str(bundle.path))}/{REFERENCE}: {printable(str(error))[:200]}"
        raise BundleError("E-BUNDLE-REFERENCE", f"{met}: convert the model again") from None
    return reference


def _check(reference: BundleReference, bundle: Bundle) -> None:
    """Raises ValueError: it contradicts itself, or the bundle."""
    if tuple(reference.statistics) != STATISTICS:
        raise ValueError(f"the statistics are not {', '.join(STATISTICS)}")
    if set(reference.files) != set(bundle.manifest.models):
        raise ValueError("its model files are not the bundle's")
    found = [*reference.statistics.values(), *(file.confidence for file in reference.files.values())]
    for one in found:
        if sorted({*one.edges}) != [*one.edges] or one.least > one.edges[0] or len(one.counts) != len(one.edges):
            raise ValueError("edges do not ascend, or are not as many as counts")
        if sum(one.counts) != reference.images:
            raise ValueError(f"{sum(one.counts)} images are counted instead of {reference.images}")
    decisions = {*bundle.manifest.labels, REFER}
    for file in reference.files.values():
        if set(file.decisions) != decisions:
            raise ValueError("its decisions are not the bundle's labels and refer")
        if sum(file.decisions.values()) != reference.images:
            raise ValueError(f"{sum(file.decisions.values())} decisions are counted instead of {reference.images}")
