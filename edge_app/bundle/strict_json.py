"""JSON that is read more strictly than its parsers do: what is odd in it is refused, not repaired."""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from limiar.edge_app.text import visible


def strictly_parsed(raw: bytes, depth_limit: int) -> Any:
    """The value of a JSON text. Raises ValueError: duplicate keys, NaN or infinity, nesting beyond the limit, not UTF-8."""
    if _depth(raw) > depth_limit:
        raise ValueError(f"nested deeper than {depth_limit}")
    # msgspec silently keeps the last of two equal keys; the standard parser can be told to refuse.
    return json.loads(raw.decode(), object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite)


def unseen(value: object) -> str | None:
    """The first text in a JSON value with an unseen character; line ends and tabs are allowed."""
    if isinstance(value, str):
        return None if value == visible(value) else value
    inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((odd for one in inside if (odd := unseen(one)) is not None), None)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        counts = Counter(key for key, _ in pairs)  # counted once: list.count for every key in 4 MB would take hours
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"key {twice[:40]!r} appears twice")
    return fields


def _finite(text: str) -> float:
    """Refuses 1e999, a number in JSON but infinity in Python: as a tolerance it would let any answer pass."""
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text[:40])


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _depth(raw: bytes) -> int:
    """Largest nesting, counted before parsing: a parser's own recursion limit differs between Python versions."""
    depth = deepest = 0
    # An unclosed string counts up to the end of the text: looking for its end again from every quote in 4 MB takes hours.
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', raw, re.DOTALL):
        token = match.group()
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest
