"""Tiles answered a block at a time, by a file with the same weights for a larger input (`TiledFile`).

A block costs a fraction of its tiles, since overlapping tiles share most of what is computed. That it gives their answers was
shown when the file was made, and is shown again here before the file is used: runtimes differ.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import TiledFile
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.image.resize import Rows, luma
from limiar.edge_app.inference.grid import Grid
from limiar.edge_app.inference.model_check import run_block, run_model
from limiar.edge_app.runtimes import Runtime, open_runtime
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime

_SCALES_PX = (1, 4, 16)  # of the squares that `drawn_block` is made of: of noise, edges and areas
_CHECKED = 32  # tiles of it: enough to find a runtime that computes something else, and 32 inferences at every start


class Blocks:
    """A loaded tiled file, as a way to the logits of tiles (`TileLogits`)."""

    path: Literal["tiles", "convolution"] = "convolution"

    def __init__(self, runtime: InterpreterRuntime, spec: TiledFile, tile: tuple[int, int, int]) -> None:
        """tile: height, width and channels of the model file's input."""
        self._runtime = runtime
        self._spec = spec
        self._tile = tile
        self.rows = (spec.height - tile[0]) // spec.step + 1  # tiles of a block
        self.columns = (spec.width - tile[1]) // spec.step + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a block: height, width, channels."""
        return self._spec.height, self._spec.width, self._tile[2]

    def block(self, pixels: Pixels) -> NDArray[np.float32]:
        """uint8 [1, height, width, channels] -> float32 [rows, columns, K]. Raises ModelUnfit."""
        logits = run_block(self._runtime, pixels)
        if logits.ndim != 2 or len(logits) != self.rows * self.columns:
            met = f"the tiled file gives {'x'.join(map(str, logits.shape))} numbers for {self.rows}x{self.columns} tiles"
            raise ModelUnfit("E-RUNTIME-MODEL", f"{met}: convert the model again")
        return logits.reshape(self.rows, self.columns, -1)

    def logits(self, picture: Rows, grid: Grid, wanted: NDArray[np.bool_], alive: Callable[[], None]) -> NDArray[np.float32]:
        """float32 [rows, columns, K] of a picture's tiles, block by block; blocks without a wanted tile are left out.

        The last block of a row or column is moved back to end with the grid. At least one tile is wanted. Raises ModelUnfit.
        """
        parts = []
        for row in _starts(grid.rows, self.rows):
            for column in _starts(grid.columns, self.columns):
                here = np.s_[row : row + self.rows, column : column + self.columns]
                if not wanted[here].any():
                    continue
                rows, columns = wanted[here].shape  # fewer than a block has, if the grid is smaller
                parts.append((here, self.block(self._pixels(picture, *grid.corner(row, column)))[:rows, :columns]))
                alive()
        found = np.zeros((grid.rows, grid.columns, parts[0][1].shape[-1]), np.float32)
        for here, logits in parts:
            found[here] = logits
        return found

    def _pixels(self, picture: Rows, top: int, left: int) -> Pixels:
        """A block of a picture, black where the picture has ended: uint8 [1, height, width, channels]."""
        height, width, channels = self.shape
        part = picture[top : top + height][:, left : left + width]
        if part.ndim == 3 and channels == 1:
            part = luma(part)
        block = np.zeros((1, height, width, channels), np.uint8)
        block[0, : part.shape[0], : part.shape[1]] = part if part.ndim == 3 else part[..., None]
        return block

    def tiles(self, pixels: Pixels) -> list[Pixels]:
        """The tiles of a block, each uint8 [1, H, W, C], in reading order."""
        return tiles_of(pixels, self._spec, self._tile)


def _starts(count: int, block: int) -> list[int]:
    """Where blocks begin, the last moved back to end with `count`."""
    return [min(start, max(0, count - block)) for start in range(0, count, block)]


def open_blocks(name: str, data: bytes, spec: TiledFile, tile: tuple[int, int, int], threads: int = 1) -> Blocks:
    """Loads a tiled file into a runtime. Raises RuntimeUnavailable, and ModelUnfit if the file is at fault."""
    runtime = open_runtime(name, data, threads)
    if not isinstance(runtime, InterpreterRuntime):
        raise ModelUnfit("E-RUNTIME-FORMAT", f"{name} does not answer blocks of tiles: choose a TFLite file")
    blocks = Blocks(runtime, spec, tile)
    if min(blocks.rows, blocks.columns) < 1:
        raise ModelUnfit("E-RUNTIME-MODEL", f"a block of {spec.height}x{spec.width} px has no tile: convert the model again")
    return blocks


def tiles_of(pixels: Pixels, spec: TiledFile, tile: tuple[int, int, int]) -> list[Pixels]:
    """The tiles of a block [1, height, width, channels], each uint8 [1, H, W, C], in reading order.

    tile: height, width and channels.
    """
    height, width, _ = tile
    tops, lefts = (range(0, side - least + 1, spec.step) for side, least in ((spec.height, height), (spec.width, width)))
    return [np.ascontiguousarray(pixels[:, top : top + height, left : left + width]) for top in tops for left in lefts]


def largest_difference(blocks: Blocks, one: Runtime, pixels: Pixels, some: Sequence[int] | None = None) -> float:
    """Between logits of a block and of its tiles one by one, absolute; infinite if one is not finite. Raises ModelUnfit.

    pixels: uint8 [1, height, width, channels]; some: the tiles to compare, in reading order; None: all.
    """
    tiles = blocks.tiles(pixels)
    chosen = range(len(tiles)) if some is None else some
    found = blocks.block(pixels).reshape(len(tiles), -1)[chosen].astype(np.float64)
    wanted = np.stack([run_model(one, tiles[place]) for place in chosen])
    if found.shape != wanted.shape:
        return float("inf")
    difference = float(np.abs(found - wanted).max())
    return difference if np.isfinite(difference) else float("inf")


def agrees(blocks: Blocks, one: Runtime, tolerance: float) -> bool:
    """Whether a tiled file gives the answers of tiles on this machine, by a block that is drawn. Raises ModelUnfit."""
    rng = np.random.default_rng(0)
    some = rng.choice(blocks.rows * blocks.columns, min(_CHECKED, blocks.rows * blocks.columns), replace=False).tolist()
    return largest_difference(blocks, one, drawn_block(blocks.shape, rng), some) <= tolerance


def drawn_block(shape: tuple[int, int, int], rng: np.random.Generator) -> Pixels:
    """uint8 [1, height, width, channels]: random squares of several sizes, all levels from 0 to 255."""
    height, width, channels = shape
    total = np.zeros((height, width, channels), np.uint16)
    for side in _SCALES_PX:
        coarse = rng.integers(0, 256, (-(-height // side), -(-width // side), channels), np.uint16)
        total += coarse.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return (total // len(_SCALES_PX)).astype(np.uint8)[None]


def mosaic(tensors: Sequence[Pixels], shape: tuple[int, int, int]) -> Pixels:
    """uint8 [1, height, width, channels]: model inputs side by side, from the first again if there are too few."""
    height, width, channels = shape
    _, tall, wide, _ = tensors[0].shape
    down, across = -(-height // tall), -(-width // wide)
    laid = [tensors[place % len(tensors)][0] for place in range(down * across)]
    rows = [np.concatenate(laid[row * across : (row + 1) * across], axis=1) for row in range(down)]
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width, :channels])[None]
