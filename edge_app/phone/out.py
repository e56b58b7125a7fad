"""Where a page is written: never over something else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from limiar.edge_app.errors import OutputError, printable


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Raises OutputError, one line, if the page cannot be written there."""
    try:
        yield
    except OSError as error:
        met = f"{printable(str(out))}: {error.strerror or printable(str(error))}"
        raise OutputError("E-PHONE-OUT", f"{met}: give --out a name in a folder that can be written and has room") from None


def refuse_others(out: Path) -> NoReturn:
    """Raises OutputError: what is there is not a page."""
    met = f"{printable(str(out))} exists and is not a page of `limiar phone`"
    raise OutputError("E-PHONE-OUT", f"{met}: choose another --out, or move it away") from None
