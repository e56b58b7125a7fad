"""The error tree. Every error carries a stable code; docs/errors.md lists them all.

Only the outermost layer of the command line catches a LimiarError and prints it as one line. Anything else that escapes is
a bug and keeps its traceback.
"""

from limiar.edge_app.text import for_terminal as printable
from limiar.edge_app.text import without_passwords

__all__ = ["printable"]


class LimiarError(Exception):
    """`code` is stable and for programs; `message` is one line: what was met, where, and what to do."""

    def __init__(self, code: str, message: str) -> None:
        message = printable(without_passwords(message))  # it quotes names and libraries, and goes to a terminal
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class BundleError(LimiarError):
    """A bundle is not what its manifest says, or cannot be used on this device."""


class KeyFileError(LimiarError):
    """A key file cannot be used, or must not be."""


class ImageError(LimiarError):
    """An image was refused: no answer is given for it."""


class RuntimeUnavailable(LimiarError):
    """The runtime that a model file needs is not installed, or does not load the file."""


class ModelUnfit(RuntimeUnavailable):
    """A model file is not what its bundle says, or takes its process with it. The command line exits with 3."""


class SourceError(LimiarError):
    """A camera or list of files cannot be read, or has stopped."""


class StoreError(LimiarError):
    """The results database cannot be used."""


class OutputError(LimiarError):
    """A file or stream that somebody asked for cannot be written."""


class DataError(LimiarError):
    """A folder or CSV of images is not what training and conversion need."""


class TrainError(LimiarError):
    """Training was refused or failed."""


class ConvertError(LimiarError):
    """A RUN, or another Keras model, could not be converted."""


class OutputClosed(Exception):
    """Whoever read our output has closed it: not an error, but an end."""
