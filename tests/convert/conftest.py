"""What the tests of convert share: images, a RUN trained on them in seconds, and the bundle that convert makes of it."""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from limiar.convert.defaults import CARD
from limiar.convert.export import make
from limiar.convert.export.recipes import RECIPES
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.pipeline import Converted, ConvertRequest, convert_run
from limiar.convert.publish import repeatable
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.run.evaluate import TFLITE_PYTHON
from limiar.convert.source.frameworks import keras
from limiar.convert.source.origin import RunFolder
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.cli import limiar as limiar_group
from limiar.train.record.run_folder import MODEL, RECORD, SPLITS, Run, SplitRow, TrainingData, record_json, splits_csv

SIDE_PX = 24
SPEC = InputSpec(height=SIDE_PX, width=SIDE_PX, channels=3)
COUNTS = {"train": 240, "val": 60, "test": 240}  # a gate with a margin of 5 points needs about 100 of each label

Convert = Callable[..., Result]
Edit = Callable[..., Path]
Few = Callable[..., None]


def example(rng: np.random.Generator) -> tuple[Pixels, str]:
    """uint8 [SIDE_PX, SIDE_PX, 3] and its label: pos is a reddish disc, neg bluish stripes; from clear to hardly visible."""
    label = ("neg", "pos")[rng.integers(2)]
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    disc = (y - rng.uniform(0.3, 0.7)) ** 2 + (x - rng.uniform(0.3, 0.7)) ** 2 < rng.uniform(0.15, 0.3) ** 2
    stripes = np.sin((x * rng.uniform(-1, 1) + y) * rng.uniform(15, 40)) > 0.3
    colour = np.array([120, 60, 20]) if label == "pos" else np.array([20, 60, 120])
    noise = rng.normal(70, 18, (SIDE_PX, SIDE_PX, 3))
    pixels = noise + (disc if label == "pos" else stripes)[..., None] * colour * rng.uniform(0.1, 1.2)
    return np.clip(pixels, 0, 255).astype(np.uint8), label


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[SplitRow, ...]]:
    """A folder of generated images, and its splits."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(4)
    rows = []
    for split, count in COUNTS.items():
        for index in range(count):
            pixels, label = example(rng)
            name = f"{split}_{index:03}_{label}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append(SplitRow(name, hashlib.sha256((folder / name).read_bytes()).hexdigest(), label, split, ""))
    return folder, tuple(rows)


def small_model() -> "keras.Model":
    """Scaling inside, separable convolutions with batch norm and ReLU6, global pooling, logits."""
    layers = keras.layers

    def block(x, filters: int, strides: int):  # type: ignore[no-untyped-def]
        x = layers.SeparableConv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))

    image = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = block(layers.Rescaling(1 / 255)(image), 12, 2)
    x = block(block(x, 16, 2), 16, 1)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def write_run(folder: Path, model: "keras.Model", images: tuple[Path, tuple[SplitRow, ...]]) -> Path:
    """The RUN folder of a model, as far as convert reads it."""
    data, rows = images
    folder.mkdir()
    model.save(folder / MODEL)
    (folder / SPLITS).write_bytes(splits_csv(rows))
    record = Run(
        model="small",
        recipe="test",
        labels=("neg", "pos"),
        positive="pos",
        input=SPEC,
        data=TrainingData(str(data), len(rows), hashlib.sha256((folder / SPLITS).read_bytes()).hexdigest()),
        seed=0,
        config={},
        temperature=1.0,
        epochs=12,
        best_epoch=12,
        versions={"keras": keras.__version__},
        commit="unknown",
        model_sha256=hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(),
    )
    (folder / RECORD).write_bytes(record_json(record))
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, images: tuple[Path, tuple[SplitRow, ...]]) -> Path:
    """A RUN. Read only: to change it, use `edited_run`."""
    folder, rows = images
    training = [row for row in rows if row.split == "train"]
    pixels = np.stack([np.asarray(Image.open(folder / row.file)) for row in training]).astype(np.float32)
    labels = np.array([row.label == "pos" for row in training], np.int64)
    keras.utils.set_random_seed(3)
    model = small_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss)
    model.fit(pixels, labels, batch_size=24, epochs=12, verbose=0)
    return write_run(tmp_path_factory.mktemp("runs") / "run", model, images)


@pytest.fixture
def edited_run(run: Path, tmp_path: Path) -> Edit:
    """A copy of the RUN with other fields in train.json, another model or other splits, and hashes that match."""

    def edit(model: "keras.Model | None" = None, rows: tuple[SplitRow, ...] | None = None, **fields: object) -> Path:
        folder = Path(shutil.copytree(run, tmp_path / "edited-run"))
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Run)
        if model is not None:
            model.save(folder / MODEL)
            fields["model_sha256"] = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
        if rows is not None:
            (folder / SPLITS).write_bytes(splits_csv(rows))
            sha256 = hashlib.sha256((folder / SPLITS).read_bytes()).hexdigest()
            fields["data"] = msgspec.structs.replace(record.data, sha256=sha256, images=len(rows))
        (folder / RECORD).write_bytes(record_json(msgspec.structs.replace(record, **fields)))
        return folder

    return edit


@pytest.fixture(scope="session")
def tflite_python(project: Path) -> str:
    """A Python that has tflite-runtime."""
    named = os.environ.get(TFLITE_PYTHON) or str(project / ".venv-tflite" / "bin" / "python")
    if not Path(named).exists():
        if os.environ.get("LIMIAR_REQUIRE_DATA") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_DATA=1, but there is no {named}: run scripts/runtimes")
        pytest.skip(f"needs tflite-runtime in an environment of its own: set {TFLITE_PYTHON}, or run scripts/runtimes")
    return named


@pytest.fixture
def limiar_convert(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Convert:
    """`limiar convert …` in this process (TensorFlow loads once), without tflite-runtime unless the test sets it."""
    monkeypatch.delenv(TFLITE_PYTHON, raising=False)
    monkeypatch.chdir(tmp_path)

    def convert(*arguments: str | Path) -> Result:
        return CliRunner().invoke(limiar_group, ["convert", *map(str, arguments)], standalone_mode=False)

    return convert


def _make_few(patch: pytest.MonkeyPatch, *names: str) -> None:
    few = ("tflite_fp32", *names)  # with which all others are compared
    chosen = tuple(one for one in RECIPES if one.name in few)
    patch.setattr(make, "RECIPES", chosen)
    there = f"from limiar.convert.export import make; make.RECIPES = tuple(one for one in make.RECIPES if one.name in {few}); "
    patch.setattr(repeatable, "_SECOND_PROCESS", there + repeatable._SECOND_PROCESS)


@pytest.fixture(scope="session")
def make_few() -> Few:
    """`make_few(patch, "tflite_int8", …)`: conversions make these files and tflite_fp32, here and in their second process.

    For what is the same for every file: others show that every file can be made, and each takes more than a second.
    """
    return _make_few


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> Few:
    """`few_files("tflite_int8", …)`: the same until the test ends."""
    return functools.partial(_make_few, monkeypatch)


@pytest.fixture(scope="session")
def converted(run: Path, project: Path) -> Converted:
    """What convert makes of the RUN with the default gate, on every runtime that is available here."""
    request = ConvertRequest(
        origin=RunFolder(run),
        golden=None,
        gate=read_gate(),
        name="small",
        version="1.0.0",
        licence="not stated",
        intended_use="Research and education, not for diagnosis.",
        seed=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)  # where .venv-tflite is
        return convert_run(request, note=lambda text, *files: None)


@pytest.fixture(scope="session")
def bundle(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN's bundle. Read only."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    assert converted.report.verdict == "PASS", converted.report.left_out
    publish_bundle(out, converted, release_counter=1, seed=0, card=CARD)
    return out
