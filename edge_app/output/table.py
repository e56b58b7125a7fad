"""Rows for a person, on a terminal."""

import shutil
import sys
import textwrap

import click

from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.errors import printable
from limiar.edge_app.output.lines import Line
from limiar.edge_app.text import counted, fitted, width

_COLOURS = {REFER: "red", REFUSED: "yellow"}
_DECISION = 14  # columns
_COLUMNS_MIN, _PATH_MIN = 40, 12  # of a terminal, of a path


class FileTable:
    """A row for each image: as wide as the terminal, with the middle of a long path left out."""

    def __init__(self) -> None:
        self._columns = max(_COLUMNS_MIN, shutil.get_terminal_size().columns)
        click.echo(f"{'decision':<{_DECISION}} {'confidence':>10}  path")

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            note = "" if line.frame is None else f"  frame {line.frame}"
            note += f"  ({line.label})" if line.decision == REFER else ""
            note += f"  {counted(len(line.peaks), 'peak')}" if line.peaks is not None else ""
            note += "  stored" if line.stored and not line.refused else ""
            confidence = "" if line.confidence is None else f"{line.confidence:.1%}"
            click.echo(f"{_decision(line)} {confidence:>10}  {self._short(line.path or '', note)}")
            if line.refused:
                click.echo(self._below(f"{line.code}: {line.message}"))
            elif line.outside:
                click.echo(self._below(f"unlike the training images: {', '.join(line.outside)}"))

    def close(self) -> None:
        pass  # a terminal has no end

    def _short(self, path: str, note: str) -> str:
        """A path, shortened to the room that is left in the row, and a note."""
        path = printable(path)
        left = self._columns - 1 - len(f"{'':<{_DECISION}} confidence  ") - width(note)
        return fitted(path, max(_PATH_MIN, min(width(path), left))) + note

    def _below(self, text: str) -> str:
        return textwrap.fill(text, self._columns - 1, initial_indent="    ", subsequent_indent="    ")


class FrameTable:
    """A row for each frame."""

    def __init__(self) -> None:
        click.echo(f"{'frame':>8}  {'taken (UTC)':<24}  {'decision':<{_DECISION}} {'confidence':>10}")

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            start = f"{line.sequence:>8}  {line.taken:<24}  "
            if line.confidence is None:
                click.echo(f"{start}{click.style(line.decision, fg='yellow')}\n    {line.code}: {line.message}")
                continue
            note = f"  ({line.label})" if line.decision == REFER else ""
            note += "  doubtful" if line.doubtful else ""
            note += f"  outside: {', '.join(line.outside)}" if line.outside else ""
            click.echo(f"{start}{_decision(line)} {line.confidence:>10.1%}{note}")
        sys.stdout.flush()

    def close(self) -> None:
        pass  # a terminal has no end


def _decision(line: Line) -> str:
    return click.style(fitted(line.decision, _DECISION), fg=_COLOURS.get(line.decision, "green"))
