"""A model file in the wasm of a browser gives what it gives in native LiteRT."""

import csv
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from limiar.edge_app.bundle.manifest import Decision, InputSpec, ModelFile, Tolerance
from limiar.edge_app.errors import BundleError, RuntimeUnavailable
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.phone.model import page_model
from limiar.edge_app.runtimes import litert
from phone_modules import JsError, Kept, Modules, Parts

LITERT = "/runtime/litert.js"
TOLERANCES = {  # of a logit and of a cell of the map, absolute
    "tflite_int8": (0.0, 0.0),  # integers alone
    "tflite_int16x8": (0.0, 0.0),
    "tflite_fp32": (1e-5, 2e-5),  # seen 2.4e-6 and 1.2e-5: the order of sums
    "tflite_fp16": (1e-5, 2e-5),  # its weights are stored as float16 and used as float32
    "tflite_dynamic": (5e-3, 0.1),  # seen 0.003 and 0.054: a float's last bit moves an activation by a step
}
SPEC = InputSpec(height=40, width=40, channels=3)
GREY = InputSpec(height=40, width=40, channels=1)


@pytest.fixture(scope="module")
def bundle(project: Path) -> Path:
    return project / "models/lung-nodule"


@pytest.fixture(scope="module")
def golden_inputs(bundle: Path) -> np.ndarray:
    """uint8 [N, 40, 40, 3]: the golden images as model inputs."""
    images = [path for path in sorted((bundle / "golden").iterdir()) if path.suffix != ".json"]
    return inputs_of(images)


@pytest.fixture(scope="module")
def patch_inputs(lung: Path) -> np.ndarray:
    """uint8 [N, 40, 40, 3]: the CT patches of the test split."""
    with (lung / "manifest.csv").open() as table:
        names = [row["file"] for row in csv.DictReader(table) if row["split"] == "test"]
    return inputs_of([lung / name for name in names])


def inputs_of(paths: list[Path]) -> np.ndarray:
    return np.concatenate([model_input(decode(path.read_bytes(), path.name, SPEC), SPEC) for path in paths])


def model_file(name: str, format: Literal["tflite", "onnx"] = "tflite") -> ModelFile:
    return ModelFile(name, format, "any", Decision(), "litert", Tolerance(0, 0), {}, ())


def opened(modules: Modules, data: bytes, spec: InputSpec = SPEC, labels: int = 2) -> Kept:
    """The model in the browser, told of it as a built page tells it."""
    model = page_model(model_file("a file"), data, spec, labels)
    return modules.keep(LITERT, "openRuntime", Parts(), msgspec.to_builtins(model), data)


