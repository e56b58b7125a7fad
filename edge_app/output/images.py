"""Where a scan's lines go: a table on a terminal, JSON lines, CSV."""

import os
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import click
from msgspec import UNSET, Struct, structs

from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.errors import OutputClosed, printable
from limiar.edge_app.image.folder import Found, Passed, Tally
from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.output.lines import AnswerLine, Line, json_lines, path_fields
from limiar.edge_app.system.progress import can_rewrite
from limiar.edge_app.text import counted, csv_row, fitted, for_csv, width

_COLOURS = {REFER: "red", REFUSED: "yellow"}
_DECISION = 14  # columns
_COLUMNS_MIN, _PATH_MIN = 40, 12  # of a terminal, of a path
_PROGRESS_AFTER_S = 2.0
_PROGRESS_EVERY_S = 0.5


class Output(Protocol):
    """Takes the lines of a scan as they are committed."""

    def write(self, lines: list[Line]) -> None:
        """Lines in order."""

    def close(self) -> None:
        """No more lines: a file appears under its name now."""


class Table:
    """Rows for a person, on a terminal: each as wide as it is, with the middle of a long path left out."""

    def __init__(self) -> None:
        self._columns = max(_COLUMNS_MIN, shutil.get_terminal_size().columns)
        click.echo(f"{'decision':<{_DECISION}} {'confidence':>10}  path")

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            decision = click.style(fitted(line.decision, _DECISION), fg=_COLOURS.get(line.decision, "green"))
            if isinstance(line, AnswerLine):
                note = f"  ({line.label})" if line.decision == REFER else ""
                note += "  stored" if line.stored else ""
                click.echo(f"{decision} {line.confidence:>10.1%}  {self._short(line.path, note)}")
                if line.outside:
                    click.echo(self._below(f"unlike the training images: {', '.join(line.outside)}"))
            else:
                click.echo(f"{decision} {'':>10}  {self._short(line.path)}")
                click.echo(self._below(f"{line.code}: {line.message}"))

    def _short(self, path: str, note: str = "") -> str:
        """A path in what the row has left, and a note."""
        path = printable(path)
        left = self._columns - 1 - len(f"{'':<{_DECISION}} confidence  ") - width(note)
        return fitted(path, max(_PATH_MIN, min(width(path), left))) + note

    def _below(self, text: str) -> str:
        return textwrap.fill(text, self._columns - 1, initial_indent="    ", subsequent_indent="    ")

    def close(self) -> None:
        pass  # a terminal has no end


class JsonStream:
    """JSON lines into a pipe, each group as soon as it is committed."""

    def write(self, lines: Sequence[Struct]) -> None:
        try:
            left = memoryview(json_lines(lines))
            while left:  # with PYTHONUNBUFFERED=1 this is the bare file: a signal ends a write halfway
                left = left[sys.stdout.buffer.write(left) or 0 :]
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python complains of the pipe once more when it ends
            raise OutputClosed from None

    def close(self) -> None:
        pass  # every group is flushed


class JsonFile:
    """JSON lines in a file."""

    def __init__(self, path: Path) -> None:
        self._whole = OutputFile(path)

    def write(self, lines: Sequence[Struct]) -> None:
        self._whole.write(json_lines(lines))

    def close(self) -> None:
        self._whole.close()

    def discard(self) -> None:
        """No lines: the file stays as it was."""
        self._whole.discard()


_APPENDED = ("outside", "trailing", "bundle", "file", "runtime", "app", "time")  # columns that older spreadsheets lack


