#!/usr/bin/env python3
"""What the tiles of a picture cost one by one, and a block at a time: the tables of docs/tiles.md.

    studies/tiles.py [--side 512] [--stride 8] [--rounds 5]

The network is `windowed`, with random weights (a time does not depend on them), for tiles of 40 px. The ways take turns, with
one thread each, and the quickest round counts. Then, for the int8 file, blocks of other sizes: microseconds for a tile.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from limiar.convert.export.tiled import block_tiles, tiled
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.run.dataset import full_range
from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras_model import export_saved_model
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import Decision, TiledFile, TileSpec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.inference.blocks import Blocks, open_blocks
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.grid import grid_of
from limiar.edge_app.inference.tiled import SingleTiles, TiledClassifier, TileLogits
from limiar.edge_app.runtimes import open_runtime
from limiar.train.config import INPUT
from limiar.train.fit.models import build, deployable

ENVELOPE = open_bundle("models/lung-nodule").manifest.envelope  # to look at a tile costs what it costs with a real one
BLOCKS = (4, 8, 12, 16, 20, 30)
TILE = (INPUT.height, INPUT.width, INPUT.channels)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--side", type=int, default=512, help="of the picture, px")
    options.add_argument("--stride", type=int, default=8, help="of the tiles, px")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    picture = drawn(asked.side)
    tiles = TileSpec(size=INPUT.height, stride=asked.stride, sought="pos")
    grid = grid_of(picture.shape, tiles)
    wanted = np.ones((grid.rows, grid.columns), bool)
    print(f"{asked.side}x{asked.side} px, stride {asked.stride}: {wanted.size} tiles; milliseconds, the best of {asked.rounds}")
    print(f"{'file':<14}{'':<12}{'one by one':>12}{'blocks':>10}{'ratio':>8}")
    files = {name: made(name, picture) for name in ("int8", "fp32")}
    for name, data in files.items():
        one = Classifier(open_runtime("litert", data), ("neg", "pos"), INPUT, Decision(), ENVELOPE)
        ways: list[TileLogits] = [SingleTiles(one), blocks_of(data, asked.stride, block_tiles(tiles.size, asked.stride))]
        inferred = [partial(way.logits, picture, grid, wanted, nothing) for way in ways]
        answered = [partial(TiledClassifier(one, tiles, way).answer, picture) for way in ways]
        figures = best([*inferred, *answered], asked.rounds)
        for what, (alone, together) in (("inference", figures[:2]), ("all", figures[2:])):
            print(f"tflite_{name:<7}{what:<12}{1000 * alone:>12.1f}{1000 * together:>10.1f}{together / alone:>8.3f}")
    print("\nint8: tiles of a block, both ways; its input, px; the file, kB; microseconds for a tile")
    for count in BLOCKS:
        blocks = blocks_of(files["int8"], asked.stride, count)
        pixels = np.ascontiguousarray(np.resize(picture, (1, *blocks.shape)))
        took = best([partial(blocks.block, pixels)], 4 * asked.rounds)[0]
        size = len(tiled(files["int8"], asked.stride, count, count).data)
        print(f"{count:>6}{blocks.shape[0]:>8}{size / 1000:>8.0f}{1e6 * took / count**2:>8.2f}")
    return 0


def best(ways: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of each, the quickest of some rounds in which they take turns."""
    took = [[timed(way) for way in ways] for _ in range(rounds)]
    return [min(column) for column in zip(*took, strict=True)]


def timed(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def nothing() -> None:
    pass


def blocks_of(data: bytes, stride: int, count: int) -> Blocks:
    made_of = tiled(data, stride, count, count)
    spec = TiledFile("tflite", made_of.height, made_of.width, stride, 0.0)
    return open_blocks("litert", made_of.data, spec, TILE)


def made(precision: str, picture: Pixels) -> bytes:
    """The .tflite file of the network."""
    keras.utils.set_random_seed(0)
    patches = picture[: 40 * (len(picture) // 40), :40].reshape(-1, 40, 40, 1).repeat(3, axis=3)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(deployable(build("windowed", INPUT, 2, 0.0), 1.0), INPUT, Path(folder, "model"))
        return convert_tflite(Path(folder, "model"), precision, np.concatenate([patches, full_range(patches[:1])]))


def drawn(side: int) -> Pixels:
    """uint8 [side, side]: a picture with something everywhere."""
    y, x = np.mgrid[:side, :side]
    waves = 110 + 50 * np.sin(y / 9) * np.cos(x / 13) + np.random.default_rng(0).normal(0, 12, (side, side))
    found: Pixels = np.clip(waves, 0, 255).astype(np.uint8)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
