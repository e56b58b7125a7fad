"""`limiar inspect`: a table for people, JSON for programs, and no TensorFlow."""

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from limiar.convert.anatomy.details import Details
from limiar.convert.anatomy.layers import LayerNoise
from limiar.convert.commands.inspect import inspect
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import BundleError


def inspected(*arguments: str | Path) -> str:
    result = CliRunner().invoke(inspect, list(map(str, arguments)), standalone_mode=False)
    assert result.return_value == 0, result.exception
    return result.output


def one_line(text: str) -> str:
    """Without the columns' spaces."""
    return " ".join(text.split())


@pytest.fixture
def reference(project: Path) -> Path:
    return project / "models" / "lung-nodule"


def test_a_file_is_shown_with_its_operators_layers_and_scales(reference: Path) -> None:
    lines = inspected(reference, "--file", "tflite_int8").splitlines()
    bytes_ = (reference / "tflite_int8.tflite").stat().st_size
    assert lines[0] == f"tflite_int8: tflite, int8, {bytes_} bytes, 0 float tensors"
    assert one_line(lines[1]) == "operators 7 CONV_2D v3, 1 FULLY_CONNECTED v4, 1 MEAN v2"
    assert one_line(lines[2]) == "input INT8 1x40x40x3, scale 1, zero point -128"
    layers = [line.split() for line in lines[6:]]
    assert ["MEAN", "INT8", "1x48"] in [words[:3] for words in layers]
    assert ["weights", "INT8", "16x3x3x3", "16", "scales", "0"] in [words[:6] for words in layers]


def test_what_is_shown_fits_80_columns(reference: Path) -> None:
    assert max(map(len, inspected(reference).splitlines())) <= 80


def test_all_files_are_shown_where_none_is_named(reference: Path) -> None:
    heads = [line.partition(":")[0] for line in inspected(reference).splitlines() if line and not line.startswith(" ")]
    assert heads == sorted(open_bundle(reference).manifest.models)


def test_json_has_what_the_types_say(reference: Path) -> None:
    found = {file.name: file for file in msgspec.json.decode(inspected(reference, "--json"), type=list[Details])}
    assert set(found) == set(open_bundle(reference).manifest.models)
    first = found["tflite_int8"].layers[0]
    assert (first.operator, first.value.shape, first.value.channels, first.value.zero_point) == (
        "CONV_2D",
        (1, 20, 20, 16),
        1,
        -128,
    )
    kernel, bias = first.weights
    assert (kernel.type, kernel.channels, bias.type, bias.channels) == ("INT8", 16, "INT32", 16)
    assert kernel.scale is not None
    assert kernel.largest_scale is not None
    assert 0 < kernel.scale < kernel.largest_scale
    quantized = [layer.value for layer in found["onnx_int8"].layers if layer.operator == "QuantizeLinear"]
    assert all(value.type == "UINT8" and value.scale for value in quantized)
    assert all(layer.value.channels == 0 for layer in found["onnx_fp32"].layers)


def test_the_noise_of_the_report_stands_with_the_layers(reference: Path, tmp_path: Path) -> None:
    bundle = open_bundle(reference)
    contents = {file.path: bundle.read(file.path) for file in bundle.manifest.files}
    noise = (
        LayerNoise("layer_1 + layer_2", "CONV_2D", 37.7, 37.5, "some/value"),
        LayerNoise("layer_3", "MEAN", None, None, "other/value"),
    )
    report = msgspec.json.decode(contents["report.json"])
    for file in report["files"]:
        file["layers"] = msgspec.to_builtins(noise) if file["name"] == "tflite_int8" else []
    contents["report.json"] = data = msgspec.json.encode(report)
    files = tuple(
        msgspec.structs.replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        if file.path == "report.json"
        else file
        for file in bundle.manifest.files
    )
    write_bundle(tmp_path / "bundle", msgspec.structs.replace(bundle.manifest, files=files), contents)
    rows = [line.split() for line in inspected(tmp_path / "bundle", "--file", "tflite_int8").splitlines()[-3:]]
    assert rows == [
        ["noise,", "dB", "(more", "is", "better)", "own", "so", "far"],
        ["layer_1", "+", "layer_2", "(CONV_2D)", "37.7", "37.5"],
        ["layer_3", "(MEAN)", "-", "-"],
    ]


def test_an_unknown_file_is_refused(reference: Path) -> None:
    result = CliRunner().invoke(inspect, [str(reference), "--file", "other"], standalone_mode=False)
    assert isinstance(result.exception, BundleError)
    assert result.exception.code == "E-BUNDLE-FILE"


def test_it_imports_no_tensorflow(reference: Path) -> None:
    code = "import sys; from limiar.convert.commands.inspect import inspect; inspect(sys.argv[1:], standalone_mode=False); "
    code += "assert not {'tensorflow', 'keras', 'scipy', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(reference)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_command_is_installed() -> None:
    done = subprocess.run([sys.executable, "-m", "limiar", "inspect", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "limiar inspect models/lung-nodule --file tflite_int8" in done.stdout
