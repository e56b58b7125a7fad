"""What the author of a model says of it, for the model card."""

from pathlib import Path

from limiar.convert.defaults import CARD
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded

CARD_LIMIT = 1 << 20  # bytes


def read_card(path: Path | None) -> str:
    """The Markdown of a file; CARD if there is none. Raises ConvertError."""
    if path is None:
        return CARD
    try:
        return read_bounded(path, CARD_LIMIT, follow=True).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        met = f"{printable(str(path))}: {printable(str(error))}"
        raise ConvertError("E-CONVERT-CARD", f"{met}: give --card a Markdown file in UTF-8") from None
