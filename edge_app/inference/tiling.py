"""What a run is told about tiles. Without numpy, for the process that keeps the store; inference/grid.py lays them out."""

from typing import Literal

from limiar.edge_app.bundle.manifest import Manifest, TileSpec
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.inference.model import BlockFile

Tiling = tuple[int, int] | Literal["bundle"] | None  # size and stride, px; "bundle": as the bundle says; None: no tiles
_SIDE_MOST = 4096  # px, as for the input of a model


def parse_tiling(text: str) -> tuple[int, int]:
    """Size and stride of "40,8". Raises ValueError with what is wrong with it."""
    size, comma, stride = text.partition(",")
    if not (comma and size.strip().isdecimal() and stride.strip().isdecimal()):
        raise ValueError("give the size and the stride of the tiles in pixels, as in 40,8")
    return check_tiling(int(size), int(stride))


def check_tiling(size: int, stride: int) -> tuple[int, int]:
    """The same two. Raises ValueError: there are no such tiles."""
    if not 1 <= size <= _SIDE_MOST:
        raise ValueError(f"tiles have from 1 to {_SIDE_MOST} pixels on each side, not {size}")
    if not 1 <= stride <= size:
        raise ValueError(f"the stride is from 1 to the size of a tile, {size}, not {stride}: a larger one leaves gaps")
    return size, stride


def tiles_of(manifest: Manifest, asked: Tiling) -> TileSpec | None:
    """How a bundle's pictures are tiled; None: they are not.

    Raises BundleError E-TILES-SOUGHT: nothing says what is sought; ValueError as check_tiling.
    """
    own = manifest.tiles or None
    if asked is None or asked == "bundle":
        return own if asked else None
    sought = own.sought if own else manifest.positive
    if sought is None:
        met = f"{printable(manifest.name)} does not say which of its labels tiles are searched for"
        raise BundleError("E-TILES-SOUGHT", f"{met}: convert the model again with --tiles and --sought")
    size, stride = check_tiling(*asked)
    return TileSpec(size=size, stride=stride, sought=sought)


def block_file(bundle: Bundle, model: str, tiles: TileSpec | None) -> BlockFile | None:
    """The file that answers blocks of these tiles with a model file's weights; None: there is none. Raises BundleError."""
    spec = bundle.manifest.input
    if tiles is None or (spec.height, spec.width) != (tiles.size, tiles.size):
        return None
    for file in bundle.manifest.files:
        if file.tiled and (file.tiled.of, file.tiled.step) == (model, tiles.stride):
            return BlockFile(file.tiled, bundle.read(file.path))
    return None
