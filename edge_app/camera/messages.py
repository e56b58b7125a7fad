"""What the process that keeps the store says to the one that captures and the one that answers, and they to it."""

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.camera.damage import Place

FRAME_S = 5.0  # without a frame, and the camera has failed
FRAME_BYTES = 64 << 20  # of shared memory, used as far as a frame reaches; a 16-megapixel frame has 48 MB


class Roi(Struct, frozen=True):
    """The part of each frame that is looked at, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


class View(Struct, frozen=True):
    """How a source is watched."""

    name: str  # of the source
    realtime: bool = False  # a video file passes like a live picture
    roi: Roi | None = None


class Opened(Struct, frozen=True, tag=True):
    """The source is there; frames follow."""

    note: str | None  # what a camera gives other than it was asked for


class Taken(Struct, frozen=True, tag=True):
    """A frame; its pixels lie in the shared memory until the next one is asked for."""

    sequence: int
    taken_ns: int
    dropped: int
    height: int
    width: int
    place: Place | None
    doubtful: bool | None


class Look(Struct, frozen=True, array_like=True):
    """Answer the frame that lies in the shared memory now."""

    height: int
    width: int
    doubtful: bool  # decoded beside damage: refer it
    picture: bytes | None  # a file to draw it with its answer in


class FrameAnswer(Struct, frozen=True, array_like=True, tag=True):
    """A frame has an answer."""

    answer: Answer


class FrameRefusal(Struct, frozen=True, array_like=True, tag=True):
    """A frame has no answer, and why."""

    code: str
    message: str


class Ended(Struct, frozen=True, tag=True):
    """The video file has no more frames."""

    loss: str | None  # what of it could not be read
    note: str | None  # what is odd about it


class SourceFailed(Struct, frozen=True, tag=True):
    """The source cannot be used any longer."""

    code: str
    message: str
