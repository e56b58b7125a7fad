"""`limiar.compare_archives`: the answers of two bundles to the same images, joined by sha256 and frame.

Both sides are sorted by key into partitions on the disk, then joined one partition after the other: memory does not grow with
the images. Of an image that is there more than once, each side counts its first answer.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from limiar.edge_app.archive.answers import Answers, open_answers
from limiar.edge_app.archive.columns import read_rows
from limiar.edge_app.archive.comparison import CodeChange, Comparison, DecisionChange, Share, Shift, Side, Transition, summary
from limiar.edge_app.archive.keys import COLUMNS, KEY, REFUSED_LAST, Partitions, first_of_each, keys, numbers, same_as_next
from limiar.edge_app.archive.look import REFER_NUMBER, REFUSED_NUMBER, Picked, Picks, look, look_only
from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.errors import printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import partial_folder

IMAGES = 60  # to look at
_STEPS = 1000  # of a difference in confidence from 0 to 1: shifts are told to a thousandth
_DTYPE = np.dtype([*KEY, ("decision", "<i4"), ("label", "<i4"), ("code", "<i4"), ("confidence", "<f4")])
_COLUMNS = (*COLUMNS, "label", "code", "confidence", "bundle", "file", "runtime")
_OLD, _NEW = 0, 1  # the group of a record: its side

Progress = Callable[[str, int, int], None]  # what it does, rows so far, of so many


def compare_archives(
    old: Path | str,
    new: Path | str,
    *,
    images: int = IMAGES,
    partial: bool = False,
    scratch: Path | str | None = None,
    progress: Progress = lambda step, rows, all_rows: None,
) -> Comparison:
    """Say what a new bundle changes over an archive, as `limiar archive compare` does.

        found = limiar.compare_archives("work-1.0.0", "work-1.1.0")
        print(found.summary)

    old, new: each the folder of an archive, or what `merge_archive` wrote. images: how many to list to be looked at.
    partial: do without the chunks that are not done. scratch: a folder whose disk has room for 64 bytes a row meanwhile;
    None: the system's for temporary files.

    Raises ArchiveError: E-MERGE-MISSING, E-MERGE-SOURCE, E-CHUNK-DAMAGED, E-PLAN-*; OutputError.
    """
    sides = [open_answers(path, partial=partial) for path in (old, new)]
    at = Path(scratch or tempfile.gettempdir())
    with writable(at), partial_folder(at / "limiar-compare", 0o700) as folder:
        joined = _Joined(images)
        total = sum(side.rows for side in sides)
        partitions = Partitions(folder / "keys", _DTYPE, total)
        about = []
        for group, side in enumerate(sides):
            first = sides[0].rows if group else 0
            about.append(_sort(side, group, partitions, joined, _of_side(progress, first, total)))
        joined.double(partitions.flush())
        done = 0
        for records in partitions:
            kept, again = first_of_each(records)
            joined.double(again)
            joined.join(kept)
            done += len(records)
            progress("comparing", done, total)
    return _comparison(sides, about, joined, images)


def _of_side(progress: Progress, first: int, total: int) -> Callable[[int], None]:
    """The progress of a side, whose rows come after `first` others."""
    return lambda rows: progress("sorting", first + rows, total)


def _sort(
    side: Answers, group: int, partitions: Partitions, joined: "_Joined", progress: Callable[[int], None]
) -> tuple[str, str, str]:
    """Sorts the rows of a side into the partitions; returns the bundle, model file and runtime of its first row."""
    at, about = 0, ("", "", "")
    for file in side.files:
        for batch in read_rows(file, _COLUMNS):
            records = keys(batch, at, _DTYPE)
            if not at and batch.num_rows:
                about = tuple(batch.column(name)[0].as_py() for name in ("bundle", "file", "runtime"))
            records["group"] = group
            records["row"][np.asarray(pc.equal(batch.column("decision"), REFUSED))] += REFUSED_LAST
            for name, known in joined.known.items():
                records[name] = numbers(batch.column(name), known)
            confidence = np.asarray(pc.fill_null(batch.column("confidence"), np.nan))
            records["confidence"] = np.clip(confidence, 0, 1)  # whatever a file says
            joined.double(partitions.add(records))
            at += batch.num_rows
            progress(at)
    return about


class _Joined:
    """Counts what was joined so far."""

    def __init__(self, images: int) -> None:
        self.known: dict[str, dict[object, int]] = {
            "decision": {REFER: REFER_NUMBER, REFUSED: REFUSED_NUMBER},
            "label": {None: 0},
            "code": {None: 0},
        }
        self.compared = 0
        self.only = [0, 0]
        self.doubles = [0, 0]
        self.decisions: Counter[tuple[int, int]] = Counter()
        self.codes: Counter[tuple[int, int]] = Counter()
        self.shifts: dict[int, NDArray[np.int64]] = {}  # label -> images of each difference, from -1 to 1
        self.picks = Picks(images)

    def double(self, records: NDArray[np.void]) -> None:
        """Takes note of rows whose image was there before."""
        for side, count in enumerate(np.bincount(records["group"], minlength=2).tolist()):
            self.doubles[side] += count

    def join(self, kept: NDArray[np.void]) -> None:
        """Takes the records of a partition, sorted: of each key at most one of either side, the old one first."""
        pairs = np.flatnonzero(same_as_next(kept))
        old, new = kept[pairs], kept[pairs + 1]
        alone = np.ones(len(kept), np.bool_)
        alone[pairs] = alone[pairs + 1] = False
        self.compared += len(old)
        for side in (_OLD, _NEW):
            own = kept[alone & (kept["group"] == side)]
            self.only[side] += len(own)
            self.picks.add_only(side, own["row"] & (REFUSED_LAST - 1))
        _count(self.decisions, old["decision"], new["decision"])
        refused = (old["code"] != 0) | (new["code"] != 0)
        _count(self.codes, old["code"][refused], new["code"][refused])
        self._count_shifts(old, new)
        self.picks.add(old, new)

    def _count_shifts(self, old: NDArray[np.void], new: NDArray[np.void]) -> None:
        same = (old["label"] == new["label"]) & (old["label"] != 0)
        moved = np.nan_to_num(new["confidence"][same] - old["confidence"][same])
        places = np.rint(moved * _STEPS).astype(np.int64) + _STEPS
        for label in np.unique(old["label"][same]).tolist():
            found = np.bincount(places[old["label"][same] == label], minlength=2 * _STEPS + 1)
            self.shifts[label] = self.shifts.get(label, np.zeros(2 * _STEPS + 1, np.int64)) + found


def _count(counts: Counter[tuple[int, int]], old: NDArray[np.int32], new: NDArray[np.int32]) -> None:
    pairs, images = np.unique(np.stack([old, new], axis=1), axis=0, return_counts=True)
    for (one, other), count in zip(pairs.tolist(), images.tolist(), strict=True):
        counts[one, other] += count


def _comparison(sides: list[Answers], about: list[tuple[str, str, str]], joined: _Joined, images: int) -> Comparison:
    names = {number: str(name) for name, number in joined.known["decision"].items()}
    transitions = [Transition(names[old], names[new], count) for (old, new), count in joined.decisions.most_common()]
    changed = Share.counted(sum(one.images for one in transitions if one.old != one.new), joined.compared)
    codes = {number: name if name is None else str(name) for name, number in joined.known["code"].items()}
    labels = {number: str(name) for name, number in joined.known["label"].items()}
    old, new = (_side(side, *of, double) for side, of, double in zip(sides, about, joined.doubles, strict=True))
    picked = Picked(sides[0], sides[1], names)
    every = [*dict.fromkeys((*new.labels, *old.labels, *labels.values()))]
    return Comparison(
        summary=summary(joined.compared, changed, transitions),
        old=old,
        new=new,
        compared=joined.compared,
        only_old=joined.only[_OLD],
        only_new=joined.only[_NEW],
        changed=changed,
        decisions=[*_decisions(transitions, joined.compared, [*dict.fromkeys((*new.labels, *old.labels)), REFER, REFUSED])],
        transitions=transitions,
        shifts=sorted(
            (_shift(labels[label], counts) for label, counts in joined.shifts.items()), key=lambda one: every.index(one.label)
        ),
        codes=[CodeChange(codes[one], codes[other], count) for (one, other), count in joined.codes.most_common()],
        look=look(picked, joined.picks, images),
        look_only=look_only(picked, joined.picks),
    )


def _side(side: Answers, bundle: str, file: str, runtime: str, double: int) -> Side:
    plan = side.archive.plan if side.archive else None
    return Side(
        given=printable(str(side.path)),
        bundle=bundle,
        name=f"{plan.name} {plan.version}" if plan else "",
        file=file,
        runtime=runtime,
        labels=side.labels,
        rows=side.rows,
        double=double,
        missing=side.missing,
    )


def _decisions(transitions: list[Transition], compared: int, names: list[str]) -> list[DecisionChange]:
    had, have, kept = Counter[str](), Counter[str](), Counter[str]()
    for one in transitions:
        had[one.old] += one.images
        have[one.new] += one.images
        kept[one.new] += one.images if one.old == one.new else 0
    return [
        DecisionChange(
            decision=name,
            old=Share.counted(had[name], compared),
            new=Share.counted(have[name], compared),
            left=Share.counted(had[name] - kept[name], had[name]),
            came=Share.counted(have[name] - kept[name], have[name]),
        )
        for name in names
    ]


def _shift(label: str, counts: NDArray[np.int64]) -> Shift:
    reached = np.cumsum(counts)
    low, median, high = ((int(np.searchsorted(reached, share * reached[-1])) - _STEPS) / _STEPS for share in (0.05, 0.5, 0.95))
    return Shift(label, int(reached[-1]), low, median, high)
