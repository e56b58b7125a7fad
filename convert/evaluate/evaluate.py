"""`limiar.evaluate`: a bundle and labelled images -> figures with intervals."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from limiar.convert.evaluate.answering import Answers, answers
from limiar.convert.evaluate.evaluation import (
    Evaluation,
    GroupFigures,
    LabelFigures,
    PointFigures,
    RefusedImages,
    Scored,
    WrongImage,
)
from limiar.convert.evaluate.figures import Judged, confusion, figures, independent, label_figures, precisions, recalls
from limiar.convert.evaluate.labelled import Labelled, by_frame, labelled
from limiar.convert.evaluate.marks import Marks, mark_figures, read_marks
from limiar.edge_app.answer import SlicePlace
from limiar.edge_app.bundle.manifest import REFUSED, TileSpec
from limiar.edge_app.errors import DataError, LimiarError, printable
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.session import Session, open_session
from limiar.edge_app.inference.tiling import Tiling
from limiar.edge_app.output.files import writable
from limiar.edge_app.output.lines import Origin, path_fields
from limiar.edge_app.system.files import check_replaceable
from limiar.edge_app.text import counted
from limiar.train.record.curves import reliability
from limiar.train.record.operating_points import labels_of

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys

WORST = 10
FEW_GROUPS = 30  # below which an interval that draws groups again is too narrow (Cameron, Gelbach & Miller, 2008, section I)


def evaluate(
    bundle: Path | str,
    data: Path | str,
    *,
    csv: Path | None = None,
    split: str | None = None,
    file: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    workers: int = 1,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    tiles: Tiling = "bundle",
    marks: Path | None = None,
    group_by: str | None = None,
    worst: int = WORST,
    html: Path | None = None,
    keys: "Keys | None" = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Score a bundle on labelled images, on this machine: figures with 95 % intervals, and what to look at.

        found = limiar.evaluate("models/lung-nodule", "images/")
        print(found.figures["accuracy"].value, found.labels["pos"].decided)

    data: images with labels, in any form that `limiar train` takes; csv: a table of them, with the columns file and label, and
        optionally split and group (patient, scan: intervals then allow for images of one group being alike).
    split: "train", "val", "test" or "all"; None: the test images if the data say which they are, otherwise all.
    file, runtime, threads, workers, refer_below, outside, tiles, keys: as for `limiar.scan`.
    marks: a table of the positions that peaks of tiles should find: file, x, y and optionally radius, in px of the picture.
        With two labels and without `csv`, the pictures are all below `data`, and those with a mark have the sought label.
    group_by: a column of the table; the images with each of its values get figures of their own.
    worst: how many of the wrong images to name.
    html: also write a page there; it needs jinja2.
    tick: told (images done, images in all).

    An image that is refused counts as wrong. Nothing is kept in a database. Raises BundleError, DataError, RuntimeUnavailable
    and OutputError (html).
    """
    write_page = _page_writer(html) if html else None
    session = open_session(
        bundle,
        file=file,
        runtime=runtime,
        threads=threads,
        workers=workers,
        refer_below=refer_below,
        outside=outside,
        tiles=tiles,
        keys=keys,
    )
    marked = _marks(session, marks) if marks else None
    positions = marked[0].positions(marked[1].sought) if marked else None
    names = session.manifest.labels
    chosen = labelled(Path(data), csv, split, group_by, names, positions)
    by_marks = positions if csv is None and len(names) == 2 else None
    paths = [Path(data) / image.file for image in chosen.images]
    answered, origin = answers(session, paths, workers, tick, frames_apart=by_marks is not None)
    if by_marks:
        chosen = by_frame(chosen, answered, names, by_marks)
    judged = Judged(
        names,
        session.manifest.positive,
        np.array([names.index(image.label) for image in chosen.images]),
        answered.labels,
        answered.probabilities,
        np.array(answered.decisions),
        independent([image.group or _study(place) for image, place in zip(chosen.images, answered.places, strict=True)]),
    )
    found = _evaluation(session, origin, chosen, answered, judged, data=printable(str(data)), group_by=group_by, worst=worst)
    if marked:
        of_marks = mark_figures(chosen, answered, judged.groups, *marked, worst)
        found = msgspec.structs.replace(found, marks=of_marks)
    if html and write_page:
        write_page(html, found, judged, Path(data))
    return found


def _marks(session: Session, table: Path) -> tuple[Marks, TileSpec]:
    """The marks, and the tiles that are to find them. Raises DataError."""
    tiles = session.model.tiles
    if tiles is None:
        met = f"{printable(session.manifest.name)} answers a picture as one image, which finds no position"
        raise DataError("E-EVALUATE-MARKS", f"{met}: give --tiles SIZE,STRIDE, or leave --marks out")
    return read_marks(table, tiles.size), tiles


def _study(place: SlicePlace | None) -> str:
    """The group of a DICOM image that no table puts into one: slices of one study are alike."""
    return place.study if place else ""


def _page_writer(html: Path) -> "Callable[[Path, Evaluation, Judged, Path], None]":
    """Before the work. Raises OutputError: nothing can be written there; LimiarError: jinja2 is not installed."""
    with writable(html):
        html.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(html)
    try:
        from limiar.convert.evaluate.page import write_page
    except ModuleNotFoundError as error:
        met = f"--html needs {error.name}, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[html]'") from None
    return write_page


