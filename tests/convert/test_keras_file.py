"""A .keras file is checked before Keras sees it: one that runs code, reads other files or fills the memory is refused."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from limiar.convert.source import keras_file
from limiar.convert.source.frameworks import keras, tf
from limiar.convert.source.keras_file import CONFIG, METADATA, WEIGHTS, load_model, read_model_file, saved_with
from limiar.edge_app.errors import ConvertError
from limiar.train.record.network_size import bounded_memory

Members = list[tuple[str, bytes]]


def saved(model: "keras.Model", folder: Path) -> bytes:
    model.save(folder / "saved.keras")
    return (folder / "saved.keras").read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A .keras file as Keras writes it, of a model with a nested one."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="relu")])
    given = keras.Input((2,))
    model = keras.Model(given, keras.layers.Dense(3)(inner(given)))
    model.compile(loss=lambda true, found: 0.0)  # what it was trained with is not loaded, and may be anybody's
    return saved(model, tmp_path_factory.mktemp("good"))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in parts:
            archive.writestr(name, data)
    return buffer.getvalue()


def with_member(data: bytes, **changed: bytes) -> bytes:
    names = {"config": CONFIG, "metadata": METADATA, "weights": WEIGHTS}
    return zipped(list((members(data) | {names[name]: value for name, value in changed.items()}).items()))


def refusal(call: Callable[..., Any], *arguments: Any) -> ConvertError:
    with pytest.raises(ConvertError) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)
    assert "m.keras" in refused.value.message  # where
    assert ": " in refused.value.message  # what to do
    return refused.value


def code(data: bytes) -> str:
    return refusal(load_model, data, "m.keras").code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_model_is_loaded_packed_or_not_whatever_it_was_trained_with(good: bytes, method: int) -> None:
    model = load_model(zipped(list(members(good).items()), method), "m.keras")
    assert model.output_shape == (None, 3)
    assert len(model.get_weights()) == 4


def test_the_version_that_saved_it_is_known_or_else_left_out(good: bytes) -> None:
    assert saved_with(good) == keras.__version__
    for metadata in (b"", b"[]", b"{}", b'{"keras_version": 3}', b'{"keras_version": ""}'):
        assert saved_with(with_member(good, metadata=metadata)) is None


# What is no .keras file.


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (pickle.dumps({"weights": [1.0]}), "a pickle"),
        (b"#!/usr/bin/python3\n", "something else"),
    ],
)
def test_another_format_is_refused_by_its_name(data: bytes, kind: str) -> None:
    with pytest.raises(ConvertError, match=f"E-CONVERT-FORMAT: m.keras is {kind}, not a .keras file"):
        load_model(data, "m.keras")


def test_an_npz_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", kernel=np.zeros(3), bias=np.zeros(1))
    with pytest.raises(ConvertError, match=r"E-CONVERT-FORMAT: m\.keras is an \.npz file"):
        load_model((tmp_path / "weights.npz").read_bytes(), "m.keras")


def test_a_savedmodel_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m.keras"
    tf.saved_model.save(tf.Module(), str(folder))
    refused = refusal(read_model_file, folder)
    assert refused.code == "E-CONVERT-FORMAT"
    assert "a folder, a SavedModel" in refused.message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.keras")
    assert refusal(read_model_file, tmp_path / "m.keras").code == "E-CONVERT-FORMAT"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(read_model_file, tmp_path / "m.keras").code == "E-CONVERT-MODEL-FILE"


# The container.


@pytest.mark.parametrize("extra", ["evil.py", "assets/vocabulary.txt", "../outside", "/etc/passwd", "Config.json", "a\nb"])
def test_a_further_member_is_refused(good: bytes, extra: str) -> None:
    assert code(zipped([*members(good).items(), (extra, b"x")])) == "E-CONVERT-MEMBERS"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [CONFIG, METADATA, WEIGHTS])
def test_a_member_must_be_there_once(good: bytes, name: str) -> None:
    parts = members(good)
    twice = refusal(load_model, zipped([*parts.items(), (name, parts[name])]), "m.keras")
    assert (twice.code, "more than once" in twice.message) == ("E-CONVERT-MEMBERS", True)
    never = refusal(load_model, zipped([(other, data) for other, data in parts.items() if other != name]), "m.keras")
    assert (never.code, " lacks " in never.message) == ("E-CONVERT-MEMBERS", True)


def test_a_container_that_declares_too_much_is_not_unpacked(good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_member(good, metadata=bytes(1_000_000))  # a thousand bytes, packed
    monkeypatch.setattr(keras_file, "BYTES_LIMIT", 900_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    assert len(data) < 100_000
    assert code(data) == "E-CONVERT-SIZE"


def test_a_container_that_holds_more_than_it_declares_is_refused(good: bytes) -> None:
    data = with_member(good, metadata=bytes(1_000_000))
    assert data.count(struct.pack("<L", 1_000_000)) == 2  # in the member's header and in the directory
    assert code(data.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 100))) == "E-CONVERT-MODEL"


def test_a_file_over_the_limit_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.keras").write_bytes(bytes(5000))
    monkeypatch.setattr(keras_file, "BYTES_LIMIT", 4000)
    assert refusal(read_model_file, tmp_path / "m.keras").code == "E-CONVERT-SIZE"


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:200] + b"\xff" * 9 + data[209:]])
def test_a_damaged_container_is_refused(good: bytes, damage: Callable[[bytes], bytes]) -> None:
    assert code(damage(good)) == "E-CONVERT-MODEL"


def test_a_container_that_is_packed_otherwise_and_damaged_is_refused(good: bytes) -> None:
    data = bytearray(zipped(list(members(good).items()), zipfile.ZIP_LZMA))
    for at in range(60, 90):  # LZMA has an error of its own
        assert code(bytes(data[:at]) + bytes([data[at] ^ 0xFF]) + bytes(data[at + 1 :])) == "E-CONVERT-MODEL"


def test_an_encrypted_container_is_refused(good: bytes) -> None:
    data = bytearray(good)
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert code(bytes(data)) == "E-CONVERT-MODEL"


# The config: code.


@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """A custom layer that Keras would find, because its author has imported it."""

    def call(self, given: Any) -> Any:
        return 2 * given


def unregistered(given: Any) -> Any:
    return given


def model_of(layer: Any) -> "keras.Model":
    given = keras.Input((2,))
    return keras.Model(given, keras.layers.Dense(2)(layer(given)))


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda: keras.layers.Lambda(lambda x: x / 255, name="scale"), "Lambda scale"),
        (lambda: Doubled(name="twice"), "Doubled twice"),
        (lambda: keras.Sequential([Doubled(name="twice")]), "Doubled twice"),  # in a nested model
    ],
)
def test_a_layer_that_is_code_is_refused_by_name(tmp_path: Path, layer: Callable[[], Any], named: str) -> None:
    refused = refusal(load_model, saved(model_of(layer()), tmp_path), "m.keras")
    assert refused.code == "E-CONVERT-MODEL"
    assert f"m.keras has {named}, which is code of its own" in refused.message


def test_a_function_of_somebody_s_own_is_refused(tmp_path: Path) -> None:
    assert code(saved(model_of(keras.layers.Activation(unregistered)), tmp_path)) == "E-CONVERT-MODEL"


@pytest.mark.parametrize(
    "planted",
    [
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/srv/model"}, "registered_name": None},
        {"module": "os", "class_name": "system", "config": "id", "registered_name": None},
        {"module": None, "class_name": "Thing", "config": {}, "registered_name": "Thing"},
        {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "mine>Dense"},
        {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
        {"module": "kerasevil.layers", "class_name": "Dense", "config": {}, "registered_name": None},
    ],
)
def test_what_would_run_code_is_refused_wherever_it_stands(good: bytes, planted: dict[str, Any]) -> None:
    config = json.loads(members(good)[CONFIG])
    config["config"]["layers"][-1]["config"]["kernel_initializer"] = [{"deep": planted}]
    refused = refusal(load_model, with_member(good, config=json.dumps(config).encode()), "m.keras")
    assert refused.code == "E-CONVERT-MODEL"
    assert "which is code of its own" in refused.message


@pytest.mark.parametrize("config", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"class_name": 1}', b"{}"])
def test_a_config_that_is_none_is_refused(good: bytes, config: bytes) -> None:
    assert code(with_member(good, config=config)) == "E-CONVERT-MODEL"


# The weights: HDF5.


def weights_with(good: bytes, folder: Path, change: Callable[[h5py.File], None]) -> bytes:
    path = folder / "weights.h5"
    path.write_bytes(members(good)[WEIGHTS])
    with h5py.File(path, "r+") as file:
        change(file)
    return with_member(good, weights=path.read_bytes())


def external_link(file: h5py.File) -> None:
    file["layers/elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["layers/elsewhere"] = h5py.SoftLink("/layers")


def dangling_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.SoftLink("/nowhere")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("elsewhere", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "data", (4,))
    file.create_virtual_dataset("elsewhere", layout)


@pytest.mark.parametrize("change", [external_link, soft_link, dangling_link, external_storage, virtual])
def test_weights_that_lie_elsewhere_are_refused(good: bytes, tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    assert code(weights_with(good, tmp_path, change)) == "E-CONVERT-LINK"


def test_weights_that_unpack_to_too_much_are_refused(good: bytes, tmp_path: Path) -> None:
    def bomb(file: h5py.File) -> None:
        file.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")

    data = weights_with(good, tmp_path, bomb)
    assert len(data) < 100_000
    assert code(data) == "E-CONVERT-SIZE"


def test_groups_in_a_circle_end(good: bytes, tmp_path: Path) -> None:
    def circle(file: h5py.File) -> None:
        file["layers/again"] = file["layers"]

    data = weights_with(good, tmp_path, circle)
    assert load_model(data, "m.keras").output_shape == (None, 3)


@pytest.mark.parametrize("weights", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_weights_that_are_none_are_refused(good: bytes, weights: bytes) -> None:
    assert code(with_member(good, weights=weights)) == "E-CONVERT-MODEL"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_a_model_of_half_precision_computes_in_float32(tmp_path: Path, policy: str) -> None:
    """TFLite has no kernels for the float16 arithmetic that mixed precision leaves in the graph."""
    with_policy = {"dtype": policy}
    inner = keras.Sequential([keras.Input((8, 8, 3), dtype="float32"), keras.layers.Conv2D(4, 3, **with_policy)], name="inner")
    image = keras.Input((8, 8, 3))
    value = keras.layers.Rescaling(1 / 255, **with_policy)(image)
    value = keras.layers.BatchNormalization(**with_policy)(inner(value))
    value = keras.layers.Dense(3, **with_policy)(keras.layers.GlobalMaxPooling2D(**with_policy)(value))
    keras.Model(image, value).save(tmp_path / "half.keras")
    model = load_model((tmp_path / "half.keras").read_bytes(), "half.keras")
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    images = np.random.default_rng(1).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    saved = keras.saving.load_model(tmp_path / "half.keras").predict(images, verbose=0)
    np.testing.assert_allclose(model.predict(images, verbose=0), saved, atol=0.02)


# What is asked for beyond what is there: counted from the configuration, before anything is made.


def asks_for(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            part.pop("build_config", None)
            if isinstance(part.get("config"), dict):
                change(part)
        for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            walk(value)

    config = json.loads(members(data)[CONFIG])
    walk(config)
    return with_member(data, config=json.dumps(config).encode())


def asks_for_15_gb(tmp_path: Path) -> bytes:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.RandomFlip(), layers.Flatten(), layers.Dense(16), layers.Dense(3)])
    data = saved(model, tmp_path)
    assert load_model(asks_for(data, lambda part: None), "m.keras").output_shape == (None, 3)

    def huge(part: dict[str, Any]) -> None:
        if part["class_name"] == "Dense" and part["config"]["units"] == 16:
            part["config"]["units"] = 20_000_000

    return asks_for(data, huge)


def test_weights_that_only_the_configuration_asks_for_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = asks_for_15_gb(tmp_path)
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("loaded"))
    assert code(data) == "E-CONVERT-SIZE"


def test_nor_are_they_made_later(tmp_path: Path) -> None:
    assert code(asks_for_15_gb(tmp_path)) == "E-CONVERT-SIZE"
    with bounded_memory(1 << 30), keras.StatelessScope():  # Keras makes what waits for it when such a scope ends
        pass


def test_a_layer_that_gives_too_much_for_one_image_is_refused(tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.UpSampling2D(2)(image))))

    def huge(part: dict[str, Any]) -> None:
        if part["class_name"] == "UpSampling2D":
            part["config"]["size"] = [2000, 2000]

    assert code(asks_for(saved(model, tmp_path), huge)) == "E-CONVERT-SIZE"


def test_a_model_that_was_quantized_names_the_layer_and_the_way_out(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, name="last")])
    model.quantize("int8")
    refused = refusal(load_model, saved(model, tmp_path), "m.keras")
    assert refused.code == "E-CONVERT-QUANTIZED"
    assert "layer last (Dense)" in refused.message
    assert "as it was before model.quantize()" in refused.message


@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_a_model_that_was_quantized_in_another_way_names_the_layer_too(tmp_path: Path, mode: str) -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(16, name="wide")])
    model.quantize(mode)
    refused = refusal(load_model, saved(model, tmp_path), "m.keras")
    assert refused.code == "E-CONVERT-QUANTIZED"
    assert "wide (Dense)" in refused.message
