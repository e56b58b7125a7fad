"""What is wrong with a data folder, before an hour of training is spent: every fault, not the first alone.

A fault is what training refuses, or what makes its figures untrue. A warning may be right and should be looked at; a note is
for information.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError, printable
from limiar.train.check import labels as check_labels
from limiar.train.check.near import near_pairs
from limiar.train.check.scan import Refused, Scan, scan
from limiar.train.check.shortcuts import OF_THE_FILE, Shortcut, shortcuts
from limiar.train.config import INPUT, check_input
from limiar.train.dataset.image_folder import is_utf8, list_images
from limiar.train.dataset.labels import one_class
from limiar.train.dataset.splits import Listed, Shares, given_or_drawn, joined, units
from limiar.train.evidence import Evidence, evidence
from limiar.train.record.run_folder import SPLIT_NAMES, SplitRow

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")
IMBALANCE = 10.0  # largest class of the training part over the smallest
ASPECT = 1.05  # the longest aspect ratio over the shortest; below, stretching to a square does not show
LABEL_IMAGES = 10_000  # are judged at most, drawn at random: seconds, and 64 MB

# What cannot be assessed is an image without a picture.
BLANK = frozenset({"E-IMAGE-UNIFORM", "E-IMAGE-BLACK", "E-IMAGE-SATURATED"})
LISTING_KINDS = {
    "E-DATA-LINK": "link",
    "E-DATA-OUTSIDE": "path-outside",
    "E-DATA-LABEL": "unlabelled",
    "E-DATA-EMPTY": "class-empty",
    "E-DATA-CSV": "table-line",
    "E-DATA-SPLIT": "split-name",
}


class Case(msgspec.Struct, frozen=True):
    """One instance of a finding: the images that belong together, and what is to be said of them."""

    files: tuple[str, ...]  # as os.fsdecode gives them; Report.as_json makes them printable
    text: str  # printable


class Finding(msgspec.Struct, frozen=True):
    """All instances of one thing that was found."""

    kind: str  # stable; docs/check.md lists them
    severity: Severity
    text: str  # one line: what was met, what to do
    cases: tuple[Case, ...] = ()

    @property
    def count(self) -> int:
        """Of instances; a finding about the whole folder is one."""
        return max(1, len(self.cases))


class LabelCheck(msgspec.Struct, frozen=True):
    """How the labels were judged."""

    images: int
    accuracy: float  # of the trees, out of fold
    exchanged: float  # estimated share of wrong labels; 0 where there is no evidence


class Report(msgspec.Struct, frozen=True):
    """The outcome."""

    folder: str  # printable
    images: int  # found
    refused: int
    labels: tuple[str, ...]
    drawn: bool  # whether the split is the one that training would draw
    seed: int
    parts: dict[str, dict[str, int]]  # train, val, test -> label -> images
    judged: LabelCheck | None  # None where labels were not looked at
    evidence: Evidence | None  # what the test split can decide; None where a class has no image there
    notes: tuple[str, ...]  # how images and splits were found; printable
    findings: tuple[Finding, ...]  # faults first

    @property
    def passed(self) -> bool:
        """Whether there is no fault."""
        return not any(finding.severity == "fault" for finding in self.findings)

    def as_json(self) -> bytes:
        """For programs; file names are printable, with \\xNN for bytes that are not UTF-8."""
        findings = [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "count": finding.count,
                "text": finding.text,
                "cases": [{"files": [printable(file) for file in case.files], "text": case.text} for case in finding.cases],
            }
            for finding in self.findings
        ]
        body = msgspec.structs.asdict(self) | {"passed": self.passed, "findings": findings}
        body["labels"] = [printable(label) for label in self.labels]
        body["parts"] = {part: {printable(k): n for k, n in own.items()} for part, own in self.parts.items()}
        return msgspec.json.format(msgspec.json.encode(body), indent=1)


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    folder: Path
    table: Path | None  # --csv
    shares: Shares  # of the split that training would draw
    input: InputSpec = INPUT  # of the model
    labels: bool = True  # whether labels are judged


def check(request: Request, tick: Callable[[str, int, int], None]) -> Report:
    """Looks at everything. tick: what is being done, how much of it, of how much.

    Raises DataError where there is no image, TrainError where no network takes such an input.
    """
    check_input(request.input)
    met: dict[str, list[tuple[DataError, str]]] = defaultdict(list)
    listing = list_images(request.folder, request.table, lambda error, file: met[error.code].append((error, file)))
    chosen = _sample(len(listing.images), request)
    seen = scan(request.folder, listing.images, request.input, chosen, lambda done, total: tick("images", done, total))
    labels = tuple(sorted({image.label for image in listing.images}))
    rows, split_findings, drawn_notes = _rows(seen, request.shares)
    near = near_pairs(seen.hashes, seen.thumbnails, lambda done, total: tick("near duplicates: round", done, total))
    findings = [
        *_listing(met),
        *_names(listing.images),
        *_refused(seen.refused),
        *split_findings,
        *_same(rows, seen.tensors),
        *_near(rows, seen.tensors, near),
        *_groups(rows),
        *_classes(request.folder, rows, labels, request.shares.minimum),
        *_shapes(seen, request.input.channels),
    ]
    judged = None
    if len(labels) > 1:
        findings += [_shortcut(found) for found in shortcuts(seen, labels)]
        judged = _judged(seen, near, request, tick) if request.labels else None
        findings += _labels(seen, judged)
    parts = {
        part: {label: sum(row.part == part and row.label == label for row in rows) for label in labels} for part in SPLIT_NAMES
    }
    return Report(
        folder=printable(str(request.folder)),
        images=len(listing.images),
        refused=len(seen.refused),
        labels=labels,
        drawn=not any(image.split for image in listing.images),
        seed=request.shares.seed,
        parts=parts,
        judged=LabelCheck(len(seen.described), judged.accuracy, judged.exchanged) if judged else None,
        evidence=evidence(parts["test"]) if len(labels) > 1 else None,
        notes=(*listing.notes, *drawn_notes),
        findings=tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.kind))),
    )


def _sample(count: int, request: Request) -> NDArray[np.int64]:
    """Rows whose labels are judged, in order."""
    if not request.labels:
        return np.empty(0, np.int64)
    rng = np.random.default_rng(request.shares.seed)
    return np.sort(rng.permutation(count)[:LABEL_IMAGES]).astype(np.int64)


def _rows(seen: Scan, shares: Shares) -> tuple[list[SplitRow], list[Finding], tuple[str, ...]]:
    """The rows of the splits.csv that training would write, what is wrong with the given splits, and notes."""
    findings = []
    notes: tuple[str, ...] = ()
    try:
        splits, notes = given_or_drawn(seen.images, seen.tensors, shares)
    except DataError as error:  # some have a split and others not
        findings = [Finding("split-missing", "fault", f"{error.message} (here: train)")]
        splits = [image.split or "train" for image in seen.images]
    rows = [
        SplitRow(file=image.file, sha256=digest, label=image.label, split=split, group=image.group)
        for image, digest, split in zip(seen.images, seen.files, splits, strict=True)
    ]
    return rows, findings, notes


def _listing(met: dict[str, list[tuple[DataError, str]]]) -> list[Finding]:
    """What stood in the way of listing the images; the first one's message says what to do."""
    return [
        Finding(LISTING_KINDS[code], "fault", told[0][0].message, tuple(Case((file,), error.message) for error, file in told))
        for code, told in met.items()
    ]


