"""A spreadsheet: one row per image or frame, one column for each label's probability."""

from pathlib import Path

from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.output.lines import Line
from limiar.edge_app.text import csv_row, for_csv

PROBABILITIES = "probabilities"  # stands for one column per label
# Keep these orders, which existing spreadsheets have: add a new column at the end.
FILE_COLUMNS = (
    *("path", "sha256", "decision", "label", "confidence", PROBABILITIES, "stored", "verified", "code", "message"),
    *("outside", "trailing", "bundle", "file", "runtime", "app", "time", "frame", "peaks"),
)
FRAME_COLUMNS = (
    *("source", "sequence", "taken", "dropped", "decision", "label", "confidence", "bundle", "file", "runtime", "verified"),
    *("app", "time", "outside", "frame", "video_s", "doubtful", PROBABILITIES, "code", "message"),
    *("frames", "agreeing", "spread"),
)


class Spreadsheet:
    """A CSV file in which no program finds a formula. Raises OutputError."""

    def __init__(self, path: Path, labels: tuple[str, ...], columns: tuple[str, ...]) -> None:
        self._labels = labels
        self._columns = columns
        self._whole = OutputFile(path)
        names = [f"probability_{label}" for label in labels]
        self._row([name for column in columns for name in (names if column == PROBABILITIES else [column])])

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            self._row([cell for column in self._columns for cell in self._cells(line, column)])

    def close(self) -> None:
        self._whole.close()

    def _cells(self, line: Line, column: str) -> list[object]:
        if column == PROBABILITIES:
            shares = line.probabilities or {}
            return [shares.get(label, "") for label in self._labels]
        value = getattr(line, column)
        if value is None:
            return [""]
        if column == "peaks":
            return [len(value)]
        return [" ".join(value) if isinstance(value, tuple) else value]

    def _row(self, cells: list[object]) -> None:
        self._whole.write(csv_row(map(for_csv, cells)).encode())
