"""An image that a folder or a table lists, and how faults in the list are reported."""

from collections.abc import Callable
from dataclasses import dataclass

from limiar.edge_app.errors import DataError


@dataclass(frozen=True, slots=True)
class Listed:
    """An image that a folder or CSV names, not yet read."""

    file: str  # relative to the data folder, forward slashes, os.fsdecode'd
    label: str
    split: str = ""  # as given; "" if we draw it
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """All images of a data folder, with notes for the person on how they were found."""

    images: tuple[Listed, ...]
    notes: tuple[str, ...]


Met = Callable[[DataError, str], None]  # told what spoils a folder, and the file or folder concerned


def refuse(error: DataError, file: str) -> None:
    raise error
