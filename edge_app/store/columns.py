"""Answers as columns of the store, and back."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from limiar.edge_app.answer import Answer
from limiar.edge_app.bundle.manifest import REFER

_SUM_TOLERANCE = 1e-6  # for the sum of probabilities in float64; it protects older rows, which have no crc32

_SHARES = msgspec.json.Decoder(dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]])
_OUTSIDE = msgspec.json.Decoder(tuple[str, ...])


def columns(answer: Answer) -> tuple[object, ...]:
    """The columns of results and camera_results from `decision` to `time`, without `crc32`."""
    probabilities = msgspec.json.encode(answer.probabilities).decode()
    ms = (float(answer.ms.decode), float(answer.ms.resize), float(answer.ms.infer))  # as a REAL column returns them
    outside = None if answer.outside is None else msgspec.json.encode(answer.outside).decode()
    start = (answer.decision, answer.label, float(answer.confidence), probabilities)
    return *start, *ms, outside, answer.trailing, answer.app, answer.time


def answer_of(values: Sequence[object], labels: tuple[str, ...]) -> Answer:
    """The columns -> Answer. Raises ValueError and MsgspecError if they are not an answer with these labels."""
    decision, label, confidence, probabilities, decode, resize, infer, outside, trailing, app, at = values
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
    }
    answer = msgspec.convert(found, Answer)
    shares = answer.probabilities
    whole = abs(sum(shares.values()) - 1) < _SUM_TOLERANCE and shares.get(answer.label) == answer.confidence
    if tuple(shares) != labels or not whole or answer.decision not in (*labels, REFER):
        raise ValueError("it is not an answer that this model can give")
    return answer


def text_of(value: object) -> str:
    """A column of text. Raises ValueError if it holds something else."""
    if not isinstance(value, str):
        raise ValueError("a column of text holds something else")
    return value
