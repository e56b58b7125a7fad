"""Picture -> answer by tiles: each tile is an image to the rules, and the strongest speaks for the picture."""

import time
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from limiar.edge_app.answer import Answer, Peak, SlicePlace, TileMap
from limiar.edge_app.bundle.manifest import TileSpec
from limiar.edge_app.errors import ImageError, RuntimeUnavailable
from limiar.edge_app.image.resize import Rows
from limiar.edge_app.image.scores import Scores, stored_scores
from limiar.edge_app.inference.blocks import agrees, open_blocks
from limiar.edge_app.inference.classifier import Classifier, answer_of, timing
from limiar.edge_app.inference.grid import Grid, grid_of
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.peaks import centroid, peaks, ranked
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.inference.tile_inputs import row_inputs, row_measured, whole_input
from limiar.edge_app.text import counted

_DIGITS = 2  # of a place in px: what is beyond them is noise

Mask = NDArray[np.bool_]  # [rows, columns]
Alive = Callable[[], None]  # called after each tile, or a few: whoever waits may want to know


class TileLogits(Protocol):
    """A way from the tiles of a picture to their logits."""

    path: Literal["tiles", "convolution"]

    def logits(self, picture: Rows, grid: Grid, wanted: Mask, alive: Alive) -> NDArray[np.float32]:
        """[rows, columns, K]; of tiles that are not wanted, anything. Raises ModelUnfit."""


class SingleTiles:
    """Every tile is inferred as an image of its own."""

    path: Literal["tiles", "convolution"] = "tiles"

    def __init__(self, one: Classifier) -> None:
        self._one = one

    def logits(self, picture: Rows, grid: Grid, wanted: Mask, alive: Alive) -> NDArray[np.float32]:
        """As TileLogits."""
        found = np.zeros((grid.rows, grid.columns, len(self._one.labels)), np.float32)
        for row in np.flatnonzero(wanted.any(axis=1)).tolist():
            tensors = row_inputs(picture, grid, row, self._one.input)
            for column in np.flatnonzero(wanted[row]).tolist():
                found[row, column] = self._one.infer(whole_input(tensors[column], self._one.input))
                alive()
        return found


