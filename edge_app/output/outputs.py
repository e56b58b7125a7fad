"""The outputs that a run's options ask for."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from limiar.edge_app.errors import OutputError
from limiar.edge_app.output.jsonl import JsonFile, JsonStream
from limiar.edge_app.output.lines import Line
from limiar.edge_app.output.spreadsheet import FILE_COLUMNS, FRAME_COLUMNS, Spreadsheet
from limiar.edge_app.output.table import FileTable, FrameTable


class Output(Protocol):
    """Takes the lines of a run as they are committed."""

    def write(self, lines: list[Line]) -> None:
        """Takes the next lines, in order."""

    def close(self) -> None:
        """Ends the output: a file appears under its name now."""


def open_outputs(
    jsonl: str | None, csv_file: Path | None, labels: tuple[str, ...], *, quiet: bool, frames: bool = False
) -> list[Output]:
    """JSON lines into the file `jsonl` ("-": stdout) or a pipe, a table on a terminal, a spreadsheet. Raises OutputError.

    frames: the lines are of camera frames, not of image files.
    """
    outputs: list[Output] = []
    if jsonl == "-" or (jsonl is None and not sys.stdout.isatty()):
        outputs.append(JsonStream())
    elif sys.stdout.isatty() and not quiet:
        outputs.append(FrameTable() if frames else FileTable())
    lines = JsonFile(Path(jsonl)) if jsonl not in (None, "-") else None
    try:
        sheet = Spreadsheet(csv_file, labels, FRAME_COLUMNS if frames else FILE_COLUMNS) if csv_file else None
    except OutputError:
        if lines:
            lines.discard()
        raise
    return [*outputs, *(output for output in (lines, sheet) if output)]


def write_groups(groups: Iterable[list[Line]], outputs: Sequence[Output]) -> None:
    """Gives each group of lines to every output, then closes them, also after an error: what was answered is in the files."""
    with ExitStack() as closing:
        for output in outputs:
            closing.callback(output.close)
        for lines in groups:
            for output in outputs:
                output.write(lines)