def _names(images: Sequence[Listed]) -> list[Finding]:
    odd = tuple(Case((image.file,), "") for image in images if not is_utf8(image.file))
    return (
        [Finding("name-not-utf8", "note", "file names whose bytes are not UTF-8: they are taken as they are", odd)]
        if odd
        else []
    )


def _refused(refused: Iterable[Refused]) -> list[Finding]:
    blank: list[Case] = []
    other: list[Case] = []
    for one in refused:
        (blank if one.error.code in BLANK else other).append(Case((one.image.file,), str(one.error)))
    findings = []
    if other:
        findings.append(Finding("image-refused", "fault", "images that cannot be used: replace or remove them", tuple(other)))
    if blank:
        findings.append(Finding("image-blank", "fault", "images without a picture: replace or remove them", tuple(blank)))
    return findings


def _same(rows: Sequence[SplitRow], tensors: Sequence[str]) -> list[Finding]:
    """Images that are the same to a model, each set under one kind: two labels, else two parts, else twice in one part."""
    sets = defaultdict(list)
    for k, tensor in enumerate(tensors):
        sets[tensor].append(k)
    kinds: dict[str, list[Case]] = defaultdict(list)
    for own in sets.values():
        if len(own) > 1:
            files = {rows[k].sha256 for k in own}
            alike = "same file" if len(files) == 1 else "same pixels"
            kinds[_relations([rows[k] for k in own])[0]].append(_case(rows, own, alike))
    return _by_relation(
        kinds,
        {
            "labels": ("duplicate-labels", "fault", "the same image under two labels: keep the right one"),
            "parts": ("duplicate-across-splits", "fault", "the same image in two parts: keep it in one"),
            "within": ("duplicate", "warning", "the same image more than once in a part, where it counts double: keep one"),
        },
    )


