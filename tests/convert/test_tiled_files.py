"""Files for blocks of tiles: compared with single tiles here, published, and compared again by `limiar verify`."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from limiar.convert.anatomy.flatbuffer import Graph
from limiar.convert.defaults import CARD
from limiar.convert.export.tiled import Tiled, tiled
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.pipeline import Converted, ConvertRequest, convert_run
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.run import tiled_files
from limiar.convert.run.evaluate import Environment
from limiar.convert.run.tiled_files import Released
from limiar.convert.run.tiling import TiledOutcome, lines
from limiar.convert.source.frameworks import keras
from limiar.convert.source.origin import RunFolder
from limiar.edge_app.bundle.manifest import InputSpec, TileSpec
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.cli import limiar as limiar_group
from limiar.edge_app.inference.open_classifier import open_classifier
from limiar.edge_app.inference.verify import verify
from limiar.train.record.run_folder import MODEL, RECORD, Run, SplitRow, record_json

SIDE_PX = 24  # of the images in conftest.py
SPEC = InputSpec(height=SIDE_PX, width=SIDE_PX, channels=3)
TILES = TileSpec(size=SIDE_PX, stride=8, sought="pos")
LITERT = [Environment("litert", sys.executable)]

Images = tuple[Path, tuple[SplitRow, ...]]


@pytest.fixture(scope="module")
def windowed_run(run: Path, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN with a network that pads nothing."""
    folder, rows = images
    training = [row for row in rows if row.split == "train"]
    pixels = np.stack([np.asarray(Image.open(folder / row.file)) for row in training]).astype(np.float32)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [layers.Rescaling(1 / 255), *(layers.Conv2D(count, 3, 2, activation="relu") for count in (8, 16))]
    model = keras.Sequential([keras.Input((SIDE_PX, SIDE_PX, 3)), *stack, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels, np.array([row.label == "pos" for row in training], np.int64), batch_size=24, epochs=12, verbose=0)
    changed = Path(shutil.copytree(run, tmp_path_factory.mktemp("runs") / "windowed"))
    model.save(changed / MODEL)
    record = msgspec.json.decode((changed / RECORD).read_bytes(), type=Run)
    sha256 = hashlib.sha256((changed / MODEL).read_bytes()).hexdigest()
    (changed / RECORD).write_bytes(record_json(msgspec.structs.replace(record, model_sha256=sha256)))
    return changed


@pytest.fixture(scope="module")
def windowed(windowed_run: Path, make_few: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """What convert makes of it, for tiles."""
    with pytest.MonkeyPatch.context() as patch:
        make_few(patch, "tflite_int8")
        patch.chdir(tmp_path_factory.mktemp("empty"))  # without tflite-runtime
        patch.delenv("LIMIAR_TFLITE_PYTHON", raising=False)
        request = ConvertRequest(
            origin=RunFolder(windowed_run),
            golden=None,
            gate=read_gate(),
            name="windowed",
            version="1.0.0",
            licence="not stated",
            intended_use="Research and education, not for diagnosis.",
            seed=0,
            tiles=(SIDE_PX, 8),
        )
        return convert_run(request, note=lambda text, *files: None)


def published(out: Path, converted: Converted) -> Path:
    publish_bundle(out, converted, release_counter=1, seed=0, card=CARD)
    return out


def other_weights(data: bytes) -> bytes:
    """The file with its last layer's bias moved by a step or more."""
    graph = Graph(data)
    last = next(op for op in reversed(graph.main.operators) if graph.operator(op) == "FULLY_CONNECTED")
    buffer = graph.model.buffers[graph.main.tensors[last.inputs[2]].buffer]
    kind = np.int32 if graph.type(int(last.inputs[2])) == "INT32" else np.float32
    buffer.data = np.frombuffer((np.frombuffer(bytes(buffer.data), kind) + kind(2000)).tobytes(), np.uint8)
    return graph.data()


def test_a_bundle_for_tiles_has_files_for_blocks_of_them_and_verify_compares_them(windowed: Converted, tmp_path: Path) -> None:
    bundle = published(tmp_path / "bundle", windowed)
    specs = {file.path: file.tiled for file in open_bundle(bundle).manifest.files if file.tiled}
    assert list(specs) == ["tiled/tflite_fp32.tflite", "tiled/tflite_int8.tflite"]
    spec = specs["tiled/tflite_int8.tflite"]
    assert spec
    assert (spec.of, spec.step, spec.tolerance) == ("tflite_int8", 8, 0.0)
    assert spec.height == spec.width == SIDE_PX + 19 * 8
    checks = {check.file: check for check in verify(bundle).checks if check.runtime == "litert"}
    assert checks["tiled/tflite_int8"].passed
    assert (checks["tiled/tflite_int8"].images, checks["tiled/tflite_int8"].largest_difference) == (400, 0.0)
    assert checks["tiled/tflite_fp32"].passed


def test_the_report_says_how_tiles_are_answered(windowed: Converted) -> None:
    assert (
        windowed.report.tiled_lines[1]
        == "tflite_int8 answers 20x20 tiles at once: their logits differ from those of single tiles by 0 at most"
    )


def test_files_with_the_same_reason_are_told_in_one_line() -> None:
    outcomes = [TiledOutcome(name, left_out="tiles do not overlap") for name in ("tflite_fp32", "tflite_int8")]
    assert list(lines(outcomes)) == ["tiles are answered one by one with tflite_fp32, tflite_int8: tiles do not overlap"]


def test_verify_finds_a_file_that_gives_other_answers_than_single_tiles(windowed: Converted, tmp_path: Path) -> None:
    good = windowed.blocks["tflite_int8"]
    blocks = {"tflite_int8": msgspec.structs.replace(good, data=other_weights(good.data))}
    bundle = published(tmp_path / "bundle", msgspec.structs.replace(windowed, blocks=blocks))
    done = CliRunner().invoke(limiar_group, ["verify", str(bundle)], standalone_mode=False)
    assert done.return_value == 3
    assert "from those of single tiles: tiles are answered one by one here" in done.output


def test_a_device_answers_blocks_and_single_tiles_alike_and_leaves_a_file_that_differs(
    windowed: Converted, tmp_path: Path
) -> None:
    good = windowed.blocks["tflite_int8"]
    bad = {"tflite_int8": msgspec.structs.replace(good, data=other_weights(good.data))}
    whole = published(tmp_path / "good", windowed)
    damaged = published(tmp_path / "bad", msgspec.structs.replace(windowed, blocks=bad))
    picture = np.random.default_rng(2).integers(0, 256, (210, 250, 3), np.uint8)
    maps = []
    for bundle in (whole, damaged):
        with open_classifier(bundle, file="tflite_int8", tiles="bundle") as classify:
            maps.append(classify(picture).tiles)
    assert maps[0]
    assert maps[1]
    assert (maps[0].path, maps[1].path) == ("convolution", "tiles")
    assert maps[0].scores == maps[1].scores


def test_the_workers_of_a_scan_answer_blocks(windowed: Converted, tmp_path: Path) -> None:
    bundle = published(tmp_path / "bundle", windowed)
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (100, 120, 3), np.uint8)).save(tmp_path / "picture.png")
    words = ["scan", bundle, tmp_path / "picture.png", "--jsonl", "-", "--db", tmp_path / "answers.db"]
    done = subprocess.run([sys.executable, "-P", "-m", "limiar", *map(str, words)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["tiles"]["path"] == "convolution"


def test_a_file_that_gives_other_answers_is_left_out_with_its_reason(
    windowed: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(data: bytes, stride: int, rows: int, columns: int) -> Tiled:
        made = tiled(data, stride, rows, columns)
        return msgspec.structs.replace(made, data=other_weights(made.data))

    monkeypatch.setattr(tiled_files, "tiled", wrong)
    outcome, models = made_of(windowed, TILES)
    assert not models
    assert outcome.left_out.startswith("its logits differ by")
    assert outcome.left_out.endswith("from those of single tiles, outside the tolerance of 0")


@pytest.mark.parametrize(
    ("tiles", "reason"),
    [
        (TileSpec(size=32, stride=8, sought="pos"), "tiles of 32 px are resized to 24x24"),
        (TileSpec(size=24, stride=24, sought="pos"), "tiles do not overlap"),
        (
            TileSpec(size=24, stride=6, sought="pos"),
            "the network looks at every 4x4 pixels, which does not divide",
        ),
    ],
)
def test_tiles_that_share_nothing_are_answered_one_by_one(windowed: Converted, tiles: TileSpec, reason: str) -> None:
    outcome, models = made_of(windowed, tiles)
    assert not models
    assert outcome.left_out.startswith(reason)


def made_of(windowed: Converted, tiles: TileSpec) -> tuple[TiledOutcome, dict[str, "tiled_files.TiledModel"]]:
    """What comes of its integer file."""
    val = np.random.default_rng(0).integers(0, 256, (30, SIDE_PX, SIDE_PX, 3), np.uint8)
    released = [Released("tflite_int8", windowed.models["tflite_int8"], 0.0)]
    (outcome,), models = tiled_files.tiled_files(released, tiles, SPEC, val, LITERT, lambda text, *files: None)
    return outcome, models
