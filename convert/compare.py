"""`limiar compare`: is the new one better? Two bundles or two RUNs, image by image where both kept their answers.

What is compared is the label that each image gets by the file's decision rule, referred images too. Needs no TensorFlow.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convert.decision_rule import in_words, referred
from convert.gallery import decided
from convert.noninferiority import bounds
from convert.predictions import PREDICTIONS, AnswerTable
from convert.subjects import Kind, Subject, SubjectFile, read_subject
from edge_app.bundle import Count, Metric, Value
from edge_app.errors import ConvertError, printable
from edge_app.metrics import auc, auc_difference, proportion
from edge_app.operating_points import labels_of

ALPHA = 0.025  # at either end: the two-sided 95 % of every other interval here
_DECIMALS = 6  # of a figure

Outcome = Literal["better", "worse", "undecided", "same"]


class Change(Value, frozen=True, forbid_unknown_fields=True):
    """What became of one figure."""

    name: str  # "accuracy", "sensitivity", "recall_<label>", "auc", "auc_<label>" (against all others), …
    old: float
    new: float
    gain: Metric  # new - old with its two-sided 95 % interval, over n images
    outcome: Outcome  # "same": not one image, or not one byte of the model, differs


class Side(Value, frozen=True, forbid_unknown_fields=True):
    """A model file in one of the two."""

    bytes: Count
    decision: str  # the rule in words


class FileReview(Value, frozen=True, forbid_unknown_fields=True):
    """A model file in both, or in one of them alone."""

    name: str
    old: Side | None  # None: not there, so it did not pass its gate
    new: Side | None
    paired: bool = False  # else `changes` come from two intervals that know nothing of each other
    images: Count = 0  # compared
    flips: Metric | None = None  # share of them that are decided otherwise
    changes: tuple[Change, ...] = ()

    @property
    def classes(self) -> list[Change]:
        """Sensitivity and specificity, or each label's recall."""
        return [one for one in self.changes if one.name in ("sensitivity", "specificity") or one.name.startswith("recall_")]


class Difference(Value, frozen=True, forbid_unknown_fields=True):
    """Something said of both that is not the same."""

    name: str
    old: str
    new: str