def _near(rows: Sequence[SplitRow], tensors: Sequence[str], near: Iterable[tuple[int, int, float]]) -> list[Finding]:
    """Images that show the same, but are not the same: each chain of them under every kind that it is of."""
    other = [(i, j, alike) for i, j, alike in near if tensors[i] != tensors[j]]
    kinds: dict[str, list[Case]] = defaultdict(list)
    least: dict[int, float] = {}
    for i, _, alike in other:
        least[i] = min(alike, least.get(i, 1.0))
    for own in joined(len(rows), ((i, j) for i, j, _ in other)):
        if len(own) > 1:
            alike = min(least[k] for k in own if k in least)
            for relation in _relations([rows[k] for k in own]):
                kinds[relation].append(_case(rows, own, f"correlation {alike:.3f}"))
    across = "almost the same image in two parts, so that a part knows the other's answers: keep it in one, or give it a group"
    return _by_relation(
        kinds,
        {
            "labels": ("near-duplicate-labels", "warning", "almost the same image under two labels: look at them"),
            "parts": ("near-duplicate-across-splits", "fault", across),
            "within": ("near-duplicate", "note", "almost the same image more than once in a part"),
        },
    )


def _relations(rows: Sequence[SplitRow]) -> list[str]:
    """What sets the rows apart, the worst first."""
    values = {"labels": {row.label for row in rows}, "parts": {row.part for row in rows}}
    return [name for name, found in values.items() if len(found) > 1] or ["within"]


def _case(rows: Sequence[SplitRow], own: Sequence[int], text: str) -> Case:
    told = ", ".join(f"{rows[k].split} {printable(rows[k].label)}" for k in own)
    return Case(tuple(rows[k].file for k in own), f"{text}: {told}")


def _by_relation(kinds: dict[str, list[Case]], words: dict[str, tuple[str, Severity, str]]) -> list[Finding]:
    return [Finding(*words[relation], tuple(cases)) for relation, cases in kinds.items()]


def _groups(rows: Sequence[SplitRow]) -> list[Finding]:
    groups = defaultdict(list)
    for k, row in enumerate(rows):
        if row.group:
            groups[row.group].append(k)
    cases = []
    for group, own in groups.items():
        counts = Counter(rows[k].part for k in own)
        if len(counts) > 1:
            told = ", ".join(f"{count} in {part}" for part, count in sorted(counts.items()))
            cases.append(Case(tuple(rows[k].file for k in own), f"group {printable(group)}: {told}"))
    return [Finding("group-leak", "fault", "groups in two parts: keep a group in one", tuple(cases))] if cases else []


