"""What `limiar bench --profile` finds in a model file, and what it takes for the peak."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.bench.bare import open_bare
from limiar.edge_app.bench.operators import estimated, measured
from limiar.edge_app.bench.result import BenchResult
from limiar.edge_app.bench.roofline import measure_peak
from limiar.edge_app.bench.work import Step, Work, _covered, steps, work_of
from limiar.edge_app.runtimes import adapter, installed_runtimes

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
REFERENCE = Path(__file__).parents[2] / "models" / "lung-nodule"


def tflite_runtime() -> str:
    return installed_runtimes("tflite")[0].name


def looked_into(path: Path) -> tuple[list[Step], Work]:
    data, runtime = path.read_bytes(), tflite_runtime()
    plain = adapter(runtime).open_model(data, 1, False)
    return steps(open_bare("tflite", data, runtime).model, runtime), work_of(plain)


@pytest.mark.parametrize(
    ("file", "weights"),
    [("tflite_fp32", "float32"), ("tflite_fp16", "float16"), ("tflite_int8", "int8"), ("tflite_dynamic", "int8")],
)
def test_the_work_of_the_reference_model_is_counted_from_its_layers(file: str, weights: str) -> None:
    """Seven convolutions, as (output side, kernel side, channels in and out): its map of classes shares the last one."""
    layers = [(20, 3, 3, 16), (20, 3, 16, 16), (10, 3, 16, 32), (10, 3, 32, 32), (5, 3, 32, 48), (5, 3, 48, 48), (5, 1, 48, 2)]
    macs = sum(side**2 * kernel**2 * given * gives for side, kernel, given, gives in layers) + 48 * 2
    found, work = looked_into(REFERENCE / f"{file}.tflite")
    assert work.macs == sum(one.macs for one in found) == macs
    assert [one.macs for one in found if one.name == "CONV_2D"] == [s**2 * k**2 * i * o for s, k, i, o in layers]
    assert work.weights == weights
    shared = sum(kernel**2 * given * gives + gives for _, kernel, given, gives in layers)
    assert shared <= (work.parameters or 0) <= shared + 48 * 2 + 4  # the dense layer's may be the last convolution's


def test_the_operators_that_a_delegate_took_are_told_from_the_others() -> None:
    if tflite_runtime() != "litert":
        pytest.skip("only LiteRT's XNNPACK takes the whole model: litert is not installed in this environment")
    whole, _ = looked_into(REFERENCE / "tflite_int8.tflite")
    assert {one.runs_in for one in whole} == {"XNNPACK"}
    none, _ = looked_into(REFERENCE / "tflite_int16x8.tflite")
    assert {one.runs_in for one in none} == {"litert"}


def test_the_arena_counts_memory_that_tensors_share_once() -> None:
    assert _covered([(0, 100), (50, 80), (200, 300), (90, 210)]) == 300
    assert _covered([]) == 0
    _, work = looked_into(REFERENCE / "tflite_int8.tflite")
    largest = 40 * 40 * 3 + 20 * 20 * 16  # bytes: input and first output are there at the same time
    assert largest <= (work.arena_bytes or 0) < 3 * largest


def test_an_estimate_shares_the_median_out_and_says_so() -> None:
    found = estimated(
        [Step("CONV_2D", (1, 2), 300, "XNNPACK"), Step("MEAN", (1,), 0, "litert"), Step("C", (), 100, "litert")], 40.0
    )
    assert [one.us for one in found] == [30.0, None, 10.0]
    assert all(one.estimated for one in found)


def test_what_onnxruntime_measured_is_the_median_of_each_operator(tmp_path: Path) -> None:
    def event(node: int, us: int) -> dict[str, object]:
        args = {"node_index": str(node), "op_name": "Conv", "provider": "CPU", "output_type_shape": [{"float": [1, 8]}]}
        return {"cat": "Node", "name": f"{node}_kernel_time", "dur": us, "args": args}

    (tmp_path / "profile").write_text(
        json.dumps([{"cat": "Session"}, *(event(node, us) for us in (5, 7, 90) for node in (1, 2))])
    )
    found = measured(tmp_path / "profile", 3)
    assert [(one.name, one.shape, one.us, one.estimated) for one in found] == [("Conv", (1, 8), 7, False)] * 2


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_peak_is_measured_with_the_networks_that_are_installed(precision: str) -> None:
    found = measure_peak(precision, tflite_runtime(), 1)  # type: ignore[arg-type]
    assert found.gmacs_per_s > 0.1
    (two,) = {one.name for one in looked_into_peak(precision)}
    assert two == "CONV_2D"


def looked_into_peak(precision: str) -> list[Step]:
    import gzip

    from limiar.edge_app.bench import roofline

    data = gzip.decompress((roofline._PLACE / f"{precision}.tflite.gz").read_bytes())
    found = steps(open_bare("tflite", data, tflite_runtime()).model, tflite_runtime())
    assert sum(one.macs for one in found) == roofline._MACS
    return found


def test_profile_adds_work_operators_and_peak_to_the_result(quick_bench: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    done = quick_bench(tiny_path, "--count", "40", "--profile", "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode((tmp_path / "bench.json").read_bytes(), type=BenchResult)
    for one in found.measurements:
        assert one.work
        assert one.operators
        assert one.operators[0].estimated == (one.runtime != "onnxruntime")
        if one.runtime != "onnxruntime":
            assert one.work.macs
            assert one.work.peak_share
            assert one.work.peak_share > 0
    assert {(peak.precision, peak.threads) for peak in found.peaks} == {("int8", 1), ("fp32", 1)}
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("Peak of int8 on ") for line in lines)


def test_a_model_file_without_a_bundle_can_be_profiled_too(quick_bench: Limiar) -> None:
    done = quick_bench(REFERENCE / "tflite_int8.tflite", "--count", "40", "--profile", "--json", "-")
    (one,) = msgspec.json.decode(done.stdout, type=BenchResult).measurements[:1]
    assert one.work
    assert one.work.macs
