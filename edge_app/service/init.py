"""Writes the commented configuration of `limiar run --init`."""

from pathlib import Path

from limiar.edge_app.errors import OutputError, printable
from limiar.edge_app.service.config import TEMPLATE
from limiar.edge_app.system.files import write_new


def write_template(path: Path) -> None:
    """Writes a new file. Raises OutputError; an existing file is never replaced."""
    where = printable(str(path))
    try:
        write_new(path, TEMPLATE.read_bytes(), 0o644)
    except FileExistsError:
        raise OutputError("E-OUTPUT-EXISTS", f"{where} exists: edit it, or give another name") from None
    except OSError as error:
        raise OutputError("E-OUTPUT-WRITE", f"{where}: {error.strerror}: give a file in a folder that can be written") from None
