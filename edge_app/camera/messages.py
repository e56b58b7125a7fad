"""Messages between the process that keeps the store and the two that capture and answer."""

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.camera.damage import Place

FRAME_S = 5.0  # a camera that gives no frame for so long has failed
FRAME_BYTES = 64 << 20  # of shared memory; pages that no frame reaches are never used, and 16 megapixels take 48 MB


class Roi(Struct, frozen=True):
    """The part of each frame that is looked at, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


class View(Struct, frozen=True):
    """How a source is watched."""

    name: str  # of the source
    realtime: bool = False  # a video file plays like a live picture
    roi: Roi | None = None
    patience_s: float = FRAME_S  # a camera that gives no new frame for so long has failed; at most FRAME_S


class Opened(Struct, frozen=True, tag=True):
    """The source is there; frames follow."""

    note: str | None  # in words, what a camera gives instead of what it was asked for


class Proving(Struct, frozen=True, tag=True):
    """A camera has shown a new frame; some more will prove that it does not show old ones."""


class Taken(Struct, frozen=True, tag=True):
    """A frame; its pixels are in the shared memory until the next one is asked for."""

    sequence: int
    taken_ns: int
    dropped: int
    height: int
    width: int
    place: Place | None
    doubtful: bool | None


class Look(Struct, frozen=True, array_like=True, tag=True):
    """Answer the frame that is in the shared memory now."""

    height: int
    width: int
    doubtful: bool  # decoded near damage: refer it
    picture: bytes | None  # a file for a drawing of it with its answer


class Keep(Struct, frozen=True, array_like=True, tag=True):
    """Write the frame that is in the shared memory now as a file."""

    height: int
    width: int
    folder: bytes
    stem: str  # of the file's name
    form: str  # "png" or "jpeg"


class FrameAnswer(Struct, frozen=True, array_like=True, tag=True):
    """A frame has an answer."""

    answer: Answer


class FrameRefusal(Struct, frozen=True, array_like=True, tag=True):
    """Why a frame has no answer."""

    code: str
    message: str


class KeptFrame(Struct, frozen=True, array_like=True, tag=True):
    """A frame is on the disk as a file."""

    name: str  # in the folder
    sha256: bytes
    size: int  # bytes


class NotKept(Struct, frozen=True, array_like=True, tag=True):
    """Why a frame is not on the disk."""

    code: str
    message: str


class Ended(Struct, frozen=True, tag=True):
    """The video file has no more frames."""

    loss: str | None  # in words, what could not be read of it
    note: str | None  # in words, what is odd about it


class SourceFailed(Struct, frozen=True, tag=True):
    """The source cannot be used any longer."""

    code: str
    message: str
