"""How one of two compares with the other, in a word; the graver word comes last."""

from typing import Literal

Outcome = Literal["better", "worse", "undecided", "same", "not comparable"]
GRAVITY: tuple[Outcome, ...] = ("same", "better", "undecided", "worse", "not comparable")  # of several, the last one counts


def reaches(outcome: Outcome, limit: str) -> bool:
    """Whether an outcome is `limit` or graver; "not-comparable" is "not comparable"."""
    return [*map(str, GRAVITY)].index(outcome) >= [*map(str, GRAVITY)].index(limit.replace("-", " "))
