"""`limiar compare`: is the new one better? Two bundles or two RUNs, image by image if both kept their answers.

Figures of different test images say nothing about that: one split may be the easier one. Only images of both test splits are
compared, and the result says so first; if there are none, or if that cannot be known, the two are not comparable.

The comparison uses the label that each image gets by the file's decision rule, even if it is referred. Needs no TensorFlow.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.convert.compare.bench_results import BenchReview, compare_bench
from limiar.convert.compare.machines import BenchTable, compare_machines
from limiar.convert.compare.outcome import GRAVITY, Outcome, reaches
from limiar.convert.compare.subjects import Kind, Subject, SubjectFile, read_subject
from limiar.convert.gate.decision_rule import decided, in_words, referred
from limiar.convert.gate.noninferiority import bounds
from limiar.convert.run.predictions import PREDICTIONS, AnswerTable
from limiar.edge_app.bundle.manifest import Count, Metric, Value
from limiar.edge_app.errors import ConvertError, printable
from limiar.train.record.metrics import auc, auc_difference, proportion
from limiar.train.record.operating_points import labels_of

ALPHA = 0.025  # at either end: the two-sided 95 % of every other interval here
_DECIMALS = 6  # of a figure

StrPath = str | os.PathLike[str]


class Change(Value, frozen=True, forbid_unknown_fields=True):
    """How one figure changed."""

    name: str  # "accuracy", "sensitivity", "recall_<label>", "auc", "auc_<label>" (against all others), …
    old: float
    new: float
    gain: Metric  # new - old with its two-sided 95 % interval, over n images
    outcome: Outcome  # "same": not one image, or not one byte of the model, differs; "not comparable": of different images


class Side(Value, frozen=True, forbid_unknown_fields=True):
    """A model file in one of the two."""

    bytes: Count
    decision: str  # the rule in words


class FileReview(Value, frozen=True, forbid_unknown_fields=True):
    """A model file in both, or in one of them alone."""

    name: str
    old: Side | None  # None: not there, so it did not pass its gate
    new: Side | None
    old_name: str | None = None  # of the old file, if a default file is compared with another one
    paired: bool = False  # otherwise `changes` come from two separate intervals
    images: Count = 0  # compared
    flips: Metric | None = None  # share of them that are decided differently
    changes: tuple[Change, ...] = ()

    @property
    def classes(self) -> list[Change]:
        """Sensitivity and specificity, or each label's recall."""
        return [one for one in self.changes if one.name in ("sensitivity", "specificity") or one.name.startswith("recall_")]


class Difference(Value, frozen=True, forbid_unknown_fields=True):
    """A fact that differs."""

    name: str
    old: str
    new: str


