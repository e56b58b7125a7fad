"""What a person sees on stderr while a long job runs: one line that is drawn again, and notes that stay."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from limiar.edge_app.errors import printable
from limiar.edge_app.system.progress import ProgressLine
from limiar.train.fit.unfinished import STATE, partial_folder

if TYPE_CHECKING:
    from limiar.train.fit.fit import RunState
    from limiar.train.record.run_folder import Epoch
    from limiar.train.run.request import Listener

_LINE_S = 10.0  # between lines in a log or a pipe, which cannot be redrawn
_WORTH_SAYING_S = 20.0  # a training that ends sooner needs no estimate


class Terminal:
    """Progress on stderr: a line that is drawn again on a terminal, now and then a new one elsewhere. Notes stay."""

    def __init__(self, quiet: bool = False) -> None:
        self._line = ProgressLine()
        self._quiet = quiet
        self._next = time.monotonic() + _LINE_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._line.clear()
        print(text, file=sys.stderr, flush=True)

    def step(self, text: str, due: bool = False) -> None:
        """Shows how far the job is. due: a pipe gets it even if its last line is less than ten seconds old."""
        if self._quiet:
            return
        if self._line.shows:
            self._line.draw(text)
        elif due or time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_S
            print(text, file=sys.stderr, flush=True)

    def told(self, text: str) -> None:
        """A note that is progress: --quiet leaves it out."""
        if not self._quiet:
            self.note(text)


class Epochs:
    """The epochs of a training, and how long the rest of them takes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._most = self._first = self._quick = 0
        self._started = 0.0  # when the first epoch was done: that one also compiles

    def begin(self, done: int, most: int, quick: int) -> None:
        """Before the first epoch, or the first after an interruption. most: epochs in all; quick: fewer, or 0."""
        self._first, self._most, self._quick = done + 1, most, quick

    def epoch(self, number: int, figures: str) -> None:
        """One is done."""
        now = time.monotonic()
        if number == self._first:
            self._started = now
        left = ""
        if number > self._first:
            each = (now - self._started) / (number - self._first)
            left_s = each * (self._most - number)
            left = f"  {duration(left_s)} left" if left_s else ""
            if number == self._first + 1 and left_s >= _WORTH_SAYING_S:
                quick = f"; --quick takes {duration(each * self._quick)}" if self._quick else ""
                self._terminal.told(f"{self._most} epochs of {each:.2g} s: about {duration(left_s)} from now{quick}")
        self._terminal.step(f"epoch {number}/{self._most}  {figures}{left}", due=number in (self._first, self._most))


def duration(seconds: float) -> str:
    """For a person: "40 s", "8 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def listening(terminal: Terminal) -> "Listener":
    """Shows a training there: images, epochs, notes."""
    from limiar.train.config import RECIPES
    from limiar.train.run.request import Listener

    shown = Epochs(terminal)

    def begin(state: "RunState") -> None:
        most, short, identity = state.identity.config.epochs, RECIPES["limiar"].epochs, state.identity
        quicker = identity.recipe == "standard" and not identity.parent and short < most
        shown.begin(state.done, most, short if quicker else 0)

    def epoch(one: "Epoch") -> None:
        shown.epoch(one.epoch, f"loss {one.loss:.3f}  val {one.val_loss:.3f}")

    return Listener(
        note=terminal.note, image=lambda done, total: terminal.step(f"images {done}/{total}"), begin=begin, epoch=epoch
    )


@contextmanager
def said_when_stopped(out: Path) -> Iterator[None]:
    """After a Ctrl-C, says what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        partial = partial_folder(out)
        if (partial / STATE).exists():
            said = f"stopped; {printable(str(partial))} keeps what was done: repeat the command to continue"
        else:
            said = "stopped before the first epoch was done: nothing is kept, and the command starts again"
        click.echo(f"\n{said}", err=True)
        raise
