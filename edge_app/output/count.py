"""Counts lines for the summary at the end, and shows progress on the way."""

import time
from collections import Counter

from limiar.edge_app.errors import printable
from limiar.edge_app.output.lines import Line
from limiar.edge_app.system.progress import ProgressLine
from limiar.edge_app.text import counted


class Count:
    """Counts what became of a run's images; if stderr is a terminal, shows progress there once the run takes long."""

    noun = "image"

    def __init__(self, show_progress: bool) -> None:
        self.decisions: Counter[str] = Counter()
        self.trailing: Counter[str] = Counter()
        self.stored = self.outside = self.dropped = self.doubtful = self.tiled = self.peaks = 0
        self._line = ProgressLine(show_progress)
        self._started = time.monotonic()

    def write(self, lines: list[Line]) -> None:
        for line in lines:
            self.decisions[line.decision] += 1
            self.stored += bool(line.stored)
            self.outside += bool(line.outside)
            self.dropped += line.dropped or 0
            self.doubtful += bool(line.doubtful)
            self.tiled += line.peaks is not None
            self.peaks += len(line.peaks or ())
            if line.trailing:
                self.trailing[line.trailing] += 1
        self.draw()

    def draw(self) -> None:
        """Shows how far it is, if that is shown and due."""
        if self._line.shows:
            self._line.draw(f"{counted(self.decisions.total(), self.noun)}, {self.rate(time.monotonic() - self._started)}")

    def close(self) -> None:
        self._line.clear()

    def text(self) -> str:
        """One line: how many images, and what became of them."""
        parts = [counted(self.decisions.total(), self.noun)]
        parts += [f"{count} {decision}" for decision, count in sorted(self.decisions.items())]
        if self.tiled:
            parts.append(counted(self.peaks, "peak"))
        if self.doubtful:
            parts.append(f"{self.doubtful} near damage")
        if self.outside:
            parts.append(f"{self.outside} unlike the training images")
        parts += [f"{count} followed by {trailing}" for trailing, count in self.trailing.most_common()]
        if self.stored:
            parts.append(f"{self.stored} from the database")
        return f"{', '.join(parts)}; {self.took(time.monotonic() - self._started)}"

    def rate(self, took_s: float) -> str:
        """How fast it goes: "57 a second"."""
        return f"{self.decisions.total() / took_s:.0f} a second"

    def took(self, took_s: float) -> str:
        """The end of `text`."""
        return f"{took_s:.1f} s"


class FrameCount(Count):
    """Counts what became of a camera's frames."""

    noun = "frame"

    def rate(self, took_s: float) -> str:
        return f"{self.decisions.total() / took_s:.1f} a second"

    def took(self, took_s: float) -> str:
        return f"{self.dropped} dropped; {took_s:.1f} s, {self.rate(took_s)}"


class ArrivalCount(Count):
    """Counts what became of the images that arrived in watched folders."""

    def __init__(self, show_progress: bool) -> None:
        super().__init__(show_progress)
        self._arriving: dict[str, int] = {}
        self._passed: dict[str, str] = {}

    def looked(self, source: str, arriving: int, passed: str) -> None:
        """Takes what a look at a folder saw. arriving: files that are not complete; passed: what was passed over, in words."""
        self._arriving[source], self._passed[source] = arriving, passed
        self.draw()

    def clear(self) -> None:
        """Removes the line, so that something else can be printed."""
        self._line.clear()

    def rate(self, took_s: float) -> str:
        arriving = sum(self._arriving.values())
        return f"{counted(arriving, 'file')} arriving" if arriving else f"waiting for more in {', '.join(self._arriving)}"

    def passed(self) -> str:
        """A line for each folder that holds something besides pictures."""
        return "\n".join(f"passed over in {printable(folder)}: {text}" for folder, text in self._passed.items() if text)
