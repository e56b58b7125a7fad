"""Tiles -> model inputs, a row of tiles at a time: to cut them out one by one costs as much as a small model."""

import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.resize import Rows, luma, model_input
from limiar.edge_app.inference.grid import Grid


def row_inputs(picture: Rows, grid: Grid, row: int, spec: InputSpec) -> Pixels:
    """The model inputs of a row of tiles, uint8 [columns, H, W, C]; C is 1 for a grey picture, all of whose channels are equal.

    Each is what `model_input` gives for its tile.
    """
    grey = len(picture.shape) == 2
    if spec.height == spec.width == grid.size:  # no resize: a tile is a part of the picture
        top = grid.corner(row, 0)[0]
        band = picture[top : top + grid.size]
        if not grey and spec.channels == 1:
            band = luma(band)
        views = np.lib.stride_tricks.sliding_window_view(band, grid.size, axis=1)[:, grid.first[1] :: grid.stride]
        tiles = np.moveaxis(views[:, : grid.columns], (1, -1), (0, 2))  # [H, columns(, C), W] before
        return np.ascontiguousarray(tiles).reshape(grid.columns, grid.size, grid.size, -1)
    used = 1 if grey else spec.channels
    return np.concatenate([model_input(grid.tile(picture, row, column), spec)[..., :used] for column in range(grid.columns)])


def whole_input(tensor: Pixels, spec: InputSpec) -> Pixels:
    """One of those inputs, [H, W, C], with the channels that the model takes: uint8 [1, H, W, channels]."""
    channels = tensor if tensor.shape[-1] == spec.channels else np.repeat(tensor, spec.channels, axis=-1)
    return np.ascontiguousarray(channels)[None]