class CsvFile:
    """A spreadsheet: one row an image, one column for each label's probability."""

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._whole = OutputFile(path)
        self._labels = labels
        names = [f"probability_{label}" for label in labels]
        self._row(
            ["path", "sha256", "decision", "label", "confidence", *names, "stored", "verified", "code", "message", *_APPENDED]
        )

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            start = [line.path, line.sha256 or "", line.decision]
            end = [line.bundle, line.file, line.runtime, line.app, line.time]
            if isinstance(line, AnswerLine):
                shares = [line.probabilities[label] for label in self._labels]
                own = [line.stored, line.verified, "", "", " ".join(line.outside or ()), line.trailing or ""]
                self._row([*start, line.label, line.confidence, *shares, *own, *end])
            else:
                bare = [""] * len(self._labels)
                self._row([*start, "", "", *bare, "", "", line.code, line.message, "", "", *end])

    def close(self) -> None:
        self._whole.close()

    def _row(self, cells: list[object]) -> None:
        self._whole.write(csv_row(map(for_csv, cells)).encode())


class PassedOver:
    """What folders hold beside pictures: counted, and named in a file if one is given."""

    def __init__(self, path: Path | None, aloud: bool = False) -> None:
        self._aloud = aloud
        self._tally = Tally()
        self._whole = OutputFile(path) if path else None
        self._as_csv = path is not None and path.suffix.lower() == ".csv"
        if self._whole and self._as_csv:
            self._whole.write(csv_row(Passed.__struct_fields__).encode())

    def add(self, found: Found) -> None:
        """Takes one of them. Raises OutputError."""
        self._tally.add(found)
        if self._aloud:
            click.echo(f"passed over {printable(found.path)}: {found.reason}", err=True)
        if self._whole and found.kind:
            line = Passed(*path_fields(found.path), found.kind, found.reason)
            cells = ("" if cell is UNSET else for_csv(cell) for cell in structs.astuple(line))
            self._whole.write(csv_row(cells).encode() if self._as_csv else json_lines([line]))

    def close(self) -> None:
        """No more: the file appears under its name now."""
        if self._whole:
            self._whole.close()

    def discard(self) -> None:
        """The file stays as it was."""
        if self._whole:
            self._whole.discard()

    @property
    def links(self) -> int:
        """How many folders were not entered, as links lead to them: they may hold pictures that were asked for."""
        return self._tally.kinds["link"]

    def text(self) -> str:
        """One line for a person; empty where nothing was passed over."""
        if not (told := self._tally.text()):
            return ""
        cures = ["--follow enters linked folders"] if self.links else []
        cures += [] if self._whole else ["--passed-over FILE names them"]
        return "; ".join([f"passed over: {told}", *cures])


class Summary:
    """Counts the lines of a scan; shows progress on stderr once it takes long, if a person watches."""

    def __init__(self, show_progress: bool) -> None:
        self.decisions: Counter[str] = Counter()
        self.stored = self.outside = 0
        self.trailing: Counter[str] = Counter()
        self._progress = show_progress and can_rewrite(sys.stderr)
        self._started = self._shown = time.monotonic()

    def write(self, lines: list[Line]) -> None:
        self.decisions.update(line.decision for line in lines)
        self.stored += sum(line.stored for line in lines)
        answered = [line for line in lines if isinstance(line, AnswerLine)]
        self.outside += sum(bool(line.outside) for line in answered)
        self.trailing.update(line.trailing for line in answered if line.trailing)
        now = time.monotonic()
        if self._progress and now - self._started > _PROGRESS_AFTER_S and now - self._shown > _PROGRESS_EVERY_S:
            self._shown = now
            count = self.decisions.total()
            print(
                f"\r{counted(count, 'image')}, {count / (now - self._started):.0f} a second ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self._progress and self._shown != self._started:
            print(file=sys.stderr)

    def text(self) -> str:
        """One line: how many images, and what became of them."""
        parts = [counted(self.decisions.total(), "image")]
        parts += [f"{count} {decision}" for decision, count in sorted(self.decisions.items())]
        if self.outside:
            parts.append(f"{self.outside} unlike the training images")
        parts += [f"{count} followed by {trailing}" for trailing, count in self.trailing.most_common()]
        if self.stored:
            parts.append(f"{self.stored} from the store")
        return f"{', '.join(parts)}; {time.monotonic() - self._started:.1f} s"
