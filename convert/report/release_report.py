"""What convert found, as report.json and a model card: the same bytes when made again. release_page.py makes the page."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from limiar.convert.gate.comparison import Comparison
from limiar.convert.gate.decision_rule import in_words
from limiar.convert.gate.file_report import FileReport
from limiar.convert.gate.gate import LEVEL_LIMIT, Gate
from limiar.convert.gate.gate_file import differences, read_gate
from limiar.convert.gate.release import preferred_to
from limiar.convert.report.templates import render
from limiar.convert.run.assessing import Assessing
from limiar.convert.run.tiling import TiledOutcome, lines
from limiar.edge_app.bundle.manifest import (
    Decision,
    Envelope,
    InputSpec,
    Metric,
    Name,
    NotProven,
    Share,
    Text,
    TileSpec,
    Value,
)
from limiar.edge_app.report.figures import interval, metric_title, share
from limiar.edge_app.report.panels import Mark, Panel

REFUSED = "REFUSED"


class Exploratory(Value, frozen=True, forbid_unknown_fields=True):
    """Does a file's accuracy differ from Keras's? Decides nothing, so the number of files is corrected for."""

    file: Name
    p: Share  # McNemar's exact test
    p_holm: Share  # S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70


class ReleaseReport(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """report.json, schema 1."""

    schema: Literal[1] = 1
    verdict: Text  # "PASS", "PASS, 2 files undecided, allowed by gate.toml", "REFUSED"
    not_proven: NotProven | None = None  # the files that are undecided and in the bundle
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
    assessing: Assessing | UnsetType = UNSET  # not in the file: there are no limits
    gate: Gate
    files: tuple[FileReport, ...]
    not_checked: tuple[str, ...]
    tiles: TileSpec | UnsetType = UNSET  # into which devices cut a picture; not in the file: it is one image
    tiled: tuple[TiledOutcome, ...] | UnsetType = UNSET  # not in the file: pictures are not cut into tiles

    @property
    def cut(self) -> str:
        """For a person: "tiles of 40x40 pixels, one every 8, searched for pos"; "" if a picture is one image."""
        if not self.tiles:
            return ""
        size, stride = self.tiles.size, self.tiles.stride
        return f"tiles of {size}x{size} pixels, one every {stride}, searched for {self.tiles.sought}"

    @property
    def published(self) -> bool:
        """Whether there is a bundle."""
        return self.verdict != REFUSED

    @property
    def tiled_lines(self) -> list[str]:
        """How tiles are answered; empty if pictures are not cut into tiles."""
        return list(lines(self.tiled or ()))

    @property
    def default(self) -> FileReport | None:
        """The file that a device takes when not told; None if none passed."""
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
        """Who has seen the test images, as far as can be known here."""
        splits = self.run.get("splits")  # of a .keras file; a RUN has none
        if splits is None:
            return "that neither training nor calibration saw"
        if splits == "given":
            return "that calibration did not see; that training did not either, whoever gave the splits answers for"
        return "that calibration did not see, drawn here: the figures are evidence only if the model was not trained on them"

    @property
    def left_out(self) -> list[FileReport]:
        """The files that are not in the bundle."""
        return [file for file in self.files if not file.passed]

    @property
    def undecided(self) -> list[FileReport]:
        """The files that are in the bundle without proof."""
        return [file for file in self.files if file.allowed]

    @property
    def better(self) -> list[FileReport]:
        """The files that a device would rather take than the default one, if they were proven; the best first."""
        return preferred_to(self.default_file, self.files) if self.default_file else []

    @property
    def better_in_words(self) -> str:
        """The best of those, and what would decide about it, one clause; "" if the default file is the best there is."""
        if not self.better:
            return ""
        first = self.better[0]
        where = "is undecided" if first.allowed else "is left out"
        why = first.would_decide or (first.faults[0] if first.faults else "it could not be made")
        return f"{first.name} would be better and {where}: {why}"

    @property
    def refused_for(self) -> list[FileReport]:
        """The files whose failure stopped the release."""
        return [] if self.published else [file for file in self.files if file.required and not file.passed]

    @property
    def ways_out(self) -> list[str]:
        """What helps if the test split could not decide about required files; one line each."""
        undecided = [file for file in self.refused_for if file.verdict == "INCONCLUSIVE"]
        if not undecided:
            return []
        ways = [f"more images: {line}" for line in dict.fromkeys(file.would_decide for file in undecided)]
        margin = max(self.smallest_margin.values())
        if self.gate.noninferiority.margin < margin < LEVEL_LIMIT:
            ways.append(f"--margin: these images decide {100 * margin:.1f} points at best, the gate asks for {self._asked}")
        if any(file.name in self.gate.required for file in undecided) and any(file.proven for file in self.files):
            ways.append("require fewer files: the bundle then holds what is proven, and the others are left out")
        return [*ways, "--allow-undecided: the bundle has them, and its verdict says that they are not proven"]

    @property
    def _asked(self) -> str:
        return f"{100 * self.gate.noninferiority.margin:g}"


def report_json(report: ReleaseReport) -> bytes:
    """Indented, keys in the types' order."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def model_card(report: ReleaseReport, text: str) -> bytes:
    """MODEL_CARD.md. text: what the author says of data, licence, attribution and flaws; Markdown."""
    return render(
        "model_card.md.j2",
        report=report,
        text=text.strip(),
        interval=interval,
        in_words=in_words,
        kilobytes=kilobytes,
        title=metric_title,
        metrics=metric_names(report.keras["test"].metrics),
        # How its files decide is said elsewhere, and is not a condition.
        changed=differences(msgspec.structs.replace(report.gate, decision=read_gate().decision)),
    )


def alike(files: Iterable[FileReport]) -> list[tuple[list[FileReport], list[str]]]:
    """Files that have the same faults, together."""
    groups: dict[tuple[str, ...], list[FileReport]] = {}
    for file in files:
        groups.setdefault(tuple(file.faults), []).append(file)
    return [(group, list(faults)) for faults, group in groups.items()]


def metric_names(metrics: Mapping[str, Metric]) -> list[str]:
    """The columns of a table: as many as fit, so of many classes' recalls only the accuracy is shown."""
    shown = [name for name in metrics if not name.startswith("recall_") and name != "agreement"]
    recalls = [name for name in metrics if name.startswith("recall_")]
    return shown + (recalls if len(recalls) <= 5 else [])


def kilobytes(count: int) -> str:
    """Bytes as KB of 1000, one decimal below 100."""
    return f"{count / 1000:.1f} KB" if count < 100_000 else f"{count / 1000:.0f} KB"


def rows_by_size(report: ReleaseReport) -> list[str]:
    """A row for each file that has figures, the smallest first."""
    made = [file for file in report.files if file.bytes is not None]
    return [file.name for file in sorted(made, key=lambda file: (file.bytes or 0, file.name))]


def size_panel(report: ReleaseReport) -> Panel:
    """Bars."""
    marks = {file.name: Mark(file.bytes / 1000, text=kilobytes(file.bytes)) for file in report.files if file.bytes is not None}
    return Panel("size, KB", marks, bars=True)


def accuracy_panel(report: ReleaseReport) -> Panel:
    """Points with 95 % intervals, and Keras's."""
    marks = {}
    for file in report.files:
        if file.test is not None and "accuracy" in file.test.metrics:
            accuracy = file.test.metrics["accuracy"]
            marks[file.name] = Mark(accuracy.value, accuracy.low, accuracy.high, text=share(accuracy.value))
    keras = report.keras["test"].metrics["accuracy"].value
    return Panel("accuracy, test split", marks, line=keras, line_text=f"Keras {share(keras)}")
