"""What a camera of the service is asked for, and what it says: messages between its process and the service's.

camera -> service   Beat, at least every second; Decided, Trouble and Note when there is one
"""

from typing import Literal

from msgspec import Struct

from limiar.edge_app.answer import Answer
from limiar.edge_app.camera.messages import Roi
from limiar.edge_app.camera.voting import Vote
from limiar.edge_app.inference.model import Model

Keep = Literal["off", "jpeg", "png"]
KeepWhat = Literal["all", "refer", "changed"]


class CameraSettings(Struct, frozen=True):
    """A camera of the service."""

    name: str  # in results, and of its folder of kept frames: letters, digits, "_", "." and "-"
    source: str  # "v4l2:/dev/video0", "rtsp://…"
    agree: int = 3  # so many frames ...
    of: int = 5  # ... of the last so many must agree
    every_s: float = 60.0  # a decision that stays the same is stored at most once in so long; a new one, at once
    roi: Roi | None = None
    size: tuple[int, int] | None = None  # width and height, in pixels
    rate_hz: float | None = None
    pixel_format: str | None = None  # MJPG or YUYV
    keep: Keep = "off"  # the pixels of stored frames
    keep_what: KeepWhat = "all"  # of the stored frames, which


class Job(Struct, frozen=True):
    """What a camera's process is given."""

    settings: CameraSettings
    model: Model
    folder: str  # for its kept frames
    after: int  # the highest sequence number of this camera since boot


class Kept(Struct, frozen=True, array_like=True, tag=True):
    """A frame whose pixels are on the disk."""

    name: str  # below frames/ in the state folder: "door/20261127T154500123Z-000042.png"
    sha256: bytes  # of the file
    size: int  # bytes


class Decided(Struct, frozen=True, tag=True):
    """A decision to store."""

    source: str  # the camera's name
    sequence: int  # of the frame, over all runs since boot
    taken: str  # UTC, by the device's clock
    dropped: int  # frames passed over since the last stored one; those that were answered do not count
    answer: Answer  # of this frame, which is one of those that agree
    vote: Vote
    changed: bool  # the decision is not the one that was stored last
    kept: Kept | None


class Beat(Struct, frozen=True, tag=True):
    """What happened since the last one."""

    source: str
    sequence: int  # of the last frame
    watching: bool  # False: the camera is not there, or not yet
    frames: int  # that were answered or refused
    undecided: int  # of them, without K that agree
    doubtful: int  # of them, decoded near damage; they decide nothing
    dropped: int  # frames passed over, also those that repeat one
    refused: dict[str, int]  # code -> frames


class Trouble(Struct, frozen=True, tag=True):
    """The camera, or a file for its frames, cannot be used; said once for as long as it stays the same."""

    source: str
    code: str
    message: str


class Note(Struct, frozen=True, tag=True):
    """What a person should know: a camera gives other frames than it was asked for."""

    source: str
    message: str


Said = Decided | Beat | Trouble | Note
