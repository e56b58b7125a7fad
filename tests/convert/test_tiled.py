"""A TFLite file for a block of tiles, made from the file of one tile: the same weights and the same answers."""

from collections.abc import Callable

import numpy as np
import pytest

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.export.tiled import tiled
from limiar.convert.export.to_tflite import convert_tflite
from limiar.convert.run.dataset import full_range
from limiar.convert.source import keras_model
from limiar.convert.source.frameworks import keras
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.runtimes import installed_runtimes, open_runtime
from limiar.edge_app.runtimes.interpreter import InterpreterRuntime

SIDE_PX = 20
ROWS, COLUMNS, STRIDE_PX = 3, 5, 4
layers = keras.layers

File = Callable[..., bytes]
Network = Callable[[], list["keras.Layer"]]


def pooled() -> list["keras.Layer"]:
    """What `--model windowed` is made of."""
    return [
        *(layers.Conv2D(8, 3, 2, activation="relu"), layers.Conv2D(8, 3, 2, activation="relu")),
        *(layers.GlobalAveragePooling2D(), layers.Dense(3)),
    ]


def flattened() -> list["keras.Layer"]:
    """As LeNet, without padding: pools of 2 on even sides, dense layers over all places."""
    return [
        *(layers.Conv2D(6, 5), layers.MaxPooling2D(2, padding="same"), layers.ReLU(6.0), layers.MaxPooling2D(2)),
        *(layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(3)),
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    """Makes the .tflite file of a network with random weights."""

    def make(network: list["keras.Layer"], precision: str) -> bytes:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((SIDE_PX, SIDE_PX, 3)), *network])
        folder = tmp_path_factory.mktemp("saved") / "model"
        keras_model.export_saved_model(model, InputSpec(SIDE_PX, SIDE_PX, 3), folder)
        images = picture(40)[: SIDE_PX * 2].reshape(-1, SIDE_PX, SIDE_PX, 3)
        return convert_tflite(folder, precision, np.concatenate([images, full_range(images[:1])]))

    return make


def picture(side_px: int) -> Pixels:
    """uint8 [side_px, side_px, 3]: waves and noise."""
    y, x = np.mgrid[:side_px, :side_px, :3][:2]
    return np.clip(130 + 70 * np.sin(y / 3) * np.cos(x / 4) + np.random.default_rng(1).normal(0, 20, y.shape), 0, 255).astype(
        np.uint8
    )


def rows(data: bytes, block: Pixels, runtime: str = "litert", optimised: bool = True) -> np.ndarray:
    opened = open_runtime(runtime, data, optimised=optimised)
    assert isinstance(opened, InterpreterRuntime)
    return opened.rows(block)


@pytest.mark.parametrize("network", [pooled, flattened])
@pytest.mark.parametrize(
    ("precision", "largest"),  # of logits around 100: integers are exact, float sums are not in the same order everywhere
    [("fp32", 1e-4), ("int8", 0.0), ("int16x8", 0.0)],
)
def test_a_block_gives_the_logits_of_its_tiles(file: File, network: Network, precision: str, largest: float) -> None:
    data = file(network(), precision)
    made = tiled(data, STRIDE_PX, ROWS, COLUMNS)
    assert (made.height, made.width) == (SIDE_PX + 2 * STRIDE_PX, SIDE_PX + 4 * STRIDE_PX)
    block = np.ascontiguousarray(picture(made.width)[: made.height])
    for runtime in (found.name for found in installed_runtimes("tflite")):
        for optimised in (True, False):
            alone = open_runtime(runtime, data, optimised=optimised)
            tiles = [
                block[None, row : row + SIDE_PX, column : column + SIDE_PX].copy()
                for row in range(0, ROWS * STRIDE_PX, STRIDE_PX)
                for column in range(0, COLUMNS * STRIDE_PX, STRIDE_PX)
            ]
            wanted = np.stack([alone.logits(tile) for tile in tiles])
            assert np.ptp(wanted, axis=0).max() > 0  # not the same everywhere
            np.testing.assert_allclose(rows(made.data, block[None], runtime, optimised), wanted, rtol=0, atol=largest)


def test_the_weights_stay_the_same_bytes(file: File) -> None:
    data = file(pooled(), "int8")
    before, after = (Graph(one) for one in (data, tiled(data, STRIDE_PX, ROWS, COLUMNS).data))
    weights = [bytes(buffer.data) for buffer in before.model.buffers if buffer.data is not None]
    assert [bytes(buffer.data) for buffer in after.model.buffers if buffer.data is not None][: len(weights)] == weights


def test_a_map_output_is_left_out(file: File) -> None:
    image = keras.Input((SIDE_PX, SIDE_PX, 3))
    features = layers.Conv2D(8, 3, 2)(image)
    logits = layers.Dense(3)(layers.GlobalAveragePooling2D()(features))
    both = keras.Model(image, [logits, layers.Conv2D(3, 1)(features)])
    made = tiled(file([both], "fp32"), STRIDE_PX, ROWS, COLUMNS)
    graph = Graph(made.data)
    assert [graph.shape(int(index)) for index in graph.main.outputs] == [(ROWS * COLUMNS, 3)]


@pytest.mark.parametrize(
    ("network", "stride_px", "reason"),
    [
        ([layers.Conv2D(4, 3, 2, padding="same"), *pooled()[2:]], 4, "the first layer pads"),
        ([layers.Flatten(), layers.Dense(3)], 4, "the first layer pads or looks at the whole tile"),
        (pooled(), 6, "the network looks at every 4x4 pixels, which does not divide the stride of 6"),
        (
            [layers.Conv2D(4, 3, 2), layers.Flatten(), layers.Dense(3), layers.Softmax()],
            4,
            "SOFTMAX does not answer a batch",
        ),
    ],
)
def test_a_network_whose_tiles_share_nothing_is_refused(
    file: File, network: list["keras.Layer"], stride_px: int, reason: str
) -> None:
    with pytest.raises(ConvertError, match=reason) as refused:
        tiled(file(network, "fp32"), stride_px, ROWS, COLUMNS)
    assert refused.value.code == "E-CONVERT-TILED"


def test_a_layer_that_pads_behind_the_first_ones_pads_each_tile(file: File) -> None:
    network = [layers.Conv2D(4, 3, 2), layers.Conv2D(4, 3, padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    data = file(network, "fp32")
    made = tiled(data, STRIDE_PX, 1, 2)
    block = np.ascontiguousarray(picture(made.width)[None, : made.height])
    alone = open_runtime("litert", data)
    wanted = [alone.logits(block[:, :, column : column + SIDE_PX].copy()) for column in (0, STRIDE_PX)]
    np.testing.assert_allclose(rows(made.data, block), wanted, rtol=0, atol=1e-4)
