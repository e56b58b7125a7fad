"""Answers as columns of the store, and back."""

import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec.structs import replace

from limiar.edge_app.answer import Answer, Peak, SlicePlace, TileMap
from limiar.edge_app.bundle.manifest import REFER

_SUM_TOLERANCE = 1e-6  # for the sum of probabilities in float64; it protects older rows, which have no crc32

_Kept = TypeVar("_Kept")

_MAP = msgspec.msgpack.Decoder(TileMap)
_SCORE_BYTES = 2
_TILES_MOST = 1 << 20  # more than any picture may have


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


def tiles_of(value: object) -> TileMap | None:
    """Of its column. Raises ValueError and MsgspecError."""
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise ValueError("a column of bytes holds something else")
    tiles = _MAP.decode(value)
    size = _SCORE_BYTES * tiles.rows * tiles.columns
    if min(tiles.rows, tiles.columns) < 1 or size > _SCORE_BYTES * _TILES_MOST:
        raise ValueError("its map has a size that no map has")
    try:
        scores = zlib.decompressobj().decompress(tiles.scores, size + 1)  # not a byte more, whatever a damaged row says
    except zlib.error as error:
        raise ValueError(f"its map: {error}") from None
    if len(scores) != size:
        raise ValueError("its map has another size than it says")
    return replace(tiles, scores=scores)


def optional(decoder: msgspec.json.Decoder[_Kept]) -> Callable[[object], _Kept | None]:
    """From a column of JSON, which may be NULL, to what it holds. What it returns raises ValueError and MsgspecError."""
    return lambda value: None if value is None else decoder.decode(text_of(value))


def answer_of(values: Sequence[object], labels: tuple[str, ...]) -> Answer:
    """The columns -> Answer. Raises ValueError and MsgspecError if they are not an answer with these labels."""
    decision, label, confidence, probabilities, decode, resize, infer, *others = values
    outside, trailing, app, at, frame, place, tiles, peaks = others
    found = {
        "decision": decision,
        "label": label,
        "confidence": confidence,
        "probabilities": probabilities_of(probabilities),
        "ms": {"decode": decode, "resize": resize, "infer": infer},
        "time": at,
        "app": app,
        "outside": outside_of(outside),
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


probabilities_of = optional(msgspec.json.Decoder(dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]]))
outside_of = optional(msgspec.json.Decoder(tuple[str, ...]))
place_of = optional(msgspec.json.Decoder(SlicePlace))
peaks_of = optional(msgspec.json.Decoder(tuple[Peak, ...]))
