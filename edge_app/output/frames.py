"""Where a camera's lines go: a table on a terminal, JSON lines, CSV, and pictures with their answers."""

import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Protocol

import click
from msgspec import UNSET

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.errors import OutputError
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.output.files import OutputFile, writable
from limiar.edge_app.output.images import JsonFile, JsonStream
from limiar.edge_app.output.lines import CameraLine, FrameLine, RefusedFrame
from limiar.edge_app.system.files import write_whole
from limiar.edge_app.system.progress import can_rewrite
from limiar.edge_app.text import counted, csv_row, for_csv

_PROGRESS_AFTER_S = 2.0
_PROGRESS_EVERY_S = 0.5


class FrameOutput(Protocol):
    """Takes the lines of a camera as they are committed."""

    def write(self, lines: list[CameraLine]) -> None:
        """Lines in order."""

    def close(self) -> None:
        """No more lines: a file appears under its name now."""


def frame_outputs(jsonl: str | None, csv_file: Path | None, labels: tuple[str, ...], quiet: bool) -> list[FrameOutput]:
    """JSON lines into `jsonl` ("-": stdout) or a pipe, a table on a terminal, a spreadsheet. Raises OutputError."""
    outputs: list[FrameOutput] = []
    if jsonl == "-" or (jsonl is None and not sys.stdout.isatty()):
        outputs.append(JsonStream())
    elif sys.stdout.isatty() and not quiet:
        outputs.append(FrameTable())
    lines = JsonFile(Path(str(jsonl))) if jsonl not in (None, "-") else None
    try:
        sheet = FrameCsv(csv_file, labels) if csv_file else None
    except OutputError:
        if lines:
            lines.discard()
        raise
    return [*outputs, *(output for output in (lines, sheet) if output)]


class FrameTable:
    """Rows for a person, on a terminal."""

    def __init__(self) -> None:
        click.echo(f"{'frame':>8}  {'taken (UTC)':<24}  {'decision':<14} {'confidence':>10}")

    def write(self, lines: list[CameraLine]) -> None:
        for line in lines:
            start = f"{line.sequence:>8}  {line.taken:<24}  "
            if isinstance(line, RefusedFrame):
                click.echo(f"{start}{click.style(line.decision, fg='yellow')}\n    {line.code}: {line.message}")
            else:
                decision = click.style(f"{line.decision:<14}", fg="red" if line.decision == REFER else "green")
                note = f"  ({line.label})" if line.decision == REFER else ""
                note += "  doubtful" if line.doubtful else ""
                note += f"  outside: {', '.join(line.outside)}" if line.outside else ""
                click.echo(f"{start}{decision} {line.confidence:>10.1%}{note}")
        sys.stdout.flush()

    def close(self) -> None:
        pass  # a terminal has no end


class FrameCsv:
    """A spreadsheet: one row a frame, one column for each label's probability."""

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._whole = OutputFile(path)
        self._labels = labels
        self._columns = [column for column in FrameLine.__struct_fields__ if column not in ("probabilities", "stored", "ms")]
        self._row([*self._columns, *(f"probability_{label}" for label in labels), "code", "message"])

    def write(self, lines: list[CameraLine]) -> None:
        for line in lines:
            cells = [_cell(getattr(line, column, UNSET)) for column in self._columns]
            if isinstance(line, FrameLine):
                self._row([*cells, *(line.probabilities[label] for label in self._labels), "", ""])
            else:
                self._row([*cells, *[""] * len(self._labels), line.code, line.message])

    def close(self) -> None:
        self._whole.close()

    def _row(self, cells: list[object]) -> None:
        self._whole.write(csv_row(map(for_csv, cells)).encode())


def _cell(value: object) -> object:
    if value is UNSET:
        return ""
    return " ".join(value) if isinstance(value, tuple) else value


class Annotations:
    """A picture of each answered frame, enlarged, with its answer: DIR/SOURCE-TIME-SEQUENCE.png."""

    def __init__(self, folder: Path) -> None:
        """Raises OutputError."""
        self._folder = folder
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, pixels: Pixels, answer: Answer, line: FrameLine) -> None:
        """Raises OutputError."""
        kind, _, rest = line.source.partition(":")
        name = rest.rpartition("/")[2] if kind in ("video", "v4l2") else line.source
        source = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-100:]  # a name may have 255 bytes
        taken = re.sub(r"[^0-9TZ]", "", line.taken)
        target = self._folder / f"{source}-{taken}-{line.sequence:06}.png"
        with writable(target):
            write_whole(target, png(enlarged(pixels), answer), durable=False)


class FrameCount:
    """Counts frames for the line at the end; shows progress on stderr once it takes long, if a person watches."""

    def __init__(self, show_progress: bool) -> None:
        self.decisions: Counter[str] = Counter()
        self.dropped = self.doubtful = self.outside = 0
        self._progress = show_progress and can_rewrite(sys.stderr)
        self._started = self._shown = time.monotonic()

    def write(self, lines: list[CameraLine]) -> None:
        self.decisions.update(line.decision for line in lines)
        self.dropped += sum(line.dropped for line in lines)
        self.doubtful += sum(bool(line.doubtful) for line in lines)
        self.outside += sum(isinstance(line, FrameLine) and bool(line.outside) for line in lines)
        now = time.monotonic()
        if self._progress and now - self._started > _PROGRESS_AFTER_S and now - self._shown > _PROGRESS_EVERY_S:
            self._shown = now
            count = self.decisions.total()
            rate = f"{counted(count, 'frame')}, {count / (now - self._started):.1f} a second"
            print(f"\r{rate} ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._progress and self._shown != self._started:
            print(file=sys.stderr)

    def text(self) -> str:
        """One line: how many frames, and what became of them."""
        total, took_s = self.decisions.total(), time.monotonic() - self._started
        parts = [counted(total, "frame"), *(f"{count} {decision}" for decision, count in sorted(self.decisions.items()))]
        if self.doubtful:
            parts.append(f"{self.doubtful} beside damage")
        if self.outside:
            parts.append(f"{self.outside} unlike the training images")
        return f"{', '.join(parts)}; {self.dropped} dropped; {took_s:.1f} s, {total / took_s:.1f} a second"