class Review(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: Literal[1] = 1
    kind: Kind
    summary: str  # one line: each class of the new default file
    old: str  # name, version and hash
    new: str
    default_file: str  # of the new one; the first of `files`
    notes: tuple[str, ...]  # how it was compared, what could not be
    files: tuple[FileReview, ...]
    differences: tuple[Difference, ...]


def compare(old: Path, new: Path) -> Review:
    """Reviews two bundles or two RUNs. Raises ConvertError (other kinds, other labels), BundleError, RunError."""
    before, after = read_subject(old), read_subject(new)
    if before.kind != after.kind:
        met = f"{printable(str(old))} is a {before.kind[:-1]}, {printable(str(new))} a {after.kind[:-1]}"
        raise ConvertError("E-COMPARE-KIND", f"{met}: give two of a kind")
    if set(before.labels) != set(after.labels) or before.positive != after.positive:
        met = f"labels {_labels(before)} and {_labels(after)}"
        raise ConvertError("E-COMPARE-LABELS", f"{met} have nothing to be compared by: give two models of the same labels")
    common, notes = _common(before, after)
    names = dict.fromkeys([after.default_file, *after.files, *before.files])
    files = tuple(_review(name, before, after, common) for name in names)
    return Review(
        kind=after.kind,
        summary=_summary(files[0]),
        old=_title(before),
        new=_title(after),
        default_file=after.default_file,
        notes=tuple(notes),
        files=files,
        differences=tuple(_differences(before.facts, after.facts)),
    )


Common = tuple[AnswerTable, AnswerTable]  # the same images in the same order, of old and new


def _common(old: Subject, new: Subject) -> tuple[Common | None, list[str]]:
    """The test images that both answered, and what a reader must know of how they were found."""
    unpaired = "so the figures of two test splits are compared, not image by image: differences must be larger to be seen"
    for subject, which in ((old, "old"), (new, "new")):
        if subject.answers is None:
            return None, [f"The {which} bundle has no {PREDICTIONS} beside it (BUNDLE.measured), {unpaired}."]
        if stale := _stale(subject):
            return None, [f"The {PREDICTIONS} beside the {which} bundle is not of its {stale}, {unpaired}."]
    assert old.answers is not None
    assert new.answers is not None
    place = {sha256: number for number, sha256 in enumerate(old.answers.sha256)}
    shared = [(place[sha256], number) for number, sha256 in enumerate(new.answers.sha256) if sha256 in place]
    order = [new.labels.index(label) for label in old.labels]  # old index -> new index
    kept = [(a, b) for a, b in shared if order[old.answers.truth[a]] == new.answers.truth[b]]
    if not kept:
        return None, [f"No image is in both test splits, {unpaired}."]
    counts = f"{len(old.answers.truth)} and {len(new.answers.truth)}"
    notes = [f"Image by image: {len(kept)} images are in both test splits, which have {counts}."]
    if len(kept) < len(shared):
        notes.append(f"{len(shared) - len(kept)} images have another true label in the new one and were left out.")
    return (old.answers.rows([a for a, _ in kept]), new.answers.rows([b for _, b in kept])), notes


def _stale(subject: Subject) -> str | None:
    """The file whose answers do not give the accuracy that the bundle states: the table belongs to another bundle."""
    for name, file in subject.files.items():
        answered = _answered(subject, subject.answers, name)
        stated = file.metrics.get("accuracy")
        if subject.answers is None or answered is None or stated is None:
            continue
        right = int((answered == subject.answers.truth).sum())
        if (len(answered), round(right / max(1, len(answered)), _DECIMALS)) != (stated.n, round(stated.value, _DECIMALS)):
            return name
    return None


def _answered(subject: Subject, answers: AnswerTable | None, name: str) -> NDArray[np.int64] | None:
    """int [N]: the label of each image by the file's own rule."""
    probabilities = answers.probabilities(name) if answers else None
    if probabilities is None:
        return None
    return labels_of(subject.files[name].decision, probabilities, subject.labels)


def _review(name: str, old: Subject, new: Subject, common: Common | None) -> FileReview:
    before, after = old.files.get(name), new.files.get(name)
    sides = (_side(before), _side(after))
    if before is None or after is None:
        return FileReview(name, *sides)
    if common is not None and all(answers.probabilities(name) is not None for answers in common):
        return _paired(name, sides, old, new, common)
    same = before.sha256 == after.sha256 and before.decision.threshold == after.decision.threshold
    changes = [
        _unpaired(metric, before.metrics[metric], after.metrics[metric], same)
        for metric in after.metrics
        if metric in before.metrics
    ]
    shown = tuple(change for change in changes if change.name not in ("agreement", "refer_rate", "accuracy_decided"))
    return FileReview(name, *sides, paired=False, images=min((change.gain.n for change in shown), default=0), changes=shown)


def _paired(name: str, sides: tuple[Side | None, Side | None], old: Subject, new: Subject, common: Common) -> FileReview:
    was, now = common
    truth, positive = now.truth, new.labels.index(new.positive) if new.positive else None
    given = [_answered(subject, answers, name) for subject, answers in ((old, was), (new, now))]
    assert given[0] is not None
    assert given[1] is not None
    right = (given[0] == was.truth, given[1] == truth)
    changes = [_shares("accuracy", *right)]
    for label, text in enumerate(new.labels):
        own = truth == label
        title = f"recall_{text}" if positive is None else ("sensitivity" if label == positive else "specificity")
        if own.any():
            changes.append(_shares(title, right[0][own], right[1][own]))
    if positive is not None:
        changes = [changes[0], *sorted(changes[1:], key=lambda change: change.name)]
        changes += _area("auc", truth == positive, _scores(was, name, new.positive), _scores(now, name, new.positive))
    else:  # each label against all others
        for label, text in enumerate(new.labels):
            changes += _area(f"auc_{text}", truth == label, _scores(was, name, text), _scores(now, name, text))
    decisions = [
        decided(labels, referred(subject.files[name].decision, probabilities, labels), subject.labels)
        for subject, answers, labels in ((old, was, given[0]), (new, now, given[1]))
        if (probabilities := answers.probabilities(name)) is not None
    ]
    flips = sum(a != b for a, b in zip(*decisions, strict=True))
    flipped = _rounded(proportion(flips, len(truth)))
    return FileReview(name, *sides, paired=True, images=len(truth), flips=flipped, changes=tuple(changes))


def _side(file: SubjectFile | None) -> Side | None:
    return Side(file.bytes, in_words(file.decision)) if file else None


def _scores(answers: AnswerTable, name: str, label: str | None) -> NDArray[np.float64]:
    probabilities = answers.probabilities(name)
    assert probabilities is not None
    assert label is not None
    return probabilities[:, answers.labels.index(label)]


def _shares(name: str, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> Change:
    """bool [n], right or not, of the same images: the difference with the bounds of the gate, one at each end."""
    lost, gained, n = int((old & ~new).sum()), int((new & ~old).sum()), len(new)
    low, high = bounds(gained, lost, n, ALPHA)  # of the gain: what is lost and what is gained change places
    gain = Metric(value=(gained - lost) / n, low=low, high=high, n=n)
    return _change(name, float(old.mean()), float(new.mean()), gain, same=lost + gained == 0)


def _area(name: str, is_positive: NDArray[np.bool_], old: NDArray[np.float64], new: NDArray[np.float64]) -> list[Change]:
    if is_positive.all() or not is_positive.any():
        return []
    gain = auc_difference(is_positive, new, old)
    return [_change(name, auc(is_positive, old), auc(is_positive, new), gain, same=gain.low == gain.high == 0)]


def _unpaired(name: str, old: Metric, new: Metric, same: bool) -> Change:
    """The difference of two independent figures from their intervals: Zou & Donner, Statistics in Medicine 27 (2008) 1693-1702.

    Of two shares with Wilson's intervals it is Newcombe's method 10 (Statistics in Medicine 17 (1998) 873-890).
    """
    value = new.value - old.value
    low = value - math.hypot(new.value - new.low, old.high - old.value)
    high = value + math.hypot(new.high - new.value, old.value - old.low)
    gain = Metric(value=value, low=low, high=high, n=min(old.n, new.n))
    return _change(name, old.value, new.value, gain, same)


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
    if len(file.classes) <= 2:
        return f"{file.name}: {', '.join(f'{one.name} {one.outcome} ({points(one)})' for one in file.classes)}"
    by_outcome: Mapping[str, list[str]] = {
        outcome: [one.name.removeprefix("recall_") for one in file.classes if one.outcome == outcome]
        for outcome in ("worse", "better", "undecided", "same")
    }
    return f"{file.name}: {'; '.join(f'{outcome} {_few(names)}' for outcome, names in by_outcome.items() if names)}"


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
