"""What a person sees while convert works: a line on stderr that is rewritten, on a terminal alone."""

import sys
from types import TracebackType
from typing import Self


class Progress:
    """One line, that is cleared at the end."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.note("")

    def tell(self, text: str) -> None:
        """A line that stays."""
        self.note("")
        print(text, file=sys.stderr)

    def note(self, text: str) -> None:
        """What is done next."""
        if self._shows:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
