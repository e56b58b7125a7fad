"""report.html of a RUN: one file, with every figure's interval and method."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Metric
from limiar.edge_app.errors import printable
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.report import templates
from limiar.edge_app.report.figures import interval, metric_title, share
from limiar.edge_app.report.image import png_url
from limiar.edge_app.text import counted
from limiar.train.dataset.image_folder import DataSet
from limiar.train.record.curves import draw_reliability, draw_risk_coverage, draw_roc
from limiar.train.record.metrics import (
    ECE_BINS,
    RESAMPLES,
    class_metrics,
    decided_metrics,
    ece_interval,
    nll,
    proportion,
)
from limiar.train.record.operating_points import Scores, operating_points
from limiar.train.record.referral import COURSE, referrals
from limiar.train.record.run_folder import SPLIT_NAMES, Epoch, Run
from limiar.train.report.learning import CLASSES, draw_class_rocs, draw_learning, short

PARTS = tuple(reversed(SPLIT_NAMES))  # test first: that is what a reader came for
TILES = 4
NAMED = 6  # classes in the heading
GRID = 18  # images in a row
IMAGE_PX = 80  # of a side
COURSE_DIFFERENCES = (
    "The last layer has one output per class. The course's text gives it one per training image, which is a slip.",
    "Images are read and resized by limiar's image rules, so that a device sees the same pixels.",
    "The model scales its pixels itself and returns logits; the app computes the softmax. The answers are the same.",
    "Splits that come with the data are kept. If there are none, the test part is the course's 25 %, but groups and equal "
    "images stay together, classes keep their proportions, and a validation part is taken from the 75 %.",
    "Augmentation, optimizer, batch size and epochs are those of config below: a number that the course "
    "does not give is the usual one. As in the course, the last epoch is kept, without early stopping or temperature.",
)
COURSE_SLIP = (
    "The course's classification report has precision and recall exchanged, as happens if the answers are passed as the "
    "truth. Precision is the share of right answers among those that were given a class; recall the share of a class's images "
    "that were found. The table above has them right."
)


@dataclass(frozen=True)
class OfClass:
    """A line of the table by class."""

    label: str
    precision: Metric | None  # None: it was never answered
    recall: Metric
    f1: float
    support: int


@dataclass(frozen=True)
class OfPoint:
    """A line of the table of operating points."""

    aim: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """An image with its answer."""

    url: str
    title: str
    answer: str
    right: bool


def render(run: Run, data: DataSet, logits: NDArray[np.float32], history: Sequence[Epoch]) -> bytes:
    """The page. logits: [N, K] of the model that ships, row k belongs to data.rows[k]."""
    answers = softmax(logits)
    positive = run.labels.index(run.positive) if run.positive else None
    scores = {part: Scores(answers[data.part(part)], data.truth[data.part(part)], positive) for part in PARTS}
    test = scores["test"]
    labels = [printable(label) for label in run.labels]
    matrix = confusion(test.truth, test.probabilities.argmax(axis=1), len(labels))
    columns, points = _points(run, scores)
    measured = {part: _measured(run, scores[part]) for part in PARTS}
    own = {short(run.model): test.probabilities}
    return templates.render(
        Path(__file__).parent,
        "run_page.html.j2",
        run=run,
        images_in_words=counted(len(data.rows), "image"),
        classes=" or ".join(labels[:NAMED]) + (f" or {len(labels) - NAMED} more" if len(labels) > NAMED else ""),
        test_images=len(test.truth),
        tiles=list(measured["test"].items())[:TILES],
        learning=draw_learning(history, run.best_epoch),
        harder=harder(run.config),
        roc=_roc(run, test),
        roc_caption=_roc_caption(run),
        reliability=draw_reliability(test.truth, own),
        risk_coverage=draw_risk_coverage(test.truth, own),
        rules=referrals(scores["val"], test),
        parts={part: len(scores[part].truth) for part in PARTS},
        measured={name: {part: measured[part].get(name) for part in PARTS} for name in measured["test"]},
        nll={part: nll(scores[part].truth, scores[part].probabilities) for part in PARTS},
        course=COURSE,
        bins=ECE_BINS,
        resamples=RESAMPLES,
        by_class=_by_class(labels, matrix),
        labels=labels,
        matrix=[(label, row.tolist()) for label, row in zip(labels, matrix, strict=True)],
        columns=columns,
        points=points,
        images=_images(run, data, answers),
        differences=COURSE_DIFFERENCES,
        slip=COURSE_SLIP,
        facts=_facts(run),
        title=metric_title,
        share=share,
        interval=interval,
    )


def unrendered(met: str) -> bytes:
    """The page of a RUN whose own cannot be drawn. met: why."""
    return templates.render(Path(__file__).parent, "no_report.html.j2", met=met)


def _measured(run: Run, part: Scores) -> dict[str, Metric]:
    found = class_metrics(part.truth, part.probabilities, run.labels, run.positive)
    found |= decided_metrics(part.truth, part.probabilities, COURSE)
    return found | {"ece": ece_interval(part.truth, part.probabilities)}


def _by_class(labels: Sequence[str], matrix: NDArray[np.int64]) -> list[OfClass]:
    found = []
    for k, label in enumerate(labels):
        right, support, given = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        precision = proportion(right, given) if given else None
        found.append(OfClass(label, precision, proportion(right, support), 2 * right / (support + given), support))
    return found


def _points(run: Run, scores: dict[str, Scores]) -> tuple[list[str], list[OfPoint]]:
    """Heads of the columns but the first, and the lines."""
    points = operating_points(scores["val"], scores["test"], run.labels)
    figures = list(points[0].val)  # the most probable label: every image is answered, so that no figure is missing
    heads = [f"{metric_title(name)}, {split}" for split in ("validation", "test") for name in figures]
    lines = []
    for point in points:
        measured = (split.get(name) for split in (point.val, point.test) for name in figures)
        cells = [interval(metric) if metric else "" for metric in measured]
        if run.positive:
            cells.insert(0, f"{point.decision.threshold.at_least:.6g}" if point.decision.threshold else "")
        lines.append(OfPoint(point.aim, tuple(cells)))
    return [*([f"{printable(run.positive)} from"] if run.positive else []), *heads], lines


def confusion(truth: NDArray[np.int64], answered: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """[K, K] counts: row the true class, column the answer."""
    return np.bincount(truth * classes + answered, minlength=classes * classes).reshape(classes, classes)


def _roc(run: Run, test: Scores) -> str:
    if test.positive is not None:
        return draw_roc(test.truth, {short(run.model): test.probabilities}, test.positive)
    recalls = class_metrics(test.truth, test.probabilities, run.labels, None)
    least_found = sorted(run.labels, key=lambda label: recalls[f"recall_{label}"].value)[:CLASSES]
    shown = {k: printable(label) for k, label in enumerate(run.labels) if label in least_found}
    return draw_class_rocs(test.truth, test.probabilities, shown)


def _roc_caption(run: Run) -> str:
    if run.positive:
        return f"ROC of {printable(run.positive)}: what is found of it, against false alarms."
    which = f"the {CLASSES} classes found least" if len(run.labels) > CLASSES else "each class"
    return f"ROC of {which} against all others."


def harder(config: dict[str, Any]) -> str:
    """Why else a training loss differs from a validation loss."""
    asked = {"dropout": config["dropout"], "smoothed targets": config["smoothing"], "class weights": config["balance"]}
    with_these = " and".join(", ".join(name for name, on in asked.items() if on).rsplit(",", 1))
    sharp = f", the last {config['sharp_epochs']} epochs less augmented" if config["sharp_epochs"] else ""
    return (f", with {with_these}" if with_these else "") + sharp


def _images(run: Run, data: DataSet, answers: NDArray[np.float64]) -> list[tuple[str, list[Shown]]]:
    """A row of each class from training, then the test images that are answered most wrongly."""
    found = []
    train = data.part("train")
    for k, label in enumerate(run.labels[:GRID]):
        own = train[data.truth[train] == k]
        chosen = own[np.linspace(0, len(own) - 1, min(GRID, len(own))).astype(int)]
        found.append((f"training: {printable(label)}", _shown(run, data, answers, chosen)))
    test = data.part("test")
    wrong = test[answers[test].argmax(axis=1) != data.truth[test]]
    worst = wrong[np.argsort(answers[wrong, data.truth[wrong]], kind="stable")][:GRID]
    return [*found, ("test: most wrong", _shown(run, data, answers, worst))]


def _shown(run: Run, data: DataSet, answers: NDArray[np.float64], rows: Iterable[int]) -> list[Shown]:
    return [
        Shown(
            url=png_url(data.images.take(np.array([k]))[0], IMAGE_PX),
            title=f"{printable(data.rows[k].file)}: {printable(data.rows[k].label)}",
            answer=f"{printable(run.labels[answer])} {answers[k, answer]:.2f}",
            right=answer == data.truth[k],
        )
        for k, answer in ((k, int(answers[k].argmax())) for k in rows)
    ]


def _facts(run: Run) -> dict[str, object]:
    return {
        "recipe": run.recipe,
        "data": f"{run.data.folder}, {counted(run.data.images, 'image')}, splits.csv sha256 {run.data.sha256[:12]}",
        "input": run.input.line,
        "epochs": f"{run.epochs} trained, epoch {run.best_epoch} kept",
        "temperature": f"{run.temperature:.4f}, folded into the last layer",
        "seed": run.seed,
        "commit": run.commit,
        **(run.parent.facts if run.parent else {}),
        "model.keras sha256": run.model_sha256[:12],
        "config": ", ".join(f"{key} {value}" for key, value in run.config.items()),
        "versions": ", ".join(f"{tool} {number}" for tool, number in run.versions.items()),
    }