class Review(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: Literal[1] = 1
    kind: Kind
    summary: str  # one line: each class of the new default file
    outcome: Outcome  # the gravest of these
    old: str  # name, version and hash
    new: str
    default_file: str  # of the new one; the first of `files`
    notes: tuple[str, ...]  # how it was compared, what could not be
    files: tuple[FileReview, ...]
    differences: tuple[Difference, ...]

    def reaches(self, limit: str) -> bool:
        """Whether the outcome is `limit` or graver: "same" < "better" < "undecided" < "worse" < "not comparable"."""
        return reaches(self.outcome, limit)


def compare(old: StrPath, new: StrPath, *more: StrPath) -> Review | BenchReview | BenchTable:
    """Says whether the new one is better than the old one: two bundles, two RUNs, or two files of `limiar bench --json`.

    `outcome` is the verdict in a word, `summary` in a line; a Review has each model file's figures with 95 % intervals.
    Of more than two results of bench, a BenchTable has every variant of each, and no verdict.
    Raises ConvertError (not two of a kind, or different labels), BundleError and RunError.

        review = limiar.compare("bundles/1.0.0", "bundles/1.1.0")
        print(review.summary)
        if review.reaches("worse"):
            for file in review.files:
                print(file.name, [(change.name, change.outcome) for change in file.changes])
    """
    paths = [Path(path) for path in (old, new, *more)]
    for path in paths:
        if not path.exists():
            raise ConvertError("E-COMPARE-KIND", f"{printable(str(path))} does not exist: check the path")
    if more:
        if folder := next((path for path in paths if path.is_dir()), None):
            raise ConvertError("E-COMPARE-KIND", f"{printable(str(folder))} is a folder: of bundles and RUNs, give two")
        return compare_machines(paths)
    if all(path.is_file() for path in paths):
        return compare_bench(*paths)
    return _compare_folders(*paths)


def _compare_folders(old: Path, new: Path) -> Review:
    """Two bundles or two RUNs. Raises ConvertError, BundleError and RunError."""
    before, after = read_subject(old), read_subject(new)
    if before.kind != after.kind:
        met = f"{printable(str(old))} is a {before.kind[:-1]}, {printable(str(new))} a {after.kind[:-1]}"
        raise ConvertError("E-COMPARE-KIND", f"{met}: give two of a kind")
    if set(before.labels) != set(after.labels) or before.positive != after.positive:
        met = f"the labels are {_labels(before)} in one and {_labels(after)} in the other"
        raise ConvertError("E-COMPARE-LABELS", f"{met}: give two models of the same labels")
    common = _common(before, after)
    names = dict.fromkeys([after.default_file, *after.files, *before.files])
    files = tuple(_review(name, before, after, common) for name in names)
    notes = [*common.notes, *_not_proven(before, after)]
    return Review(
        kind=after.kind,
        summary=f"{common.first}{_summary(files[0])}",
        outcome=_outcome(files[0], after),
        old=_title(before),
        new=_title(after),
        default_file=after.default_file,
        notes=tuple(notes),
        files=files,
        differences=tuple(_differences(before.facts, after.facts)),
    )


class Common(msgspec.Struct, frozen=True):
    """What the comparison rests on."""

    notes: tuple[str, ...]  # how it was found
    pair: tuple[AnswerTable, AnswerTable] | None = None  # the same images in the same order, of old and new
    first: str = ""  # what the summary begins with
    comparable: bool = True  # if not, both were measured, as far as can be known, on different images


def _common(old: Subject, new: Subject) -> Common:
    """The test images that both answered, and what a reader must know of how they were found."""
    for subject, which in ((old, "old"), (new, "new")):
        if subject.answers is None:
            return _by_figures(old, new, f"The {which} bundle has no {PREDICTIONS} beside it (BUNDLE.measured)")
        if stale := _stale(subject):
            return _by_figures(old, new, f"The {PREDICTIONS} beside the {which} bundle does not belong to {stale}")
    assert old.answers is not None
    assert new.answers is not None
    place = {sha256: number for number, sha256 in enumerate(old.answers.sha256)}
    shared = [(place[sha256], number) for number, sha256 in enumerate(new.answers.sha256) if sha256 in place]
    order = [new.labels.index(label) for label in old.labels]  # old index -> new index
    kept = [(a, b) for a, b in shared if order[old.answers.truth[a]] == new.answers.truth[b]]
    sizes = (len(old.answers.truth), len(new.answers.truth))
    counts = f"{sizes[0]} and {sizes[1]}"
    if not kept:
        return Common(
            (f"No image is in both test splits ({counts} images): convert both with the same test images.",),
            first="not comparable, measured on different test images: ",
            comparable=False,
        )
    notes = [f"Image by image: {len(kept)} images are in both test splits, which have {counts} images."]
    if len(kept) < len(shared):
        notes.append(f"{len(shared) - len(kept)} images have another true label in the new one and were left out.")
    return Common(
        tuple(notes),
        (old.answers.rows([a for a, _ in kept]), new.answers.rows([b for _, b in kept])),
        first="" if sizes == (len(kept), len(kept)) else f"on the {len(kept)} images of both test splits ({counts}): ",
    )


def _by_figures(old: Subject, new: Subject, why: str) -> Common:
    """Without the answers: the figures of two equal test splits can be compared, those of different ones cannot."""
    if old.splits == new.splits:
        unpaired = "so the figures of two test splits are compared, not image by image: differences must be larger to be seen"
        return Common((f"{why}, {unpaired}.",))
    met = "and the two were converted with different splits: which test images they share cannot be known"
    return Common((f"{why}, {met}.",), first="not comparable, measured on different splits: ", comparable=False)


def _not_proven(old: Subject, new: Subject) -> list[str]:
    sides = (("old", old.not_proven), ("new", new.not_proven))
    return [f"The {which} bundle's verdict is {verdict}." for which, verdict in sides if verdict]


def _outcome(file: FileReview, new: Subject) -> Outcome:
    """Of the new default file. A class without an image in common is not comparable; a file without another is undecided."""
    if file.old is None or not file.changes:
        return "undecided"
    outcomes = [one.outcome for one in file.classes]
    if len(outcomes) < len(new.labels):
        return "not comparable"
    return max(outcomes, key=GRAVITY.index)


def _stale(subject: Subject) -> str | None:
    """What the table does not belong to, by the hash beside it or by the figures that it gives; None if it fits."""
    if subject.measured_of not in (None, subject.sha256):
        return "this bundle"
    for name, file in subject.files.items():
        answered = _answered(subject, subject.answers, name)
        if subject.answers is None or answered is None:
            continue
        right, truth = answered == subject.answers.truth, subject.answers.truth
        images = {"accuracy": np.ones(len(truth), np.bool_)}
        images |= {_recall(subject, label): truth == label for label in range(len(subject.labels))}
        for figure, own in images.items():
            stated, n = file.metrics.get(figure), int(own.sum())
            share = round(int(right[own].sum()) / max(1, n), _DECIMALS)
            if stated and (n, share) != (stated.n, round(stated.value, _DECIMALS)):
                return f"its {name}"
    return None


def _recall(subject: Subject, label: int) -> str:
    """What the share of right answers is called among the images of a label, by its index."""
    if subject.positive is None:
        return f"recall_{subject.labels[label]}"
    return "sensitivity" if subject.labels[label] == subject.positive else "specificity"


def _answered(subject: Subject, answers: AnswerTable | None, name: str) -> NDArray[np.int64] | None:
    """int [N]: the label of each image by the file's own rule."""
    probabilities = answers.probabilities(name) if answers else None
    if probabilities is None:
        return None
    return labels_of(subject.files[name].decision, probabilities, subject.labels)


def _review(name: str, old: Subject, new: Subject, common: Common) -> FileReview:
    """A default file that the old one lacks is compared with the old default file: a device would take that one."""
    was = old.default_file if name == new.default_file and name not in old.files else name
    before, after = old.files.get(was), new.files.get(name)
    sides = (_side(before), _side(after))
    other = was if was != name else None
    if before is None or after is None:
        return FileReview(name, *sides)
    if common.pair is not None:
        given = (_Given(old, common.pair[0], was), _Given(new, common.pair[1], name))
        if all(one.answers.probabilities(one.name) is not None for one in given):
            return msgspec.structs.replace(_paired(name, sides, *given), old_name=other)
    same = before.sha256 == after.sha256 and before.decision.threshold == after.decision.threshold
    changes = [
        _unpaired(metric, before.metrics[metric], after.metrics[metric], same, common.comparable)
        for metric in after.metrics
        if metric in before.metrics
    ]
    shown = tuple(change for change in changes if change.name not in ("agreement", "refer_rate", "accuracy_decided"))
    return FileReview(
        name, *sides, old_name=other, paired=False, images=min((change.gain.n for change in shown), default=0), changes=shown
    )


class _Given(msgspec.Struct, frozen=True):
    """A model file of one of the two, and what it says of the common images."""

    subject: Subject
    answers: AnswerTable
    name: str

    @property
    def labels(self) -> NDArray[np.int64]:
        found = _answered(self.subject, self.answers, self.name)
        assert found is not None  # _review has looked
        return found

    @property
    def decisions(self) -> list[str]:
        """A label's name, or that the image is referred."""
        probabilities, labels = self.answers.probabilities(self.name), self.labels
        assert probabilities is not None
        decision = self.subject.files[self.name].decision
        return decided(labels, referred(decision, probabilities, labels), self.subject.labels)


def _paired(name: str, sides: tuple[Side | None, Side | None], was: _Given, now: _Given) -> FileReview:
    new = now.subject
    truth, positive = now.answers.truth, new.labels.index(new.positive) if new.positive else None
    right = (was.labels == was.answers.truth, now.labels == truth)
    changes = [_shares("accuracy", *right)]
    for label in range(len(new.labels)):
        own = truth == label
        if own.any():
            changes.append(_shares(_recall(new, label), right[0][own], right[1][own]))
    if positive is not None:
        changes = [changes[0], *sorted(changes[1:], key=lambda change: change.name)]
        changes += _area("auc", truth == positive, _scores(was, new.positive), _scores(now, new.positive))
    else:  # each label against all others
        for label, text in enumerate(new.labels):
            changes += _area(f"auc_{text}", truth == label, _scores(was, text), _scores(now, text))
    flips = sum(a != b for a, b in zip(was.decisions, now.decisions, strict=True))
    flipped = _rounded(proportion(flips, len(truth)))
    return FileReview(name, *sides, paired=True, images=len(truth), flips=flipped, changes=tuple(changes))


def _side(file: SubjectFile | None) -> Side | None:
    return Side(file.bytes, in_words(file.decision)) if file else None


def _scores(given: _Given, label: str | None) -> NDArray[np.float64]:
    probabilities = given.answers.probabilities(given.name)
    assert probabilities is not None
    assert label is not None
    return probabilities[:, given.answers.labels.index(label)]


def _shares(name: str, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> Change:
    """bool [n], right or not, of the same images: the difference with the bounds of the gate, one at each end."""
    lost, gained, n = int((old & ~new).sum()), int((new & ~old).sum()), len(new)
    low, high = bounds(gained, lost, n, ALPHA)  # of the gain: lost and gained change places
    gain = Metric(value=(gained - lost) / n, low=low, high=high, n=n)
    return _change(name, float(old.mean()), float(new.mean()), gain, same=lost + gained == 0)


def _area(name: str, is_positive: NDArray[np.bool_], old: NDArray[np.float64], new: NDArray[np.float64]) -> list[Change]:
    if is_positive.all() or not is_positive.any():
        return []
    gain = auc_difference(is_positive, new, old)
    return [_change(name, auc(is_positive, old), auc(is_positive, new), gain, same=gain.low == gain.high == 0)]


def _unpaired(name: str, old: Metric, new: Metric, same: bool, comparable: bool = True) -> Change:
    """The difference of two independent figures from their intervals: Zou & Donner, Statistics in Medicine 27 (2008) 1693-1702.

    For two shares with Wilson's intervals it is Newcombe's method 10 (Statistics in Medicine 17 (1998) 873-890).
    """
    value = new.value - old.value
    low = value - math.hypot(new.value - new.low, old.high - old.value)
    high = value + math.hypot(new.high - new.value, old.value - old.low)
    gain = Metric(value=value, low=low, high=high, n=min(old.n, new.n))
    change = _change(name, old.value, new.value, gain, same)
    return change if comparable else msgspec.structs.replace(change, outcome="not comparable")


def _change(name: str, old: float, new: float, gain: Metric, same: bool) -> Change:
    outcome: Outcome = "better" if gain.low > 0 else "worse" if gain.high < 0 else "same" if same else "undecided"
    return Change(name, round(old, _DECIMALS), round(new, _DECIMALS), _rounded(gain), outcome)


def _rounded(metric: Metric) -> Metric:
    value, low, high = (round(x, _DECIMALS) for x in (metric.value, metric.low, metric.high))
    return Metric(value=value, low=low, high=high, n=metric.n)


def _summary(file: FileReview) -> str:
    """One line: what became of each class."""
    if file.old is None or not file.classes:
        return f"{file.name}: undecided, the old one has nothing to compare it with"
    name = f"{file.name} against {file.old_name}" if file.old_name else file.name
    if len(file.classes) <= 2:
        return f"{name}: {', '.join(f'{one.name} {one.outcome} ({points(one)})' for one in file.classes)}"
    by_outcome: Mapping[str, list[str]] = {
        outcome: [one.name.removeprefix("recall_") for one in file.classes if one.outcome == outcome]
        for outcome in ("not comparable", "worse", "better", "undecided", "same")
    }
    return f"{name}: {'; '.join(f'{outcome} {_few(names)}' for outcome, names in by_outcome.items() if names)}"


def points(change: Change) -> str:
    """The gain and its interval in points, "+1.6 points, -0.4 to 3.8"."""
    gain = change.gain
    return f"{100 * gain.value:+.1f} points, {100 * gain.low:.1f} to {100 * gain.high:.1f}"


def _few(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _labels(subject: Subject) -> str:
    shown = _few(list(subject.labels))
    return f"{shown} (positive {printable(subject.positive)})" if subject.positive else shown


def _title(subject: Subject) -> str:
    return f"{subject.name} {subject.version} ({subject.sha256[:12]})"


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    names = dict.fromkeys([*new, *old])
    return [Difference(name, old.get(name, "-"), new.get(name, "-")) for name in names if old.get(name) != new.get(name)]
