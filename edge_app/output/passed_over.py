"""What folders hold besides pictures: counted, and listed in a file if one is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from msgspec import UNSET, structs

from limiar.edge_app.errors import printable
from limiar.edge_app.image.folder import Found, Passed, Tally
from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.output.lines import json_lines, path_fields
from limiar.edge_app.text import csv_row, for_csv


class PassedOver:
    """What folders hold besides pictures: counted, and listed in a file if one is given."""

    def __init__(self, aloud: bool = False) -> None:
        self._aloud = aloud
        self._tally = Tally()
        self._whole: OutputFile | None = None
        self._as_csv = False

    def open(self, path: Path | None) -> None:
        """Lists them in this file from now on, if one is given. Raises OutputError."""
        if path:
            self._whole = OutputFile(path)
            self._as_csv = path.suffix.lower() == ".csv"
            if self._as_csv:
                self._whole.write(csv_row(Passed.__struct_fields__).encode())

    def add(self, found: Found) -> None:
        """Takes one of them. Raises OutputError."""
        self._tally.add(found)
        if self._aloud:
            click.echo(f"passed over {printable(found.path)}: {found.reason}", err=True)
        if self._whole and found.kind:
            path, base64 = path_fields(found.path)
            line = Passed(path, base64 or UNSET, found.kind, found.reason)
            cells = ("" if cell is UNSET else for_csv(cell) for cell in structs.astuple(line))
            self._whole.write(csv_row(cells).encode() if self._as_csv else json_lines([line]))

    def close(self) -> None:
        """Ends the list: the file appears under its name now."""
        if self._whole:
            self._whole.close()

    def discard(self) -> None:
        """Leaves the file as it was."""
        if self._whole:
            self._whole.discard()

    @contextmanager
    def listed_in(self, path: Path | None) -> Iterator[None]:
        """Lists them in this file, if one is given, which appears if all goes well. Raises OutputError."""
        self.open(path)
        try:
            yield
        except BaseException:
            self.discard()
            raise
        self.close()

    @property
    def links(self) -> int:
        """How many linked folders were not entered: they may hold pictures that were asked for."""
        return self._tally.kinds["link"]

    def text(self) -> str:
        """One line for a person; empty if nothing was passed over."""
        if not (told := self._tally.text()):
            return ""
        cures = ["--follow enters linked folders"] if self.links else []
        cures += [] if self._whole else ["--passed-over FILE lists them"]
        return "; ".join([f"passed over: {told}", *cures])