def _evaluation(
    session: Session,
    origin: Origin,
    chosen: Labelled,
    answered: Answers,
    judged: Judged,
    *,
    data: str,
    group_by: str | None,
    worst: int,
) -> Evaluation:
    manifest, names = session.manifest, judged.names
    scored = judged.of(answered.answered)
    return Evaluation(
        bundle=Scored(
            name=manifest.name,
            version=manifest.version,
            intended_use=manifest.intended_use,
            verdict=manifest.verdict,
            labels=names,
            positive=manifest.positive,
            input=manifest.input,
            decision=session.model.rule.decision,
        ),
        origin=origin,
        data=data,
        tiles=session.model.tiles,
        split=chosen.split,
        images=len(chosen.images),
        refused=_refused(chosen, answered),
        groups=None if judged.groups is None else len(np.unique(judged.groups)),
        figures=figures(judged),
        labels=_labels(judged),
        reliability=tuple(reliability(scored.truth, scored.probabilities)) if len(scored.truth) else (),
        operating_points=tuple(
            PointFigures(
                point.name,
                point.aim,
                point.decision,
                point.test,
                label_figures(judged, _by_point(judged, labels_of(point.decision, judged.probabilities, names))),
            )
            for point in session.file.operating_points
            if manifest.positive is not None
        ),
        group_by=group_by,
        compared=_compared(judged, chosen.values) if chosen.values is not None else (),
        outside=dict(Counter(name for names in answered.outside for name in names)),
        outside_images=sum(bool(names) for names in answered.outside),
        worst=_worst(chosen, answered, judged, worst),
        notes=(*chosen.notes, *_notes(chosen, answered, judged)),
    )


def _by_point(judged: Judged, labels: np.ndarray) -> np.ndarray:
    return np.where(judged.labels < 0, -1, labels)  # refused, whatever the rule


def _labels(judged: Judged) -> dict[str, LabelFigures]:
    recall, precision = recalls(judged), precisions(judged)
    return {
        name: LabelFigures(sum(decided.values()), decided, recall.get(name), precision.get(name))
        for name, decided in confusion(judged).items()
    }


def _compared(judged: Judged, values: Sequence[str]) -> tuple[GroupFigures, ...]:
    """Figures of each value, the most frequent first."""
    held = np.array(values)
    found = []
    for value, count in sorted(Counter(values).items(), key=lambda one: (-one[1], one[0])):
        own = judged.of(held == value)
        found.append(GroupFigures(printable(value), count, int((own.decisions == REFUSED).sum()), figures(own)))
    return tuple(found)


def _refused(chosen: Labelled, answered: Answers) -> tuple[RefusedImages, ...]:
    rows: dict[str, list[int]] = {}
    for row, refusal in sorted(answered.refused.items()):
        rows.setdefault(refusal.code, []).append(row)
    return tuple(
        RefusedImages(code, len(own), tuple(_shown(chosen, row) for row in own), answered.refused[own[0]].message)
        for code, own in sorted(rows.items())
    )


def _worst(chosen: Labelled, answered: Answers, judged: Judged, count: int) -> tuple[WrongImage, ...]:
    """The images that got a wrong label, those whose true label is the least probable first."""
    wrong = np.flatnonzero(answered.answered & (judged.labels != judged.truth))
    of_truth = judged.probabilities[wrong, judged.truth[wrong]]
    return tuple(
        WrongImage(
            file=_shown(chosen, row),
            frame=chosen.frames[row],
            sha256=answered.sha256[row],
            truth=judged.names[judged.truth[row]],
            label=judged.names[judged.labels[row]],
            decision=answered.decisions[row],
            confidence=float(judged.probabilities[row, judged.labels[row]]),
            of_truth=float(judged.probabilities[row, judged.truth[row]]),
            outside=answered.outside[row],
        )
        for row in wrong[np.argsort(of_truth, kind="stable")][:count].tolist()
    )


def _notes(chosen: Labelled, answered: Answers, judged: Judged) -> list[str]:
    """What a person should know of the figures."""
    notes = []
    if absent := [name for k, name in enumerate(judged.names) if not (judged.truth == k).any()]:
        notes.append(f"there is no image of {', '.join(map(printable, absent))}: figures that need one are left out")
    if judged.groups is not None and (count := len(np.unique(judged.groups))) < FEW_GROUPS:
        notes.append(f"{count} groups are few: the intervals are probably too narrow")
    first: dict[str, int] = {}
    twice = 0
    for row, digest in enumerate(answered.sha256):
        other = first.setdefault(digest, row) if digest else row
        twice += other != row
        if judged.truth[other] != judged.truth[row]:
            pair = f"{printable(_shown(chosen, other))} and {printable(_shown(chosen, row))}"
            notes.append(f"{pair} are the same file with two labels: one of them counts as wrong")
    if twice:
        notes.append(f"{counted(twice, 'image is', 'images are')} a copy of another, and counted again")
    return notes


def _shown(chosen: Labelled, row: int) -> str:
    return path_fields(os.fsencode(chosen.images[row].file))[0]
