"""Everything that limiar refuses. Each error has a stable code; docs/errors.md lists them all.

    LimiarError                 itself: what a machine lacks, what is not installed
    ├── BundleError             a bundle is not what its manifest says, or not for this device
    ├── KeyFileError            a key file cannot be used, or must not be
    ├── ImageError              an image has no answer
    ├── RuntimeUnavailable      a runtime is not installed, or does not load the file
    │   └── ModelUnfit          the model file is at fault; exit status 3
    ├── SourceError             a camera, video or list of files cannot be read
    ├── StoreError              the results database cannot be used
    ├── OutputError             a file or stream cannot be written
    ├── ArchiveError            a plan of millions of images, or a part of the work, cannot be used or done
    ├── DataError               images, labels or splits do not fit training or conversion
    ├── TrainError              training was refused, or failed
    └── ConvertError            conversion was refused, or failed

Only the command line's outermost layer catches a LimiarError, and prints it as one line. Anything else that escapes is a bug
and keeps its traceback.
"""

from limiar.edge_app.text import for_terminal as printable
from limiar.edge_app.text import without_passwords

__all__ = ["printable"]


class LimiarError(Exception):
    """`code` is stable, for programs; `message` is one line: what was met, where, and what to do.

    try:
        limiar.open_bundle("bundles/first")
    except limiar.LimiarError as error:
        print(error.code, error.message)
    """

    def __init__(self, code: str, message: str) -> None:
        message = printable(without_passwords(message))  # it may quote file names and libraries, and goes to a terminal
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["LimiarError"], tuple[str, str]]:
        return type(self), (self.code, self.message)  # it can be pickled, to come from another process


class BundleError(LimiarError):
    """A bundle is not what its manifest says, or cannot be used on this device."""


class KeyFileError(LimiarError):
    """A key file cannot be used, or must not be."""


class ImageError(LimiarError):
    """An image was refused: no answer is given for it."""


class RuntimeUnavailable(LimiarError):
    """The runtime that a model file needs is not installed, or cannot load the file."""


class ModelUnfit(RuntimeUnavailable):
    """A model file is not what its bundle says, or crashes its process. The command line exits with 3."""


class SourceError(LimiarError):
    """A camera or list of files cannot be read, or has stopped."""


class StoreError(LimiarError):
    """The results database cannot be used."""


class OutputError(LimiarError):
    """An output file or stream cannot be written."""


class ArchiveError(LimiarError):
    """A plan of an archive, one of its chunks, a merge or a comparison cannot be used or done."""


class DataError(LimiarError):
    """A folder or CSV of images is not what training and conversion need."""


class TrainError(LimiarError):
    """Training was refused or failed."""


class ConvertError(LimiarError):
    """A RUN, or another Keras model, cannot be converted."""


class OutputClosed(Exception):
    """The reader of our output has closed it. Not an error: the command just ends."""
