"""Answers as columns of the store, and back."""

import zlib
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec.structs import replace

from limiar.edge_app.answer import Answer, Peak, SlicePlace, TileMap
from limiar.edge_app.bundle.manifest import REFER

_SUM_TOLERANCE = 1e-6  # for the sum of probabilities in float64; it protects older rows, which have no crc32

_SHARES = msgspec.json.Decoder(dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]])
_OUTSIDE = msgspec.json.Decoder(tuple[str, ...])
_PLACE = msgspec.json.Decoder(SlicePlace)
_MAP = msgspec.msgpack.Decoder(TileMap)
_PEAKS = msgspec.json.Decoder(tuple[Peak, ...])
_SCORE_BYTES = 2


def columns(answer: Answer) -> tuple[object, ...]:
    """The columns of results and camera_results from `decision` to `time`, without `crc32`."""
    probabilities = msgspec.json.encode(answer.probabilities).decode()
    ms = (float(answer.ms.decode), float(answer.ms.resize), float(answer.ms.infer))  # as a REAL column returns them
    outside = None if answer.outside is None else msgspec.json.encode(answer.outside).decode()
    start = (answer.decision, answer.label, float(answer.confidence), probabilities)
    return *start, *ms, outside, answer.trailing, answer.app, answer.time


def whole_columns(answer: Answer) -> tuple[object, ...]:
    """The columns of results alone, from `frame` to `peaks`: of whole pictures, which are answered by tiles or from DICOM."""
    place, peaks = (None if value is None else msgspec.json.encode(value).decode() for value in (answer.place, answer.peaks))
    tiles = answer.tiles and replace(answer.tiles, scores=zlib.compress(answer.tiles.scores))
    return answer.frame, place, None if tiles is None else msgspec.msgpack.encode(tiles), peaks


def place_of(value: object) -> SlicePlace | None:
    """Of its column. Raises ValueError and MsgspecError."""
    return None if value is None else _PLACE.decode(text_of(value))


def tiles_of(value: object) -> TileMap | None:
    """Of its column. Raises ValueError and MsgspecError."""
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise ValueError("a column of bytes holds something else")
    tiles = _MAP.decode(value)
    size = _SCORE_BYTES * tiles.rows * tiles.columns
    try:
        scores = zlib.decompressobj().decompress(tiles.scores, size + 1)  # not a byte more, whatever a damaged row says
    except zlib.error as error:
        raise ValueError(f"its map: {error}") from None
    if len(scores) != size:
        raise ValueError("its map has another size than it says")
    return replace(tiles, scores=scores)


def peaks_of(value: object) -> tuple[Peak, ...] | None:
    """Of its column. Raises ValueError and MsgspecError."""
    return None if value is None else _PEAKS.decode(text_of(value))


def answer_of(values: Sequence[object], labels: tuple[str, ...]) -> Answer:
    """The columns -> Answer. Raises ValueError and MsgspecError if they are not an answer with these labels."""
    decision, label, confidence, probabilities, decode, resize, infer, *others = values
    outside, trailing, app, at, frame, place, tiles, peaks = others
    found = {
        "decision": decision,
        "label": label,
        "confidence": confidence,
        "probabilities": _SHARES.decode(text_of(probabilities)),
        "ms": {"decode": decode, "resize": resize, "infer": infer},
        "time": at,
        "app": app,
        "outside": None if outside is None else _OUTSIDE.decode(text_of(outside)),
        "trailing": trailing,
        "frame": frame,
        "place": place_of(place),
        "tiles": tiles_of(tiles),
        "peaks": peaks_of(peaks),
    }
    answer = msgspec.convert(found, Answer)
    shares = answer.probabilities
    sums_to_one = abs(sum(shares.values()) - 1) < _SUM_TOLERANCE and shares.get(answer.label) == answer.confidence
    if tuple(shares) != labels or not sums_to_one or answer.decision not in (*labels, REFER):
        raise ValueError("it is not an answer that this model can give")
    return answer


def text_of(value: object) -> str:
    """A column of text. Raises ValueError if it holds something else."""
    if not isinstance(value, str):
        raise ValueError("a column of text holds something else")
    return value
