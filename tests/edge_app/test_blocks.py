"""Tiles answered a block at a time; most tests have a runtime of a few lines in place of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import TiledFile, TileSpec
from limiar.edge_app.errors import ModelUnfit
from limiar.edge_app.inference.blocks import Blocks, agrees, drawn_block, largest_difference, mosaic, open_blocks
from limiar.edge_app.inference.grid import Grid, grid_of
from limiar.edge_app.runtimes import installed_runtimes, open_runtime

SPEC = TiledFile(of="tflite_int8", height=20, width=28, step=4, tolerance=0.01)
FILES = Path(__file__).parent / "data" / "blocks"  # made by make_block_models.py
TILE = (12, 12, 3)
TILES = TileSpec(size=12, stride=4, sought="pos")


class One:
    """The logits of a tile: the mean and the first pixel of each channel."""

    def logits(self, image: Pixels) -> np.ndarray:
        return np.concatenate([image[0].mean(axis=(0, 1)), image[0, 0, 0]]).astype(np.float32)


class Together:
    """The same of every tile of a block; those of tile `wrong` are off by one."""

    def __init__(self, wrong: int | None = None) -> None:
        self.wrong = wrong

    def rows(self, block: Pixels) -> np.ndarray:
        found = np.stack([One().logits(block[:, y : y + 12, x : x + 12]) for y in (0, 4, 8) for x in (0, 4, 8, 12, 16)])
        if self.wrong is not None:
            found[self.wrong] += 1
        return found


def blocks(runtime: Any) -> Blocks:
    return Blocks(runtime, SPEC, TILE)


@pytest.fixture
def one() -> Any:
    return One()


def test_a_block_has_a_row_of_logits_for_each_tile(one: Any) -> None:
    opened = blocks(Together())
    pixels = drawn_block(opened.shape, np.random.default_rng(1))
    assert (opened.shape, opened.rows, opened.columns) == ((20, 28, 3), 3, 5)
    np.testing.assert_array_equal(opened.block(pixels)[2, 1], one.logits(pixels[:, 8:20, 4:16]))
    assert largest_difference(opened, one, pixels) == 0.0


def test_a_file_that_gives_other_answers_than_its_tiles_is_found(one: Any) -> None:
    assert agrees(blocks(Together()), one, tolerance=0.0)
    assert not agrees(blocks(Together(wrong=7)), one, tolerance=0.5)


def test_a_logit_that_is_not_a_number_differs_infinitely(one: Any) -> None:
    class NotANumber(Together):
        def rows(self, block: Pixels) -> np.ndarray:
            return super().rows(block) * np.nan

    assert not agrees(blocks(NotANumber()), one, tolerance=1e9)


def test_a_file_with_another_number_of_tiles_is_not_the_bundles(one: Any) -> None:
    class Fewer(Together):
        def rows(self, block: Pixels) -> np.ndarray:
            return super().rows(block)[:-1]

    with pytest.raises(ModelUnfit, match=r"E-RUNTIME-MODEL: the tiled file gives 14x6 numbers for 3x5 tiles"):
        agrees(blocks(Fewer()), one, tolerance=1.0)


def test_a_drawn_block_has_dark_and_bright_places_and_is_always_the_same() -> None:
    first, again = (drawn_block((40, 70, 3), np.random.default_rng(0)) for _ in range(2))
    assert (first.dtype, first.shape) == (np.uint8, (1, 40, 70, 3))
    assert first.min() < 20
    assert first.max() > 235
    np.testing.assert_array_equal(first, again)


def test_a_mosaic_lays_model_inputs_side_by_side_and_begins_again() -> None:
    tensors = [np.full((1, 12, 12, 3), level, np.uint8) for level in (1, 2, 3, 4, 5)]
    laid = mosaic(tensors, (20, 28, 3))
    assert laid.shape == (1, 20, 28, 3)
    assert laid[0, ::12, ::12, 0].tolist() == [[1, 2, 3], [4, 5, 1]]


def one_by_one(picture: Pixels, grid: Grid, wanted: np.ndarray) -> np.ndarray:
    found = np.zeros((grid.rows, grid.columns, 6), np.float32)
    for row, column in zip(*np.nonzero(wanted), strict=True):
        tile = grid.tile(picture, row, column)
        whole = tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=-1)
        found[row, column] = One().logits(whole[None])
    return found


@pytest.mark.parametrize("shape", [(20, 28, 3), (61, 75, 3), (61, 75), (13, 90), (12, 12, 3), (40, 17)])
def test_the_blocks_of_a_picture_give_the_logits_of_its_tiles(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    grid = grid_of(shape, TILES)
    wanted = np.ones((grid.rows, grid.columns), bool)
    found = blocks(Together()).logits(picture, grid, wanted, alive=lambda: None)
    np.testing.assert_array_equal(found, one_by_one(picture, grid, wanted))


def test_blocks_without_a_tile_that_is_wanted_are_left_out() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (100, 100, 3), np.uint8)
    grid = grid_of(picture.shape, TILES)
    wanted = np.zeros((grid.rows, grid.columns), bool)
    wanted[0, 0] = wanted[10, 12] = True
    signs: list[None] = []
    found = blocks(Together()).logits(picture, grid, wanted, alive=lambda: signs.append(None))
    assert len(signs) == 2
    np.testing.assert_array_equal(found[wanted], one_by_one(picture, grid, wanted)[wanted])


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
@pytest.mark.parametrize(("precision", "largest"), [("int8", 0.0), ("fp32", 1e-3)])  # of logits up to 100
def test_a_tiled_file_gives_the_answers_of_its_tiles_on_this_machine(runtime: str, precision: str, largest: float) -> None:
    if runtime not in {found.name for found in installed_runtimes("tflite")}:
        pytest.skip(f"{runtime} is not installed in this environment")
    one = open_runtime(runtime, (FILES / f"tflite_{precision}.tflite").read_bytes())
    spec = TiledFile(of=f"tflite_{precision}", height=28, width=32, step=4, tolerance=largest)
    opened = open_blocks(runtime, (FILES / f"tiled_{precision}.tflite").read_bytes(), spec, (20, 20, 3))
    pixels = drawn_block(opened.shape, np.random.default_rng(4))
    assert np.ptp(opened.block(pixels), axis=(0, 1)).max() > 1  # not the same everywhere
    assert largest_difference(opened, one, pixels) <= largest


def test_a_block_smaller_than_a_tile_is_refused() -> None:
    spec = TiledFile(of="tflite_int8", height=28, width=32, step=4, tolerance=0.0)
    with pytest.raises(ModelUnfit, match="E-RUNTIME-MODEL: a block of 28x32 px has no tile"):
        open_blocks("litert", (FILES / "tiled_int8.tflite").read_bytes(), spec, (40, 40, 3))
