"""What each thing that was seen means for a training: a fault, a warning or a note."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from limiar.edge_app.errors import DataError, printable
from limiar.train.check.check_report import Case, CheckFinding, Severity
from limiar.train.check.shortcuts import OF_THE_FILE, Shortcut
from limiar.train.check.survey import Survey, Unusable
from limiar.train.check.wrong_labels import JudgedLabels
from limiar.train.dataset.labels import one_class
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.listing import is_utf8
from limiar.train.dataset.splits import Shares, given_or_drawn, joined
from limiar.train.record.run_folder import SPLIT_NAMES, SplitRow

IMBALANCE = 10.0  # largest class of the training part over the smallest
ASPECT = 1.05  # the longest aspect ratio over the shortest; below, stretching to a square does not show

# An image that cannot be assessed has no picture.
BLANK = frozenset({"E-IMAGE-UNIFORM", "E-IMAGE-BLACK", "E-IMAGE-SATURATED"})
LISTING_KINDS = {
    "E-DATA-LINK": "link",
    "E-DATA-OUTSIDE": "path-outside",
    "E-DATA-LABEL": "unlabelled",
    "E-DATA-EMPTY": "class-empty",
    "E-DATA-CSV": "table-line",
    "E-DATA-SPLIT": "split-name",
}


def rows(seen: Survey, shares: Shares) -> tuple[list[SplitRow], list[CheckFinding], tuple[str, ...]]:
    """The rows of the splits.csv that training would write, what is wrong with the given splits, and notes."""
    findings = []
    notes: tuple[str, ...] = ()
    try:
        splits, notes = given_or_drawn(seen.images, seen.tensors, shares)
    except DataError as error:  # some have a split and others not
        findings = [CheckFinding("split-missing", "fault", f"{error.message} (here: train)")]
        splits = [image.split or "train" for image in seen.images]
    rows = [
        SplitRow(file=image.file, sha256=digest, label=image.label, split=split, group=image.group)
        for image, digest, split in zip(seen.images, seen.files, splits, strict=True)
    ]
    return rows, findings, notes


def listing(met: dict[str, list[tuple[DataError, str]]]) -> list[CheckFinding]:
    """What was wrong while images were listed; the message of the first says what to do."""
    return [
        CheckFinding(
            LISTING_KINDS[code], "fault", told[0][0].message, tuple(Case((file,), error.message) for error, file in told)
        )
        for code, told in met.items()
    ]


def names(images: Sequence[Listed]) -> list[CheckFinding]:
    odd = tuple(Case((image.file,), "") for image in images if not is_utf8(image.file))
    return (
        [CheckFinding("name-not-utf8", "note", "file names whose bytes are not UTF-8: they are taken as they are", odd)]
        if odd
        else []
    )


def refused(refused: Iterable[Unusable]) -> list[CheckFinding]:
    blank: list[Case] = []
    other: list[Case] = []
    for one in refused:
        (blank if one.error.code in BLANK else other).append(Case((one.image.file,), str(one.error)))
    findings = []
    if other:
        findings.append(
            CheckFinding("image-refused", "fault", "images that cannot be used: replace or remove them", tuple(other))
        )
    if blank:
        findings.append(CheckFinding("image-blank", "fault", "images without a picture: replace or remove them", tuple(blank)))
    return findings


def same(rows: Sequence[SplitRow], tensors: Sequence[str]) -> list[CheckFinding]:
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
            "within": ("duplicate", "warning", "the same image more than once in a part, so it counts double: keep one"),
        },
    )


def near(rows: Sequence[SplitRow], tensors: Sequence[str], near: Iterable[tuple[int, int, float]]) -> list[CheckFinding]:
    """Images that show the same, but are not the same: each chain of them under every kind that applies."""
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
    across = "almost the same image in two parts, so one part knows the other's answers: keep it in one, or give both a group"
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


def _by_relation(kinds: dict[str, list[Case]], words: dict[str, tuple[str, Severity, str]]) -> list[CheckFinding]:
    return [CheckFinding(*words[relation], tuple(cases)) for relation, cases in kinds.items()]


def groups(rows: Sequence[SplitRow]) -> list[CheckFinding]:
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
    return [CheckFinding("group-leak", "fault", "groups in two parts: keep a group in one", tuple(cases))] if cases else []


def classes(folder: Path, rows: Sequence[SplitRow], labels: Sequence[str], minimum: int) -> list[CheckFinding]:
    if not labels:
        return []
    if len(labels) < 2:
        return [CheckFinding("one-class", "fault", one_class(folder, [row.file for row in rows], labels[0]))]
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
        findings.append(CheckFinding("class-absent", "fault", "a part has no image of a class: add images", tuple(absent)))
    if few:
        lower = ", or lower it with --set min_per_class=N" if minimum > 1 else ""
        text = f"a part has under {minimum} images of a class, too few to say anything about it: add images{lower}"
        findings.append(CheckFinding("class-few", "fault", text, tuple(few)))
    sizes = {label: counts["train", label] for label in labels}
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[least] and sizes[most] >= IMBALANCE * sizes[least]:
        met = f"{sizes[most]} training images of {printable(most)}, {sizes[least]} of {printable(least)}"
        findings.append(
            CheckFinding("class-imbalance", "warning", f"{met}: add images of the smaller; accuracy says little here")
        )
    return findings


def shapes(seen: Survey, channels: int) -> list[CheckFinding]:
    """What differs between images and is evened out for the model."""
    if not seen.images:
        return []
    findings = []
    sizes = Counter(zip(seen.trait("width").astype(int).tolist(), seen.trait("height").astype(int).tolist(), strict=True))
    if len(sizes) > 1:
        (width, height), count = sizes.most_common(1)[0]
        met = f"{len(sizes)} sizes, the most frequent {width}x{height} ({count} of {len(seen.images)})"
        findings.append(CheckFinding("size-mixed", "note", f"{met}: all become the model's input size"))
    aspects = seen.trait("aspect ratio")
    if aspects.max() > ASPECT * aspects.min():
        met = f"width over height from {aspects.min():.2f} to {aspects.max():.2f}"
        findings.append(CheckFinding("aspect-mixed", "note", f"{met}: all are stretched to the model's input"))
    coloured = int(seen.trait("colour").sum())
    if 0 < coloured < len(seen.images):
        met = f"{coloured} of {len(seen.images)} images are in colour, the others grey"
        become = "grey becomes RGB with three equal channels" if channels == 3 else "all become grey"
        findings.append(CheckFinding("colour-mixed", "note", f"{met}: {become}"))
    return findings


def shortcut(found: Shortcut) -> CheckFinding:
    of_the_file = found.trait in OF_THE_FILE
    met = f"{found.trait} alone tells {printable(found.label)} from the rest (AUC {found.auc:.3f})"
    text = f"{met}: a model would learn that instead of the picture; make it the same for all classes"
    return CheckFinding(f"shortcut-{found.trait.replace(' ', '-')}", "fault" if of_the_file else "warning", text)


def labels(seen: Survey, judged: JudgedLabels | None) -> list[CheckFinding]:
    if not judged or not judged.suspects:
        return []
    cases = []
    for at, other, probability in judged.suspects:
        image = seen.images[seen.described[at]]
        told = f"labelled {printable(image.label)}, looks like {printable(other)} (wrong with probability {probability:.2f})"
        cases.append(Case((image.file,), told))
    text = f"labels that are probably wrong, of an estimated {100 * judged.exchanged:.1f} % in all: look at these images"
    return [CheckFinding("label-suspect", "warning", text, tuple(cases))]