def _classes(folder: Path, rows: Sequence[SplitRow], labels: Sequence[str], minimum: int) -> list[Finding]:
    if not labels:
        return []
    if len(labels) < 2:
        return [Finding("one-class", "fault", one_class(folder, [row.file for row in rows], labels[0]))]
    counts = Counter((row.part, row.label) for row in rows)
    absent: list[Case] = []
    few: list[Case] = []
    for part in SPLIT_NAMES:
        for label in labels:
            count = counts[part, label]
            if count < minimum:
                (few if count else absent).append(Case((), f"{part}: {count} of {printable(label)}"))
    findings = []
    if absent:
        findings.append(Finding("class-absent", "fault", "a part has no image of a class: add images", tuple(absent)))
    if few:
        lower = ", or lower it with --set min_per_class=N" if minimum > 1 else ""
        text = f"a part has under {minimum} images of a class, too few to say anything about it: add images{lower}"
        findings.append(Finding("class-few", "fault", text, tuple(few)))
    sizes = {label: counts["train", label] for label in labels}
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[least] and sizes[most] >= IMBALANCE * sizes[least]:
        met = f"{sizes[most]} training images of {printable(most)}, {sizes[least]} of {printable(least)}"
        findings.append(Finding("class-imbalance", "warning", f"{met}: add images of the smaller; accuracy says little here"))
    return findings


def _shapes(seen: Scan, channels: int) -> list[Finding]:
    """What differs between images and is evened out for the model."""
    if not seen.images:
        return []
    findings = []
    sizes = Counter(zip(seen.trait("width").astype(int).tolist(), seen.trait("height").astype(int).tolist(), strict=True))
    if len(sizes) > 1:
        (width, height), count = sizes.most_common(1)[0]
        met = f"{len(sizes)} sizes, the most frequent {width}x{height} ({count} of {len(seen.images)})"
        findings.append(Finding("size-mixed", "note", f"{met}: all become the model's input size"))
    aspects = seen.trait("aspect ratio")
    if aspects.max() > ASPECT * aspects.min():
        met = f"width over height from {aspects.min():.2f} to {aspects.max():.2f}"
        findings.append(Finding("aspect-mixed", "note", f"{met}: all are stretched to the model's input"))
    coloured = int(seen.trait("colour").sum())
    if 0 < coloured < len(seen.images):
        met = f"{coloured} of {len(seen.images)} images are in colour, the others grey"
        become = "grey becomes RGB with three equal channels" if channels == 3 else "all become grey"
        findings.append(Finding("colour-mixed", "note", f"{met}: {become}"))
    return findings


def _shortcut(found: Shortcut) -> Finding:
    of_the_file = found.trait in OF_THE_FILE
    met = f"{found.trait} alone tells {printable(found.label)} from the rest (AUC {found.auc:.3f})"
    text = f"{met}: a model learns that instead of the picture; make it the same for all classes"
    return Finding(f"shortcut-{found.trait.replace(' ', '-')}", "fault" if of_the_file else "warning", text)


def _judged(
    seen: Scan, near: Iterable[tuple[int, int, float]], request: Request, tick: Callable[[str, int, int], None]
) -> check_labels.Labels | None:
    """The labels of a sample, judged by what did not see them: what belongs together is in one fold."""
    pairs = [(k, unit[0]) for unit in units(seen.images, seen.tensors) for k in unit]
    pairs += [(i, j) for i, j, _ in near]
    unit_of = np.empty(len(seen.images), np.int64)
    for number, unit in enumerate(joined(len(seen.images), pairs)):
        unit_of[unit] = number
    rows = seen.described
    given = [seen.images[k].label for k in rows]
    return check_labels.suspects(
        seen.features, given, unit_of[rows], request.shares.seed, lambda done, total: tick("labels: fold", done, total)
    )


def _labels(seen: Scan, judged: check_labels.Labels | None) -> list[Finding]:
    if not judged or not judged.suspects:
        return []
    cases = []
    for at, other, probability in judged.suspects:
        image = seen.images[seen.described[at]]
        told = f"labelled {printable(image.label)}, looks like {printable(other)} (wrong with probability {probability:.2f})"
        cases.append(Case((image.file,), told))
    text = f"labels that are probably wrong, of an estimated {100 * judged.exchanged:.1f} % in all: look at these images"
    return [Finding("label-suspect", "warning", text, tuple(cases))]
