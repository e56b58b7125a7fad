"""What Keras 2 saved gives what Keras 2 answered; so does Keras 3's .h5. Whatever would run code is refused there too."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from limiar.convert.source.frameworks import keras
from limiar.convert.source.keras2 import CONFIG_ATTRIBUTE
from limiar.convert.source.keras_file import CONFIG, load_model, read_model_file
from limiar.edge_app.errors import ConvertError

DATA = Path(__file__).parent / "data" / "keras2"
layers = keras.layers


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_of_keras_2_gives_the_answers_of_keras_2(name: str) -> None:
    known = np.load(DATA / "answers.npz")
    model = load_model(read_model_file(DATA / name), name)
    assert np.ptp(known["answers"], axis=0).max() > 0.01
    np.testing.assert_allclose(model.predict(known["images"].astype(np.float32), verbose=0), known["answers"], atol=1e-5)


def test_a_keras_file_of_keras_2_itself_names_its_modules_otherwise_and_loads(tmp_path: Path) -> None:
    known = np.load(DATA / "answers.npz")
    with zipfile.ZipFile(DATA / "model.keras") as old, zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"tf_keras.src", b"keras.src") if name == CONFIG else old.read(name))
    model = load_model((tmp_path / "m.keras").read_bytes(), "m.keras")
    np.testing.assert_allclose(model.predict(known["images"].astype(np.float32), verbose=0), known["answers"], atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving")
def test_an_h5_file_of_keras_3_is_loaded(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, groups=1), layers.Flatten(), layers.Dense(3)])
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    found = load_model(read_model_file(tmp_path / "m.h5"), "m.h5").predict(images, verbose=0)
    np.testing.assert_array_equal(found, model.predict(images, verbose=0))


def changed(change: Any) -> bytes:
    """model.h5 with its configuration changed."""
    buffer = io.BytesIO((DATA / "model.h5").read_bytes())
    with h5py.File(buffer, "r+") as file:
        config = json.loads(file.attrs[CONFIG_ATTRIBUTE])
        change(config)
        file.attrs[CONFIG_ATTRIBUTE] = json.dumps(config)
    return buffer.getvalue()


def refusal(data: bytes) -> ConvertError:
    with pytest.raises(ConvertError) as refused:
        load_model(data, "m.h5")
    assert "\n" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    "planted",
    [
        {"class_name": "Lambda", "config": {"name": "mine", "function": ["4wAA", None, None]}},
        {"class_name": "Mine", "config": {}},
    ],
)
def test_an_h5_file_that_runs_code_is_refused_by_name(planted: dict[str, Any]) -> None:
    refused = refusal(changed(lambda config: config["config"]["layers"].append(planted)))
    assert (refused.code, planted["class_name"] in refused.message) == ("E-CONVERT-MODEL", True)


def test_an_operation_of_keras_2_that_has_no_layer_in_keras_3_is_refused_by_name() -> None:
    def other(config: dict[str, Any]) -> None:
        operation = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "TFOpLambda")
        operation["config"]["function"] = "math.erfinv"

    refused = refusal(changed(other))
    assert refused.code == "E-CONVERT-MODEL"
    assert "TFOpLambda tf.math.truediv" in refused.message


def test_an_h5_file_of_weights_alone_says_so() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["kernel"] = np.zeros(3)
    assert "weights alone" in refusal(buffer.getvalue()).message


def test_an_h5_file_with_links_or_too_much_in_it_is_refused() -> None:
    for add, code in (
        (lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "E-CONVERT-LINK"),
        (lambda file: file.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip"), "E-CONVERT-SIZE"),
    ):
        buffer = io.BytesIO((DATA / "model.h5").read_bytes())
        with h5py.File(buffer, "r+") as file:
            add(file)
        assert refusal(buffer.getvalue()).code == code


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_cut_file_is_one_line(name: str) -> None:
    data = (DATA / name).read_bytes()
    for end in (100, len(data) // 2, len(data) - 30):
        assert refusal(data[:end]).code in ("E-CONVERT-MODEL", "E-CONVERT-FORMAT")