def in_the_browser(modules: Modules, runtime: Kept, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K], and the maps, [N, h*w*K]; without a map [N, 0]."""
    found = modules.ask_each(runtime, "run", [(image.tobytes(),) for image in inputs])
    for answer in found:
        if isinstance(answer, JsError):
            raise answer
    rows = [[np.frombuffer(answer[key] or b"", np.float32) for answer in found] for key in ("logits", "map")]
    return np.array(rows[0]), np.array(rows[1])


def native(data: bytes, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    runtime = litert.load(data, threads=1, optimised=True)
    pairs = [runtime.logits_and_map(image[None]) for image in inputs]
    maps = [np.zeros(0, np.float32) if grid is None else grid.ravel() for _, grid in pairs]
    return np.array([logits for logits, _ in pairs]), np.array(maps)


def farthest(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("images", ["golden_inputs", "patch_inputs"])
@pytest.mark.parametrize("name", TOLERANCES)
def test_every_kind_of_tflite_file_answers_as_in_native_litert(
    modules: Modules, bundle: Path, request: pytest.FixtureRequest, name: str, images: str
) -> None:
    inputs = request.getfixturevalue(images)
    data = (bundle / f"{name}.tflite").read_bytes()
    logits, maps = in_the_browser(modules, opened(modules, data), inputs)
    wanted, wanted_maps = native(data, inputs)
    assert np.ptp(wanted) > 1  # images that differ
    assert farthest(logits, wanted) <= TOLERANCES[name][0]
    assert farthest(maps, wanted_maps) <= TOLERANCES[name][1]


def test_the_kinds_are_all_that_convert_makes(bundle: Path) -> None:
    assert {path.stem for path in bundle.glob("*.tflite")} == set(TOLERANCES)


@pytest.mark.parametrize(
    ("path", "spec", "labels"),
    [
        ("tests/edge_app/data/mapped/tflite_int8.tflite", SPEC, 2),  # takes uint8, has a map
        ("tests/edge_app/data/mapped/tflite_fp32.tflite", SPEC, 2),
        ("tests/edge_app/data/tiny/tflite_int8.tflite", SPEC, 2),  # has none
        ("tests/writers/spheres/tflite_int8.tflite", GREY, 2),
        ("tests/edge_app/data/blocks/tflite_int8.tflite", InputSpec(height=20, width=20, channels=3), 3),
    ],
)
def test_other_inputs_and_outputs_are_read_right(
    modules: Modules, project: Path, path: str, spec: InputSpec, labels: int
) -> None:
    data = (project / path).read_bytes()
    rng = np.random.default_rng(0)
    # Squares of a colour: the mean of pure noise is the same grey everywhere.
    inputs = rng.integers(0, 256, (50, spec.height // 4, spec.width // 4, spec.channels), np.uint8)
    inputs = inputs.repeat(4, axis=1).repeat(4, axis=2)
    logits, maps = in_the_browser(modules, opened(modules, data, spec, labels), inputs)
    wanted, wanted_maps = native(data, inputs)
    assert np.ptp(wanted) > 0.5
    kind = Path(path).stem
    assert farthest(logits, wanted) <= TOLERANCES[kind][0]
    assert maps.shape == wanted_maps.shape
    assert not maps.size or farthest(maps, wanted_maps) <= TOLERANCES[kind][1]


def test_a_file_cut_short_is_refused_wherever_it_is_cut(modules: Modules, bundle: Path) -> None:
    data = (bundle / "tflite_int8.tflite").read_bytes()
    model = msgspec.to_builtins(page_model(model_file("a file"), data, SPEC, 2))
    cuts = [0, 1, 7, *range(8, len(data) - 64, len(data) // 24)]
    found = modules.each(LITERT, "openRuntime", [(Parts(), model, data[:cut]) for cut in cuts])
    assert [(cut, answer) for cut, answer in zip(cuts, found, strict=True) if not isinstance(answer, JsError)] == []
    assert {(answer.kind, answer.code) for answer in found} == {("RuntimeUnavailable", "E-RUNTIME-LOAD")}
    assert "LiteRT's wasm refuses the model" in found[0].message


def test_whatever_a_damaged_file_does_is_an_error_of_ours_or_an_answer(modules: Modules, bundle: Path) -> None:
    data = (bundle / "tflite_int8.tflite").read_bytes()
    model = msgspec.to_builtins(page_model(model_file("a file"), data, SPEC, 2))
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 40):
            broken[at] ^= 1 << int(rng.integers(8))
        try:
            runtime = modules.keep(LITERT, "openRuntime", Parts(), model, bytes(broken))
            in_the_browser(modules, runtime, np.zeros((1, 40, 40, 3), np.uint8))
        except JsError as error:
            refused.append(error)
    assert {error.kind for error in refused} == {"RuntimeUnavailable"}


def test_a_model_that_is_not_what_the_page_says_is_refused(modules: Modules, bundle: Path) -> None:
    data = (bundle / "tflite_int8.tflite").read_bytes()
    model = msgspec.to_builtins(page_model(model_file("a file"), data, SPEC, 2))
    other_input = {**model, "input": {"type": "float32"}}
    other_output = {**model, "outputs": [{**output, "type": "float32"} for output in model["outputs"]]}
    for said, met in [(other_input, "does not take float32"), (other_output, "has 0 outputs of float32")]:
        with pytest.raises(JsError, match=met) as refused:
            modules.call(LITERT, "openRuntime", Parts(), said, data)
        assert refused.value.code == "E-RUNTIME-MODEL"


def test_an_image_of_another_size_is_refused(modules: Modules, bundle: Path) -> None:
    runtime = opened(modules, (bundle / "tflite_int8.tflite").read_bytes())
    (refused,) = modules.ask_each(runtime, "run", [(bytes(40 * 40),)])
    assert (refused.code, refused.kind) == ("E-RUNTIME-MODEL", "RuntimeUnavailable")


def test_a_wasm_that_is_cut_short_is_refused(modules: Modules, bundle: Path) -> None:
    data = (bundle / "tflite_int8.tflite").read_bytes()
    model = msgspec.to_builtins(page_model(model_file("a file"), data, SPEC, 2))
    with pytest.raises(JsError) as refused:
        modules.call(LITERT, "openRuntime", Parts("/vendor/LICENSES/litert.txt?"), model, data)
    assert refused.value.code == "E-RUNTIME-LOAD"


def test_what_page_json_says_of_a_file(bundle: Path) -> None:
    model = page_model(model_file("tflite_int8"), (bundle / "tflite_int8.tflite").read_bytes(), SPEC, 2)
    assert msgspec.to_builtins(model) == {
        "input": {"type": "int8"},
        "outputs": (
            {"shape": (1, 2), "type": "int8", "scale": 0.031030472368001938, "zero_point": 20},
            {"shape": (1, 5, 5, 2), "type": "int8", "scale": 0.1371919810771942, "zero_point": 16},
        ),
    }


def test_a_file_that_no_phone_runs_is_refused_when_the_page_is_built(project: Path) -> None:
    with pytest.raises(BundleError, match="onnx_int8 is an onnx file, and phones run TFLite") as refused:
        page_model(model_file("onnx_int8", "onnx"), b"", SPEC, 2)
    assert refused.value.code == "E-PHONE-FILE"
    for wrong in sorted((project / "tests/edge_app/data/wrong").glob("*.tflite")):
        with pytest.raises(RuntimeUnavailable, match=r"convert it"):
            page_model(model_file(wrong.stem), wrong.read_bytes(), SPEC, 2)
