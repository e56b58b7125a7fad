"""What a comparison of two archives found, as `limiar archive compare --json` writes it."""

from typing import Literal

import msgspec

from limiar.edge_app.results.agreement import wilson
from limiar.edge_app.text import counted


class Share(msgspec.Struct, frozen=True):
    """A part of the images, with Wilson's 95 % interval: of images to come that are like these."""

    images: int
    of: int
    share: float | None  # None: of no images
    low: float
    high: float

    @classmethod
    def counted(cls, images: int, of: int) -> "Share":
        """`images` of `of`."""
        low, high = wilson(images, of)
        return cls(images, of, round(images / of, 6) if of else None, round(low, 6), round(high, 6))


class Side(msgspec.Struct, frozen=True):
    """One of the two."""

    given: str  # a path, for people
    bundle: str  # sha256; of the first row
    name: str  # of the bundle: "lung-nodule 1.0.0"; empty if it was merged, and so does not say
    file: str
    runtime: str
    labels: tuple[str, ...]
    rows: int
    double: int  # rows that were left out, since their image was there before
    missing: int  # chunks that are not done


class Transition(msgspec.Struct, frozen=True):
    """Images that had one decision and have another, or the same one still."""

    old: str  # a label, "refer" or "refused"
    new: str
    images: int


class DecisionChange(msgspec.Struct, frozen=True):
    """What became of a decision."""

    decision: str
    old: Share  # of the compared images
    new: Share
    left: Share  # of those that had it: decided differently now
    came: Share  # of those that have it now: had another one


class Shift(msgspec.Struct, frozen=True):
    """By how much the confidence changed where the label stayed: new - old."""

    label: str
    images: int
    low: float  # 5 % of the images have less
    median: float
    high: float  # 5 % have more


class CodeChange(msgspec.Struct, frozen=True):
    """Images that were refused, or are now, and why."""

    old: str | None  # None: it was answered
    new: str | None
    images: int


class Answered(msgspec.Struct, frozen=True):
    """What one side said of an image."""

    decision: str
    label: str | None
    confidence: float | None
    code: str | None


class Look(msgspec.Struct, frozen=True):
    """An image to look at."""

    path: str
    path_base64: str | None  # its bytes, if they are not UTF-8
    sha256: str | None
    frame: int | None
    old: Answered | None  # None: it is not there
    new: Answered | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a new bundle would change over an archive."""

    schema: Literal[1] = 1
    summary: str  # one line
    old: Side
    new: Side
    compared: int  # images, or frames, in both
    only_old: int
    only_new: int
    changed: Share  # decided differently
    decisions: list[DecisionChange]  # labels in order, then "refer" and "refused"
    transitions: list[Transition]  # the most frequent first; the same decision too
    shifts: list[Shift]
    codes: list[CodeChange]  # the most frequent first
    look: list[Look]  # the gravest kind of change first, in it the surest answers
    look_only: list[Look]  # a few of those that are only in one


def summary(compared: int, changed: Share, transitions: list[Transition]) -> str:
    """One line: how many, and the most frequent changes."""
    if not compared:
        return "no image is in both"
    if not changed.images:
        return f"{counted(compared, 'image')}: decided as before"
    kinds = [one for one in transitions if one.old != one.new]
    said = ", ".join(f"{one.old} -> {one.new} {one.images}" for one in kinds[:3])
    more = f" and {counted(len(kinds) - 3, 'other kind')}" if len(kinds) > 3 else ""
    between = f"{100 * changed.low:.2f} to {100 * changed.high:.2f}"
    return (
        f"{changed.images} of {counted(compared, 'image')} decided differently, "
        f"{100 * (changed.share or 0):.2f} % ({between}): {said}{more}"
    )
