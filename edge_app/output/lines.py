"""The line that reports an image or frame. Without numpy, as the process that keeps the store."""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from limiar.edge_app.answer import Answer, Peak, SlicePlace, Timing
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.output.tile_lines import TilesLine, tiles_line
from limiar.edge_app.text import for_json


class Origin(Struct, frozen=True):
    """The fields that all lines of a run share."""

    bundle: str  # sha256 of the manifest
    file: str  # model file
    runtime: str  # name and version
    verified: str  # "bundle" or "device": see inference/verified.py
    app: str  # "limiar 0.1.0"


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):  # as in answer.py
    """The answer for an image file or a camera frame, or why it was refused. As JSON, a key that is None is left out."""

    path: str | None = None  # of an image file, with bytes that are not UTF-8 as \\xNN
    path_base64: str | None = None  # the path's bytes, if they are not UTF-8
    source: str | None = None  # of a frame: "v4l2:/dev/video0"
    sequence: int | None = None  # counts the frames that the source delivered since boot, over all runs
    taken: str | None = None  # UTC, by the device's clock
    dropped: int | None = None  # frames passed over since the one before
    sha256: str | UnsetType | None = UNSET  # of an image file; None if it could not be read
    decision: str  # a label, "refer" or "refused"
    label: str | None = None  # the label with the largest probability, or the one whose threshold is reached
    confidence: float | None = None  # its probability, 0..1
    probabilities: dict[str, float] | None = None  # label -> 0..1, sum 1
    outside: tuple[str, ...] | None = None  # statistics in which it is unlike the training images; None: no envelope
    trailing: str | None = None  # what follows the picture in its file, if anything does
    code: str | None = None  # of a refused one: "E-IMAGE-TRUNCATED"
    message: str | None = None  # of a refused one: what was met, and what to do
    bundle: str  # these five as in Origin; app is the one that answered
    file: str
    runtime: str
    verified: str
    app: str
    time: str  # UTC: of the answer
    stored: bool | None = None  # the database already had the answer; None: nothing is kept
    ms: Timing | None = None
    frame: int | None = None  # number in the video file or DICOM file, from 1, counting those that could not be read
    video_s: float | None = None  # its time in the video file
    doubtful: bool | None = None  # decoded near damage, and so referred; None: unknown
    frames: int | None = None  # with --agree: how many frames were looked at
    agreeing: int | None = None  # of them, with this decision
    spread: float | None = None  # of the label's probability over them: the largest less the smallest
    tiles: TilesLine | None = None  # of a picture that was answered by tiles
    peaks: tuple[Peak, ...] | None = None  # of its map, the largest score first
    dicom: SlicePlace | None = None  # where a DICOM picture lies

    @property
    def refused(self) -> bool:
        """Whether there is no answer; `code` and `message` say why."""
        return self.code is not None


def answered(origin: Origin, answer: Answer, decision: str, **about: Any) -> Line:
    """The line of an answer; about: the fields that identify the image or frame and say how it was taken."""
    return Line(
        decision=decision,
        label=answer.label,
        confidence=answer.confidence,
        probabilities=answer.probabilities,
        outside=answer.outside,
        trailing=answer.trailing or None,
        bundle=origin.bundle,
        file=origin.file,
        runtime=origin.runtime,
        verified=origin.verified,
        app=answer.app,
        time=answer.time,
        ms=answer.ms,
        tiles=tiles_line(answer.tiles) if answer.tiles else None,
        peaks=answer.peaks,
        dicom=answer.place,
        **about,
    )


def refused(origin: Origin, code: str, message: str, time: str, **about: Any) -> Line:
    """The line of an image or frame that has no answer; about: as for `answered`."""
    return Line(
        decision=REFUSED,
        code=code,
        message=message,
        bundle=origin.bundle,
        file=origin.file,
        runtime=origin.runtime,
        verified=origin.verified,
        app=origin.app,
        time=time,
        **about,
    )


def image_fields(path: bytes, sha256: bytes) -> dict[str, str | None]:
    """The fields that identify an image file. sha256: empty if it could not be read."""
    text, base64_text = path_fields(path)
    return {"path": text, "path_base64": base64_text, "sha256": sha256.hex() or None}


def path_fields(path: bytes) -> tuple[str, str | None]:
    """A path for JSON: UTF-8, with other bytes as \\xNN; and base64 of all bytes if there are such, or None."""
    try:
        return path.decode(), None
    except UnicodeDecodeError:
        return path.decode("utf-8", "backslashreplace"), base64.b64encode(path).decode()


def json_lines(lines: Sequence[Struct]) -> bytes:
    """One JSON object a line."""
    return for_json(_ENCODER.encode_lines(lines))


_ENCODER = msgspec.json.Encoder()
