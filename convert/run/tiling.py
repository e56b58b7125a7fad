"""What came of the files that answer blocks of tiles, for the report."""

from collections.abc import Iterable, Iterator

from limiar.edge_app.bundle.manifest import Count, Name, Value


class TiledOutcome(Value, frozen=True, forbid_unknown_fields=True):
    """A released model file, for a larger input."""

    of: Name
    rows: Count | None = None  # tiles of a block; None: it is left out
    columns: Count | None = None
    bytes: Count | None = None
    largest_difference: float | None = None  # of a logit from that of the tile alone, on any runtime here
    left_out: str = ""  # why tiles are answered one by one


def lines(outcomes: Iterable[TiledOutcome]) -> Iterator[str]:
    """For a person: the files that answer blocks, then why others do not."""
    reasons: dict[str, list[str]] = {}
    for one in outcomes:
        if one.left_out:
            reasons.setdefault(one.left_out, []).append(one.of)
            continue
        at_once = f"{one.of} answers {one.rows}x{one.columns} tiles at once"
        yield f"{at_once}: their logits differ from those of single tiles by {one.largest_difference:.2g} at most"
    for reason, names in reasons.items():
        yield f"tiles are answered one by one with {', '.join(names)}: {reason}"
