"""report.html: one self-contained file, verdict first, that a person reads before a release."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.convert.gate.decision_rule import decided, in_words, referred
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.noninferiority import PairedLoss, worst
from limiar.convert.report.gallery import Gallery, Scored, gallery
from limiar.convert.report.release_report import (
    ReleaseReport,
    accuracy_panel,
    alike,
    kilobytes,
    metric_names,
    rows_by_size,
    size_panel,
)
from limiar.convert.report.templates import render
from limiar.convert.run.first_layer import ROUNDING
from limiar.convert.run.predictions import KERAS, AnswerTable
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import CHANCE, Decision
from limiar.edge_app.report.figures import interval, metric_title, share
from limiar.edge_app.report.panels import draw_panels
from limiar.train.record.curves import draw_reliability, draw_risk_coverage, draw_roc
from limiar.train.record.operating_points import labels_of

MANY = 5  # labels; with more, tables show only the worst


class Figures(msgspec.Struct, frozen=True):
    """Keras beside the file that a device takes, drawn."""

    file: str
    roc: str  # <svg>
    reliability: str
    risk_coverage: str
    gallery: Gallery


def report_html(report: ReleaseReport, answers: AnswerTable, tensors: Pixels | None) -> bytes:
    """The page. answers: of both splits; tensors: uint8 [N, H, W, C], a row for each image of `answers`, or None: no pixel."""
    return render(
        "report.html.j2",
        report=report,
        reason=reason(report),
        losses={file.name: file_losses(file, report) for file in report.files},
        deciding={file.name: deciding(file, report) for file in report.files},
        figures=_figures(report, answers, tensors),
        rounding=ROUNDING,
        plots=[draw_panels(rows_by_size(report), [panel]) for panel in (size_panel(report), accuracy_panel(report))],
        share=share,
        points=points,
        alike=alike,
        interval=interval,
        kilobytes=kilobytes,
        in_words=in_words,
        title=metric_title,
        metrics=metric_names(report.keras["test"].metrics),
    )


def reason(report: ReleaseReport) -> str:
    """Why the verdict is what it is, one sentence."""
    if report.published:
        parts = [
            f"Of Keras itself: {report.run[CHANCE]}." if CHANCE in report.run else "",
            _proven(report),
            _undecided(report),
            f"{report.better_in_words}." if report.better else "",
        ]
        return " ".join(part for part in parts if part)
    stopped = report.refused_for
    if not stopped:
        return "No model file passed, so no bundle was written."
    first, more = stopped[0], len(stopped) - 1
    others = f" (and {more} more required {'file' if more == 1 else 'files'})" if more else ""
    met = first.faults[0] if first.faults else "it could not be made"
    return f"{first.name}{others}, which the gate requires, did not pass: {met}. No bundle was written."


def _proven(report: ReleaseReport) -> str:
    """What can be said of the proven files, and only of them."""
    proven = [file for file in report.files if file.proven]
    if not proven:
        return f"None of {len(report.files)} model files is proven to answer as Keras does."
    rule = report.gate.noninferiority
    recalls = "sensitivity and of specificity" if report.positive else "each label's recall"
    copies = [file.name for file in proven if any(loss.proof == "copy" for loss in file_losses(file, report))]
    how = f" ({', '.join(copies)} as {'a copy' if len(copies) == 1 else 'copies'}, docs/gate.md)" if copies else ""
    return (
        f"{len(proven)} of {len(report.files)} model files {'is' if len(proven) == 1 else 'are'} proven to answer as Keras "
        f"does: each loses less than {100 * rule.margin:g} points of {recalls} on every runtime that was asked, at "
        f"{100 * (1 - rule.alpha):g} % confidence{how}."
    )


def _undecided(report: ReleaseReport) -> str:
    """What is not known of the undecided files that are in the bundle."""
    if report.not_proven is None:
        return ""
    most = {file.name: max((loss.high for loss in file_losses(file, report)), default=1.0) for file in report.undecided}
    named = ", ".join(f"{name} (up to {_points(high)} points)" for name, high in most.items())
    return f"Nobody has proven {named}: undecided, and in the bundle because {report.not_proven.allowed_by} allows it."


def file_losses(file: FileReport, report: ReleaseReport) -> tuple[PairedLoss, ...]:
    """Of each class the worst loss among the runtimes; with more than MANY labels only the worst label's."""
    found = [loss for result in file.runtimes if result.test for loss in result.test.losses]
    if not found:
        return ()
    if len(report.labels) > MANY:
        return (worst(found),)
    names = dict.fromkeys(loss.name for loss in found)
    ordered = sorted(names) if report.positive else list(names)  # sensitivity, then specificity
    return tuple(worst([loss for loss in found if loss.name == name]) for name in ordered)


def deciding(file: FileReport, report: ReleaseReport) -> str:
    """What a file's verdict depends on, one line."""
    if file.faults:
        allowed = f"; in the bundle, allowed by {report.not_proven.allowed_by}" if file.allowed and report.not_proven else ""
        return file.faults[0] + allowed
    losses = file_losses(file, report)
    if not losses:
        return "every check passed"
    nearest = max(losses, key=lambda loss: loss.high)
    return (
        f"at most {_points(nearest.high)} of {100 * report.gate.noninferiority.margin:g} points of {metric_title(nearest.name)}"
    )


def points(loss: PairedLoss) -> str:
    """A loss with its bounds in points, "0.5 (-0.9 to 2.3)"."""
    return f"{_points(loss.loss)} ({_points(loss.low)} to {_points(loss.high)})"


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f}"  # + 0.0: a loss of -0.0 is none


def _figures(report: ReleaseReport, answers: AnswerTable, tensors: Pixels | None) -> Figures | None:
    """None if Keras or every file gave nothing that can be drawn."""
    numbers = [number for number, split in enumerate(answers.split) if split == "test"]
    test = answers.rows(numbers)
    keras = test.probabilities(KERAS)
    drawable = [file for file in report.files if file.decision and test.probabilities(file.name) is not None]
    file = next((file for file in drawable if file.name == report.default_file), drawable[0] if drawable else None)
    if keras is None or file is None or file.decision is None:
        return None
    own = test.probabilities(file.name)
    assert own is not None
    positive = report.labels.index(report.positive) if report.positive else None
    both = {"Keras": keras, file.name: own}
    column = np.full(len(numbers), positive) if positive is not None else keras.argmax(axis=1)
    return Figures(
        file=file.name,
        roc=draw_roc(test.truth, both, positive),
        reliability=draw_reliability(test.truth, both),
        risk_coverage=draw_risk_coverage(test.truth, both),
        gallery=gallery(
            None if tensors is None else tensors[numbers],
            test.sha256,
            [report.labels[label] for label in test.truth],
            _scored(keras, column, report.decision, report.labels),
            _scored(own, column, file.decision, report.labels),
        ),
    )


def _scored(
    probabilities: NDArray[np.float64], column: NDArray[np.int64], decision: Decision, labels: tuple[str, ...]
) -> Scored:
    given = labels_of(decision, probabilities, labels)
    decisions = decided(given, referred(decision, probabilities, given), labels)
    return Scored(probabilities[np.arange(len(given)), column], decisions)
