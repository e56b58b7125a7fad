"""What is reported of an image or frame. Without numpy: the store's process has none."""

import base64
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from limiar.edge_app.answer import Timing
from limiar.edge_app.text import for_json


class Origin(Struct, frozen=True):
    """What every line of a scan has in common."""

    bundle: str  # sha256 of the manifest
    file: str  # model file
    runtime: str  # name and version
    verified: str  # by "bundle" or "device": inference/verified.py
    app: str


class AnswerLine(Struct, frozen=True):
    """One answered image, as JSON."""

    path: str
    path_base64: str | UnsetType
    sha256: str
    decision: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    outside: tuple[str, ...] | UnsetType  # statistics in which it is unlike the training images; unset: no envelope
    trailing: str | UnsetType  # what follows the picture in its file, if anything does
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    stored: bool  # the database had the answer already, from an earlier scan or the same image before
    ms: Timing


class RefusedLine(Struct, frozen=True):
    """One refused image, as JSON."""

    path: str
    path_base64: str | UnsetType
    sha256: str | None  # None where it could not be read
    decision: str
    code: str
    message: str
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    stored: bool


Line = AnswerLine | RefusedLine


def path_fields(path: bytes) -> tuple[str, str | UnsetType]:
    """A path for JSON: UTF-8, other bytes as \\xNN and then base64 of the whole."""
    try:
        return path.decode(), UNSET
    except UnicodeDecodeError:
        return path.decode("utf-8", "backslashreplace"), base64.b64encode(path).decode()


def json_lines(lines: Sequence[Struct]) -> bytes:
    """One JSON object a line."""
    encode = _ENCODER.encode
    return for_json(b"".join(encode(line) + b"\n" for line in lines))


_ENCODER = msgspec.json.Encoder()


class FrameLine(Struct, frozen=True):
    """One answered frame, as JSON."""

    source: str
    sequence: int  # counts the frames that the source delivered since boot, over all runs
    taken: str  # UTC, by the device's clock
    dropped: int  # frames passed over since the one before
    decision: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str  # of the answer
    stored: bool  # as in a scan, whether the database had the answer already: never, every frame is new
    ms: Timing
    outside: tuple[str, ...] | UnsetType = UNSET  # statistics in which it is unlike the training images; unset: no envelope
    frame: int | UnsetType = UNSET  # number in the video file, from 1, with those before it that could not be read
    video_s: float | UnsetType = UNSET  # its time in the video file
    doubtful: bool | UnsetType = UNSET  # decoded beside damage: referred, whatever the confidence; unset: nobody can tell


class RefusedFrame(Struct, frozen=True):
    """One frame that shows nothing, as JSON; it has no row."""

    source: str
    sequence: int
    taken: str
    dropped: int
    decision: str
    code: str
    message: str
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    time: str
    stored: bool
    frame: int | UnsetType = UNSET
    video_s: float | UnsetType = UNSET
    doubtful: bool | UnsetType = UNSET


CameraLine = FrameLine | RefusedFrame
