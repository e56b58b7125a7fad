"""Tiles -> model inputs, and what the rules need to know of them, a row of tiles at a time."""

import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.measured import BAND_SIDE_PX, Measured, of_band, of_inputs
from limiar.edge_app.image.resize import SIDE_MIN_PX, Rows, luma, model_input
from limiar.edge_app.inference.grid import Grid


def row_inputs(picture: Rows, grid: Grid, row: int, spec: InputSpec) -> Pixels:
    """The model inputs of a row of tiles, uint8 [columns, H, W, C]; C is 1 for a grey picture, all of whose channels are equal.

    Each is what `model_input` gives for its tile.
    """
    if _as_it_is(grid, spec):
        band = _band(picture, grid, row, spec)
        views = np.lib.stride_tricks.sliding_window_view(band, grid.size, axis=1)[:, grid.first[1] :: grid.stride]
        tiles = np.moveaxis(views[:, : grid.columns], (1, -1), (0, 2))  # [H, columns(, C), W] before
        return np.ascontiguousarray(tiles).reshape(grid.columns, grid.size, grid.size, -1)
    used = 1 if len(picture.shape) == 2 else spec.channels
    return np.concatenate([model_input(grid.tile(picture, row, column), spec)[..., :used] for column in range(grid.columns)])


def whole_input(tensor: Pixels, spec: InputSpec) -> Pixels:
    """One of those inputs, [H, W, C], with the channels that the model takes: uint8 [1, H, W, channels]."""
    channels = tensor if tensor.shape[-1] == spec.channels else np.repeat(tensor, spec.channels, axis=-1)
    return np.ascontiguousarray(channels)[None]


def row_measured(picture: Rows, grid: Grid, row: int, spec: InputSpec, *, measure: bool, noisy: bool) -> Measured:
    """Of a row of tiles. measure, noisy: as for `of_inputs`."""
    grey = len(picture.shape) == 2 or spec.channels == 1
    if grey and _as_it_is(grid, spec) and SIDE_MIN_PX <= grid.size <= BAND_SIDE_PX:
        band = _band(picture, grid, row, spec)
        return of_band(band, grid.first[1], grid.stride, grid.columns, measure=measure, noisy=noisy)
    return of_inputs(row_inputs(picture, grid, row, spec), grid.size, measure=measure, noisy=noisy)


def _as_it_is(grid: Grid, spec: InputSpec) -> bool:
    """Whether a tile is not resized."""
    return spec.height == spec.width == grid.size


def _band(picture: Rows, grid: Grid, row: int, spec: InputSpec) -> Pixels:
    """The rows of the picture in which a row of tiles lies, as grey if the model takes grey."""
    top = grid.corner(row, 0)[0]
    band = picture[top : top + grid.size]
    return luma(band) if band.ndim == 3 and spec.channels == 1 else band
