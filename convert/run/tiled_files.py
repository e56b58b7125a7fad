"""The released TFLite files for blocks of tiles: made, and compared with the tiles one by one on every runtime."""

import concurrent.futures
from collections.abc import Sequence

import msgspec
import numpy as np

from limiar.convert.export.make import Note
from limiar.convert.export.tiled import block_tiles, tiled
from limiar.convert.run.evaluate import Bench, Environment, RuntimeFailure
from limiar.convert.run.tiling import TiledOutcome
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec, TiledFile, TileSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.inference.blocks import drawn_block, mosaic, tiles_of
from limiar.edge_app.runtimes import RUNTIMES

_MOSAICS = 3  # of validation images, besides one block that is drawn
_PROCESSES = 2


class Released(msgspec.Struct, frozen=True):
    """A model file of the bundle."""

    name: str
    data: bytes  # .tflite
    tolerance: float  # of its golden logits on their own runtime: what tiles must keep, too


class TiledModel(msgspec.Struct, frozen=True):
    """A file for blocks of tiles that gave the answers of its tiles."""

    spec: TiledFile
    data: bytes


def tiled_files(
    files: Sequence[Released], tiles: TileSpec, spec: InputSpec, val: Pixels, environments: Sequence[Environment], note: Note
) -> tuple[tuple[TiledOutcome, ...], dict[str, TiledModel]]:
    """What came of each file, and those that may be in the bundle, by the name of their model file.

    val: uint8 [N, H, W, C], validation images: blocks are mosaics of them. environments: those that read TFLite files count.
    """
    if why := _unshared(tiles, spec):
        return tuple(TiledOutcome(file.name, left_out=why) for file in files), {}
    note("comparing blocks of tiles with single tiles")
    reading = [one for one in environments if RUNTIMES[one.runtime].format == "tflite"]
    with concurrent.futures.ThreadPoolExecutor(_PROCESSES) as pool:
        found = list(pool.map(lambda file: _tiled(file, tiles, spec, val, reading), files))
    return tuple(outcome for outcome, _ in found), {model.spec.of: model for _, model in found if model}


def _unshared(tiles: TileSpec, spec: InputSpec) -> str:
    """Why no network can answer these tiles together; "" if one may."""
    if (spec.height, spec.width) != (tiles.size, tiles.size):
        return f"tiles of {tiles.size} px are resized to {spec.height}x{spec.width}"
    return "tiles do not overlap" if tiles.stride >= tiles.size else ""


def _tiled(
    file: Released, tiles: TileSpec, spec: InputSpec, val: Pixels, environments: Sequence[Environment]
) -> tuple[TiledOutcome, TiledModel | None]:
    count = block_tiles(tiles.size, tiles.stride)
    try:
        made = tiled(file.data, tiles.stride, count, count)
        model = TiledModel(TiledFile(file.name, made.height, made.width, tiles.stride, file.tolerance), made.data)
        largest = max(_difference(file, model, spec, val, environments))
        if not largest <= file.tolerance:
            met = f"its logits differ by {largest:.2g} from those of single tiles"
            return TiledOutcome(file.name, left_out=f"{met}, outside the tolerance of {file.tolerance:.2g}"), None
    except ConvertError as error:
        return TiledOutcome(file.name, left_out=error.message), None
    except RuntimeFailure as failure:
        return TiledOutcome(file.name, left_out=f"as a block it {failure}"), None
    return TiledOutcome(file.name, count, count, len(made.data), largest), model


def _difference(
    file: Released, model: TiledModel, spec: InputSpec, val: Pixels, environments: Sequence[Environment]
) -> list[float]:
    """The largest difference of a logit on each runtime. Raises RuntimeFailure."""
    tile = (spec.height, spec.width, spec.channels)
    blocks = _blocks((model.spec.height, model.spec.width, spec.channels), val)
    singles = np.concatenate([one for block in blocks for one in tiles_of(block[None], model.spec, tile)])
    with Bench(blocks) as together, Bench(singles) as alone:
        differences = []
        for environment in environments:
            found = together.rows(environment, file.name, model.data).reshape(len(singles), -1)
            wanted = alone.answers(environment, file.name, file.data).logits
            difference = float(np.abs(found.astype(np.float64) - wanted).max()) if found.shape == wanted.shape else np.inf
            differences.append(difference if np.isfinite(difference) else np.inf)
    return differences


def _blocks(shape: tuple[int, int, int], val: Pixels) -> Pixels:
    """uint8 [B, height, width, channels]."""
    rng = np.random.default_rng(0)
    mosaics = [mosaic(list(val[rng.permutation(len(val))][:, None]), shape) for _ in range(_MOSAICS)]
    return np.concatenate([*mosaics, drawn_block(shape, rng)])
