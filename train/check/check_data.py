"""`limiar.check_data`: what is wrong with a data folder, before an hour of training is spent; every fault, not only the first.

A fault is what training refuses, or what makes its figures untrue. A warning may be right and should be looked at; a note is
for information.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import DicomWindow
from limiar.edge_app.errors import DataError, printable
from limiar.train.check import findings
from limiar.train.check.check_report import SEVERITIES, CheckReport, CheckRequest, LabelCheck
from limiar.train.check.dicom_findings import dicom_findings, dicom_notes
from limiar.train.check.near import near_pairs
from limiar.train.check.shortcuts import shortcuts
from limiar.train.check.survey import Survey, survey
from limiar.train.check.wrong_labels import JudgedLabels, suspects
from limiar.train.config import check_input, configured, input_of
from limiar.train.dataset.listing import list_images
from limiar.train.dataset.splits import Shares, joined, units
from limiar.train.record.evidence import evidence
from limiar.train.record.run_folder import SPLIT_NAMES

LABEL_IMAGES = 10_000  # judged at most, drawn at random: takes seconds, and 64 MB

Tick = Callable[[str, int, int], None]  # told what is being done, how much of it is done, of how much


def check_data(
    data: Path | str,
    *,
    table: Path | str | None = None,
    size: tuple[int, int] = (40, 40),
    channels: Literal[1, 3] = 3,
    grey_max: int | None = None,
    dicom_window: DicomWindow | None = None,
    seed: int = 0,
    changes: Sequence[str] = (),
    labels: bool = True,
    tick: Tick = lambda what, done, total: None,
) -> CheckReport:
    """Looks for what is wrong with the images in `data`, before a model is trained on them.

    Each keyword is the option of `limiar check` with that name, and has its default; `table` is --csv and `changes` --set.
    size: (height, width) of the model's input in pixels; dicom_window: (centre, width), or "file". labels: whether to look for
    wrong labels, which takes the longest.

        from limiar import check_data

        report = check_data("images")
        for finding in report.findings:
            print(finding.severity, finding.kind, finding.count, finding.text)

    Raises DataError if there is no image, and TrainError for an input that no network takes.
    """
    config = configured("limiar", changes)
    shares = Shares(test=config.test_share, val=config.val_share, minimum=config.min_per_class, seed=seed)
    place = Path(table) if table is not None else None
    return looked_at(CheckRequest(Path(data), place, shares, input_of(size, channels, grey_max, dicom_window), labels), tick)


def looked_at(request: CheckRequest, tick: Tick) -> CheckReport:
    """Looks at everything. tick: told what is being done, how much of it is done, of how much.

    Raises DataError if there is no image, TrainError if no network takes such an input.
    """
    check_input(request.input)
    met: dict[str, list[tuple[DataError, str]]] = defaultdict(list)
    listing = list_images(request.folder, request.table, lambda error, file: met[error.code].append((error, file)))
    chosen = _sample(len(listing.images), request)
    seen = survey(request.folder, listing.images, request.input, chosen, lambda done, total: tick("images", done, total))
    labels = tuple(sorted({image.label for image in listing.images}))
    rows, split_findings, drawn_notes = findings.rows(seen, request.shares)
    near = near_pairs(seen.hashes, seen.thumbnails, lambda done, total: tick("near duplicates: round", done, total))
    found = [
        *findings.listing(met),
        *findings.names(listing.images),
        *findings.refused(seen.refused),
        *split_findings,
        *findings.same(rows, seen.tensors),
        *findings.near(rows, seen.tensors, near),
        *findings.groups(rows),
        *findings.classes(request.folder, rows, labels, request.shares.minimum),
        *findings.shapes(seen, request.input.channels),
        *dicom_findings(seen, request.input),
    ]
    judged = None
    if len(labels) > 1:
        found += [findings.shortcut(one) for one in shortcuts(seen, labels)]
        judged = _judged(seen, near, request, tick) if request.labels else None
        found += findings.labels(seen, judged)
    parts = {
        part: {label: sum(row.part == part and row.label == label for row in rows) for label in labels} for part in SPLIT_NAMES
    }
    return CheckReport(
        folder=printable(str(request.folder)),
        images=len(listing.images),
        refused=len(seen.refused),
        labels=labels,
        drawn=not any(image.split for image in listing.images),
        seed=request.shares.seed,
        parts=parts,
        judged=LabelCheck(len(seen.described), judged.accuracy, judged.exchanged) if judged else None,
        evidence=evidence(parts["test"]) if len(labels) > 1 else None,
        notes=(*listing.notes, *seen.notes, *dicom_notes(seen), *drawn_notes),
        findings=tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.kind))),
        request=request,
    )


def _sample(count: int, request: CheckRequest) -> NDArray[np.int64]:
    """Rows whose labels are judged, in order."""
    if not request.labels:
        return np.empty(0, np.int64)
    rng = np.random.default_rng(request.shares.seed)
    return np.sort(rng.permutation(count)[:LABEL_IMAGES]).astype(np.int64)


def _judged(seen: Survey, near: Iterable[tuple[int, int, float]], request: CheckRequest, tick: Tick) -> JudgedLabels | None:
    """Judges the labels of a sample by a model that did not see them: what belongs together is in one fold."""
    pairs = [(k, unit[0]) for unit in units(seen.images, seen.tensors) for k in unit]
    pairs += [(i, j) for i, j, _ in near]
    unit_of = np.empty(len(seen.images), np.int64)
    for number, unit in enumerate(joined(len(seen.images), pairs)):
        unit_of[unit] = number
    rows = seen.described
    given = [seen.images[k].label for k in rows]
    return suspects(
        seen.features, given, unit_of[rows], request.shares.seed, lambda done, total: tick("labels: fold", done, total)
    )
