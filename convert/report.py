"""What convert found, as report.json and a model card: byte for byte the same when made again. The page is page.py's."""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from convert.comparison import Comparison
from convert.gate import Finding, Gate, RuntimeResult
from convert.inventory import Inventory
from convert.layers import LayerNoise
from convert.plot import Mark, Panel
from convert.templates import render
from edge_app.bundle import (
    Count,
    Decision,
    Envelope,
    InputSpec,
    Metric,
    Name,
    OperatingPoint,
    Sha256,
    Share,
    Text,
    Tolerance,
    Value,
    Verified,
)


class FileReport(Value, frozen=True, forbid_unknown_fields=True):
    """A model file, also one that could not be made."""

    name: Name
    format: str
    precision: str
    required: bool
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "LEFT OUT"]
    findings: tuple[Finding, ...]  # of every required check on every runtime
    decision: Decision | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    inventory: Inventory | None = None
    layers: tuple[LayerNoise, ...] = ()  # of a quantized TFLite file
    float_layers: tuple[str, ...] = ()  # that a second try keeps in float
    bytes: Count | None = None
    sha256: Sha256 | None = None
    tolerance: Tolerance | None = None
    expected_runtime: str | None = None  # the one whose figures stand for the file
    runtimes: tuple[RuntimeResult, ...] = ()
    elsewhere: tuple[Verified, ...] = ()  # where other machines saw it give the expected answers

    @property
    def verified(self) -> tuple[Verified, ...]:
        """Where it was seen to give the expected answers."""
        here = (
            Verified(result.runtime, result.version, result.machine, result.options)
            for result in self.runtimes
            if result.version is not None and result.machine is not None
        )
        return (*here, *self.elsewhere)

    @property
    def passed(self) -> bool:
        """Whether it is in the bundle."""
        return self.verdict == "PASS"

    @property
    def faults(self) -> list[str]:
        """Why it did not pass, one line each; what is undecided comes last."""
        wrong = [finding for finding in self.findings if finding.verdict != "PASS"]
        return [finding.line for finding in sorted(wrong, key=lambda finding: finding.verdict)]

    @property
    def test(self) -> Comparison | None:
        """The figures that stand for the file: the test split on its own runtime."""
        own = (result.test for result in self.runtimes if result.runtime == self.expected_runtime and not result.options)
        return next(own, None)


class Exploratory(Value, frozen=True, forbid_unknown_fields=True):
    """Is a file's accuracy another than Keras's? Decides nothing, so the number of files is corrected for."""

    file: Name
    p: Share  # McNemar's exact test
    p_holm: Share  # S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70


class Report(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """report.json, schema 1."""

    schema: Literal[1] = 1
    verdict: Literal["PASS", "REFUSED"]
    name: Text
    version: Text
    labels: tuple[Text, ...]
    positive: Text | None
    intended_use: Text
    licence: Text
    input: InputSpec
    default_file: Name | None
    decision: Decision  # Keras's own
    smallest_margin: dict[str, float]  # for each class the smallest margin that this test split can decide, 0..1
    exploratory: tuple[Exploratory, ...]
    run: dict[str, str]
    images: dict[str, int]  # calibration, val, test, golden
    keras: dict[str, Comparison]  # "val" and "test"
    envelope: Envelope  # of the training images
    outside: dict[str, Metric]  # share of the images of "val" and "test" with a statistic outside it
    gate: Gate
    files: tuple[FileReport, ...]
    not_checked: tuple[str, ...]

    @property
    def default(self) -> FileReport | None:
        """The file that a device takes when not told; None where none passed."""
        return next((file for file in self.files if file.name == self.default_file), None)

    @property
    def verified(self) -> dict[str, list[str]]:
        """Where -> the files of the bundle that were seen there to give the expected answers."""
        where: dict[str, list[str]] = {}
        for file in self.files:
            for seen in file.verified if file.passed else ():
                where.setdefault(seen.line, []).append(file.name)
        return where

    @property
    def unseen(self) -> str:
        """Who has seen the test images, as far as anybody here can know."""
        splits = self.run.get("splits")  # of a .keras file; a RUN has none
        if splits is None:
            return "that neither training nor calibration saw"
        if splits == "given":
            return "that calibration did not see; that training did not either, whoever gave the splits answers for"
        return "that calibration did not see, drawn here: the figures are evidence only if the model was not trained on them"

    @property
    def left_out(self) -> list[FileReport]:
        """The files that did not pass."""
        return [file for file in self.files if not file.passed]


def report_json(report: Report) -> bytes:
    """Indented, keys in the types' order."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def model_card(report: Report, text: str) -> bytes:
    """MODEL_CARD.md. text: what the author says of data, licence, attribution and flaws; Markdown."""
    return render(
        "model_card.md.j2",
        report=report,
        text=text.strip(),
        interval=interval,
        kilobytes=kilobytes,
        title=metric_title,
        metrics=metric_names(report.keras["test"].metrics),
    )


def metric_names(metrics: Mapping[str, Metric]) -> list[str]:
    """The columns of a table: as many as fit, so of many classes' recalls only the accuracy is shown."""
    shown = [name for name in metrics if not name.startswith("recall_") and name != "agreement"]
    recalls = [name for name in metrics if name.startswith("recall_")]
    return shown + (recalls if len(recalls) <= 5 else [])


def metric_title(name: str) -> str:
    """As a column's head."""
    if name.startswith("recall_"):
        return f"recall of {name.removeprefix('recall_')}"
    if name.startswith("auc_"):
        return f"AUC of {name.removeprefix('auc_')}"
    return {"auc": "AUC"}.get(name, name.replace("_", " "))


def share(value: float) -> str:
    """0..1 with three decimals."""
    return f"{value:.3f}"


def interval(metric: Metric) -> str:
    """A metric with its 95 % interval."""
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def kilobytes(count: int) -> str:
    """Bytes as KB of 1000, one decimal below 100."""
    return f"{count / 1000:.1f} KB" if count < 100_000 else f"{count / 1000:.0f} KB"


def rows_by_size(report: Report) -> list[str]:
    """A row for each file that has figures, the smallest first."""
    made = [file for file in report.files if file.bytes is not None]
    return [file.name for file in sorted(made, key=lambda file: (file.bytes or 0, file.name))]


def size_panel(report: Report) -> Panel:
    """Bars."""
    marks = {file.name: Mark(file.bytes / 1000, text=kilobytes(file.bytes)) for file in report.files if file.bytes is not None}
    return Panel("size, KB", marks, bars=True)


def accuracy_panel(report: Report) -> Panel:
    """Points with 95 % intervals, and Keras's."""
    marks = {}
    for file in report.files:
        if file.test is not None and "accuracy" in file.test.metrics:
            accuracy = file.test.metrics["accuracy"]
            marks[file.name] = Mark(accuracy.value, accuracy.low, accuracy.high, text=share(accuracy.value))
    keras = report.keras["test"].metrics["accuracy"].value
    return Panel("accuracy, test split", marks, line=keras, line_text=f"Keras {share(keras)}")


def rounded_up(value: float) -> float:
    """Two significant digits, never below the value: a tolerance that can be read."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.2g}")
