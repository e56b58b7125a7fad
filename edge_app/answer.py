"""The classifier's answer for an image, and what the store keeps of it. Without numpy, as the process that keeps the store.

gc=False: they hold text and numbers and can be part of no circle, so Python need not look for one among thousands of them.
"""

from typing import Literal

import msgspec

SCORE_ONE, NOT_ASSESSED = 65_534, 65_535  # of a tile, as TileMap has it


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A classifier's answer for one image."""

    decision: str  # a label, or "refer"
    label: str  # the label with the largest probability
    confidence: float  # its probability, 0..1
    probabilities: dict[str, float]  # label -> 0..1, sum 1


class Timing(msgspec.Struct, frozen=True, gc=False):
    """How long an answer took, in milliseconds."""

    decode: float
    resize: float
    infer: float


class Peak(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A place in a picture where the sought label is likeliest: the largest score of its neighbourhood."""

    x: float  # px of the picture, 0 in the middle of its first pixel: the centroid of the scores around
    y: float
    score: float  # probability of the sought label in the tile with the largest one, 0..1
    decision: str  # of that tile, whose label is the sought one: that label, or "refer"
    outside: tuple[str, ...] | None = None  # statistics of that tile outside the bundle's envelope; None: it has no envelope
    x_mm: float | None = None  # in the picture's own plane, from the middle of its first pixel; None: its spacing is unknown
    y_mm: float | None = None


class TileMap(msgspec.Struct, frozen=True, gc=False):
    """The tiles of a picture and their scores. Tile (row, column) has its top left corner at first + stride * (row, column)."""

    size: int  # px of the picture, both ways
    stride: int
    rows: int
    columns: int
    first: tuple[int, int]  # y, x of the first tile
    scores: bytes  # uint16, little-endian, [rows][columns]: probability of the sought label * SCORE_ONE, or NOT_ASSESSED
    sought: str  # the label
    assessed: int  # tiles
    outside: int  # of them, unlike the training images
    path: Literal["tiles", "convolution"] = "tiles"  # how they were answered


class SlicePlace(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a DICOM picture lies: PS3.3 C.7.6.2. Its UIDs are hashed, unless it was asked for plain ones."""

    study: str
    series: str
    instance: str
    number: int | None = None  # InstanceNumber
    position_mm: tuple[float, float, float] | None = None  # of the middle of its first pixel, patient coordinates
    across: tuple[float, float, float] | None = None  # unit vector along a row, to the right
    down: tuple[float, float, float] | None = None  # along a column
    spacing_mm: tuple[float, float] | None = None  # between rows, between columns


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A prediction as the store keeps it."""

    decision: str  # a label, or "refer"
    label: str  # the label with the largest probability
    confidence: float  # its probability, 0..1
    probabilities: dict[str, float]
    ms: Timing
    time: str  # UTC, ISO 8601
    app: str  # "limiar 0.1.0"
    outside: tuple[str, ...] | None = None  # statistics outside the bundle's envelope; None: the bundle has no envelope
    trailing: str = ""  # what follows the picture in its file; "" for nothing
    statistics: tuple[float, ...] | None = None  # in the order of STATISTICS; not stored; None: they were not asked for
    tiles: TileMap | None = None  # None: it was answered as one image
    peaks: tuple[Peak, ...] | None = None  # of the map, the largest score first
    place: SlicePlace | None = None  # None: not DICOM
    frame: int | None = None  # from 1, of a file with several; None: it has one