class TiledClassifier:
    """A loaded model file that is given tiles: picture -> answer."""

    def __init__(self, one: Classifier, spec: TileSpec, how: TileLogits, alive: Alive = lambda: None) -> None:
        """one: answers a tile."""
        self._one = one
        self._spec = spec
        self._how = how
        self._alive = alive

    def answer(self, picture: Rows, decode_s: float = 0.0) -> Answer:
        """The answer of the assessed tile with the highest score, the map of all scores, and its peaks.

        Raises ImageError (E-TILES-SMALL, E-TILES-MANY; E-TILES-NONE: no tile can be assessed) and RuntimeUnavailable.
        """
        started = time.perf_counter()
        grid = grid_of(picture.shape, self._spec, len(self._one.labels))
        assessed, outside = self._looked(picture, grid)
        looked = time.perf_counter()
        logits = self._how.logits(picture, grid, assessed, self._alive)
        ms = timing(decode_s, looked - started, time.perf_counter() - looked)
        shares = self._shares(logits, assessed)
        scores = np.where(assessed, shares[..., self._one.labels.index(self._spec.sought)], np.nan)
        (speaker, *_) = ranked(scores, grid, scores == np.nanmax(scores))
        strongest = self._one.look(grid.tile(picture, *speaker))
        answer = answer_of(self._one.decide(logits[speaker], strongest.unlike), strongest, picture, ms)
        found = peaks(ranked(scores, grid, assessed & self._sought(shares)), grid)
        place: SlicePlace | None = getattr(picture, "place", None)
        spacing = place.spacing_mm if place else None
        return replace(
            answer,
            tiles=TileMap(
                size=grid.size,
                stride=grid.stride,
                rows=grid.rows,
                columns=grid.columns,
                first=grid.first,
                sought=self._spec.sought,
                scores=stored_scores(scores),
                assessed=int(np.count_nonzero(assessed)),
                outside=outside,
                path=self._how.path,
            ),
            peaks=tuple(self._peak(picture, grid, scores, logits, spacing, tile) for tile in found),
        )

    def _looked(self, picture: Rows, grid: Grid) -> tuple[Mask, int]:
        """Which tiles are assessed, and how many of them are unlike the training images. Raises ImageError."""
        assessed = np.zeros((grid.rows, grid.columns), bool)
        outside = 0
        for row in range(grid.rows):
            assessed[row], unlike = self._one.assess_many(row_measured(picture, grid, row, self._one.input, **self._one.needs))
            outside += int(np.count_nonzero(unlike))
            self._alive()
        if not assessed.any():
            raise self._none(picture, grid)
        return assessed, outside

    def _none(self, picture: Rows, grid: Grid) -> ImageError:
        """No tile can be assessed: the reason of the one in the middle stands for all."""
        met = f"none of {counted(grid.rows * grid.columns, 'tile')} can be assessed"
        try:
            self._one.look(grid.tile(picture, grid.rows // 2, grid.columns // 2))
        except ImageError as error:
            met += f" (in the middle: {error.code})"
        return ImageError("E-TILES-NONE", f"{met}: give pictures of the model's kind")

    def _shares(self, logits: NDArray[np.float32], assessed: Mask) -> NDArray[np.float64]:
        """The probabilities in each tile, [rows, columns, K]. Raises RuntimeUnavailable: an assessed one has none."""
        with np.errstate(invalid="ignore"):
            shares = softmax(logits)
        for tile in zip(*np.nonzero(assessed & ~np.isfinite(shares).all(axis=-1)), strict=True):
            self._one.decide(logits[tile], None)
        return shares

    def _sought(self, shares: NDArray[np.float64]) -> Mask:
        """[rows, columns]: whether a tile's label is the one sought, as Decision.label."""
        threshold, labels = self._one.rule.decision.threshold, self._one.labels
        if threshold is None:
            return np.asarray(shares.argmax(axis=-1) == labels.index(self._spec.sought))
        wins = shares[..., labels.index(threshold.label)] >= threshold.at_least
        return np.asarray(wins == (threshold.label == self._spec.sought))

    def _peak(
        self,
        picture: Rows,
        grid: Grid,
        scores: Scores,
        logits: NDArray[np.float32],
        spacing: tuple[float, float] | None,
        tile: tuple[int, int],
    ) -> Peak:
        """spacing: mm between rows and between columns."""
        unlike = self._one.look(grid.tile(picture, *tile)).unlike
        prediction = self._one.decide(logits[tile], unlike)
        y, x = (round(at, _DIGITS) for at in centroid(scores, grid, *tile))
        return Peak(
            x=x,
            y=y,
            score=prediction.confidence,
            decision=prediction.decision,
            outside=unlike,
            x_mm=spacing and round(x * spacing[1], _DIGITS + 1),
            y_mm=spacing and round(y * spacing[0], _DIGITS + 1),
        )


def answering(model: Model, one: Classifier, alive: Alive = lambda: None) -> Classifier | TiledClassifier:
    """What answers pictures as a model says: whole, or by tiles."""
    return TiledClassifier(one, model.tiles, _way(model, one), alive) if model.tiles else one


def _way(model: Model, one: Classifier) -> TileLogits:
    """Blocks, if there is a file for them and it gives the answers of single tiles on this machine; otherwise tile by tile."""
    if model.blocks is None:
        return SingleTiles(one)
    tile = (model.input.height, model.input.width, model.input.channels)
    try:
        blocks = open_blocks(one.runtime.name, model.blocks.data, model.blocks.spec, tile, model.threads)
        return blocks if agrees(blocks, one.runtime, model.blocks.spec.tolerance) else SingleTiles(one)
    except RuntimeUnavailable:
        return SingleTiles(one)
