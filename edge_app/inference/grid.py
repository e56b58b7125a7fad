"""Where the tiles of a picture lie."""

from collections.abc import Iterator

from msgspec import Struct

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import TileSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.resize import Rows

TILES_LIMIT = 100_000  # of a picture: 3 s of a small int8 file on a desktop, a minute on a small board
NUMBERS_LIMIT = 4_000_000  # tiles times labels: 32 MB of probabilities


class Grid(Struct, frozen=True):
    """Tile (row, column) of a picture has its top left corner at first + stride * (row, column)."""

    size: int  # px of the picture, both ways
    stride: int
    rows: int
    columns: int
    first: tuple[int, int]  # y, x

    def places(self) -> Iterator[tuple[int, int]]:
        """Row and column of each tile, in reading order."""
        return ((row, column) for row in range(self.rows) for column in range(self.columns))

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """y and x of the first pixel of a tile."""
        return self.first[0] + self.stride * row, self.first[1] + self.stride * column

    def tile(self, picture: Rows, row: int, column: int) -> Pixels:
        """The pixels of a tile, uint8 [size, size] or [size, size, 3]."""
        top, left = self.corner(row, column)
        return picture[top : top + self.size][:, left : left + self.size]


def grid_of(shape: tuple[int, ...], spec: TileSpec, labels: int = 2) -> Grid:
    """The tiles of a picture [H, W(, 3)]: as many as fit whole; a rim of less than a stride is shared by both sides.

    Raises ImageError E-TILES-SMALL: it is smaller than a tile; E-TILES-MANY: it has more than TILES_LIMIT, or more than
    NUMBERS_LIMIT with so many labels.
    """
    height, width = shape[:2]
    if min(height, width) < spec.size:
        met = f"{width}x{height} pixels, less than a tile of {spec.size}x{spec.size}"
        raise ImageError("E-TILES-SMALL", f"{met}: give whole pictures, or smaller --tiles, or --no-tiles")
    rows, columns = ((side - spec.size) // spec.stride + 1 for side in (height, width))
    if rows * columns > (most := min(TILES_LIMIT, NUMBERS_LIMIT // labels)):
        met = f"{width}x{height} pixels have {rows * columns} tiles, the limit for {labels} labels is {most}"
        raise ImageError("E-TILES-MANY", f"{met}: give --tiles a larger stride, or make the picture smaller")
    top, left = ((side - spec.size) % spec.stride // 2 for side in (height, width))
    return Grid(spec.size, spec.stride, rows, columns, (top, left))
