"""The scores of a picture's tiles, as an array and as an answer carries them."""

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.answer import NOT_ASSESSED, SCORE_ONE, TileMap

Scores = NDArray[np.float64]  # [rows, columns], 0..1; NaN: not assessed


def stored_scores(scores: Scores) -> bytes:
    """As TileMap has them."""
    return np.where(np.isnan(scores), NOT_ASSESSED, np.rint(np.nan_to_num(scores) * SCORE_ONE)).astype("<u2").tobytes()


def scores_of(tiles: TileMap) -> Scores:
    """Those of an answer, each exact to 1/131,068."""
    stored = np.frombuffer(tiles.scores, "<u2").reshape(tiles.rows, tiles.columns)
    return np.where(stored == NOT_ASSESSED, np.nan, stored / SCORE_ONE)
