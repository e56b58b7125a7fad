"""Which images of a comparison a person should look at first: the gravest kind of change, and in it the surest answers."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.archive.answers import Answers
from limiar.edge_app.archive.comparison import Answered, Look
from limiar.edge_app.archive.keys import REFUSED_LAST
from limiar.edge_app.bundle.manifest import REFER, REFUSED

_COLUMNS = ("path", "path_base64", "sha256", "frame", "decision", "label", "confidence", "code")
_ONLY = 10  # of those that are only in one side
_KINDS = 500  # of change that have images: with 1,000 labels there could be a million
_NUMBER = REFUSED_LAST - 1  # of a row, without what sorts refusals last

REFER_NUMBER, REFUSED_NUMBER = 0, 1  # of these decisions; those of labels are larger

_Pair = tuple[float, int, int]  # how sure the answers were, less; the rows of old and new


class Picks:
    """The images of each kind of change that are to be looked at, among those seen so far."""

    def __init__(self, images: int) -> None:
        self._most = images
        self.kinds: dict[tuple[int, int], list[_Pair]] = {}  # decisions of old and new -> the first images
        self.only: list[list[int]] = [[], []]  # rows of old, of new

    def add_only(self, side: int, rows: NDArray[np.int64]) -> None:
        """Rows of images that the other side lacks."""
        self.only[side] = sorted({*self.only[side], *rows[: 4 * _ONLY].tolist()})[:_ONLY]

    def add(self, old: NDArray[np.void], new: NDArray[np.void]) -> None:
        """Images that both sides have."""
        changed = old["decision"] != new["decision"]
        old, new = old[changed], new[changed]
        sure = _sureness(old, new)
        rows = old["row"] & _NUMBER
        order = np.lexsort((rows, -sure, new["decision"], old["decision"]))
        old, new, sure = old[order], new[order], sure[order]
        kinds = np.stack([old["decision"], new["decision"]], axis=1)
        if not len(kinds):
            return
        starts = np.flatnonzero(np.r_[True, (kinds[1:] != kinds[:-1]).any(axis=1)]).tolist()
        for start, end in zip(starts, [*starts[1:], len(kinds)], strict=True):
            own = slice(start, min(end, start + self._most))
            found = zip(
                (-sure[own]).tolist(), (old["row"][own] & _NUMBER).tolist(), (new["row"][own] & _NUMBER).tolist(), strict=True
            )
            kind = tuple(kinds[start].tolist())
            self.kinds[kind] = sorted([*self.kinds.get(kind, []), *found])[: self._most]
        if len(self.kinds) > 2 * _KINDS:
            first = sorted(self.kinds, key=lambda kind: (min(kind) > REFUSED_NUMBER, self.kinds[kind]))[:_KINDS]
            self.kinds = {kind: self.kinds[kind] for kind in first}


def _sureness(old: NDArray[np.void], new: NDArray[np.void]) -> NDArray[np.float64]:
    """float [N], 0 to 1: of different labels how sure both are; of the same label how far apart; of one answer its own."""
    before, after = old["confidence"].astype(np.float64), new["confidence"].astype(np.float64)
    both = np.where(old["label"] == new["label"], np.abs(after - before), (before + after) / 2)
    sure: NDArray[np.float64] = np.nan_to_num(np.where(np.isnan(before), after, np.where(np.isnan(after), before, both)))
    return sure


class Picked(msgspec.Struct, frozen=True):
    """Where the rows of the picks are."""

    old: Answers
    new: Answers
    names: Mapping[int, str]  # of decisions


def look(sides: Picked, picks: Picks, images: int) -> list[Look]:
    """At most so many images, in the order in which to look at them."""
    gravity = {kind: _gravity(*(sides.names[one] for one in kind)) for kind in picks.kinds}
    kinds = sorted(picks.kinds, key=lambda kind: (gravity[kind], picks.kinds[kind]))
    # Each gravity gets its turn, and in it each kind: with many labels there are more changes of label than images.
    grave = [[picks.kinds[kind] for kind in kinds if gravity[kind] == one] for one in sorted({*gravity.values()})]
    chosen = set(list(_in_turn([list(_in_turn(lists)) for lists in grave]))[:images])
    ordered = [pair for kind in kinds for pair in picks.kinds[kind] if pair in chosen]
    old = sides.old.pick([pair[1] for pair in ordered], _COLUMNS)
    new = sides.new.pick([pair[2] for pair in ordered], _COLUMNS)
    return [_look(old[pair[1]], new[pair[2]]) for pair in ordered]


def look_only(sides: Picked, picks: Picks) -> list[Look]:
    """A few of the images that are only in old, and of those that are only in new."""
    old, new = (side.pick(rows, _COLUMNS) for side, rows in zip((sides.old, sides.new), picks.only, strict=True))
    return [*(_look(old[row], None) for row in picks.only[0]), *(_look(None, new[row]) for row in picks.only[1])]


def _gravity(old: str, new: str) -> int:
    """The gravest first: another label, an answer lost, an image referred, one no longer referred, one answered now."""
    if REFUSED in (old, new):
        return 4 if old == REFUSED else 1
    if REFER in (old, new):
        return 2 if new == REFER else 3
    return 0


def _in_turn(lists: Sequence[Sequence[_Pair]]) -> Iterator[_Pair]:
    """The first of each list, then the second of each, and so on."""
    for row in zip_longest(*lists):
        yield from (one for one in row if one is not None)


def _look(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Look:
    about = new or old or {}
    sha256 = about["sha256"]
    return Look(
        path=about["path"],
        path_base64=about["path_base64"],
        sha256=sha256.hex() if sha256 else None,
        frame=about["frame"],
        old=_answered(old),
        new=_answered(new),
    )


def _answered(row: dict[str, Any] | None) -> Answered | None:
    return Answered(row["decision"], row["label"], row["confidence"], row["code"]) if row else None
