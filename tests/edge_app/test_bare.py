"""Any model file can be measured: its inputs are filled, and what cannot be filled or run is refused in words."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.bench.bare import model_format, open_bare, read_model
from limiar.edge_app.bench.plan import Plan
from limiar.edge_app.bench.processes import run_repeat
from limiar.edge_app.bench.result import BenchResult, Variant
from limiar.edge_app.bench.timing import silent
from limiar.edge_app.errors import LimiarError, ModelUnfit, RuntimeUnavailable
from limiar.edge_app.runtimes import installed_runtimes

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
DATA = Path(__file__).parent / "data"
TYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"]


def opened(file: str, threads: int = 1):
    model_format, data = read_model(DATA / file)
    if not installed_runtimes(model_format):
        pytest.skip(f"no runtime for {model_format} is installed in this environment")
    return open_bare(model_format, data, threads=threads)


@pytest.mark.parametrize("file", ["tiny/tflite_int8.tflite", "tiny/onnx_fp32.onnx"])
def test_a_bundles_model_file_runs_without_its_bundle_as_often_as_it_is_called(file: str) -> None:
    bare = opened(file, threads=2)
    assert [one.shape for one in bare.inputs] == [(1, 40, 40, 3)]
    for _ in range(3):
        bare.invoke()


@pytest.mark.parametrize("file", ["wrong/two_inputs.tflite", "wrong/two_inputs.onnx"])
def test_a_model_may_have_several_inputs(file: str) -> None:
    assert [one.shape for one in opened(file).inputs] == [(1, 40, 40, 3), (1, 1)]


@pytest.mark.parametrize("file", ["mapped/tflite_fp32.tflite", "mapped/onnx_fp32.onnx"])
def test_a_model_may_have_several_outputs(file: str) -> None:
    assert len(opened(file).outputs) == 2


def test_a_model_may_have_no_input() -> None:
    assert opened("wrong/no_input.onnx").inputs == ()


def test_inputs_may_be_of_every_type_that_an_array_has() -> None:
    assert [one.type for one in opened("bare/every_type.onnx").inputs] == TYPES


def test_numbers_of_words_are_small_enough_for_any_vocabulary() -> None:
    assert opened("bare/words.tflite").outputs[0].shape == (1, 24)


def test_an_output_may_be_a_list_of_arrays() -> None:
    assert opened("bare/sequence.onnx").outputs[0].type == "seq(tensor(float))"


@pytest.mark.parametrize(
    ("file", "shape", "open_dimensions"),
    [("bare/open.tflite", (1, 8, 8, 4), "0"), ("bare/open.onnx", (1, 4, 1), "0, 2")],
)
def test_dimensions_that_the_file_leaves_open_are_1_and_it_says_so(file: str, shape: tuple, open_dimensions: str) -> None:
    bare = opened(file)
    assert bare.inputs[0].shape == shape
    assert f"the file leaves dimension {open_dimensions} of input" in bare.notes[0]


def test_an_input_of_text_is_refused() -> None:
    with pytest.raises(ModelUnfit, match="E-RUNTIME-INPUT: input image takes text"):
        opened("wrong/text_input.onnx")


@pytest.mark.parametrize("model_format", ["tflite", "onnx"])
def test_a_file_that_is_not_a_model_is_refused_by_its_runtime(model_format: str) -> None:
    if not installed_runtimes(model_format):
        pytest.skip(f"no runtime for {model_format} is installed in this environment")
    with pytest.raises(ModelUnfit, match="E-RUNTIME-LOAD"):
        open_bare(model_format, b"not a model")


@pytest.mark.parametrize("name", ["picture.png", "gone.onnx", "folder.tflite"])
def test_a_path_that_is_not_a_model_file_is_refused_before_anything_is_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(RuntimeUnavailable, match="E-BENCH-MODEL"):
        read_model(tmp_path / name)


MODELS = ["tiny/tflite_int8.tflite", "tiny/onnx_fp32.onnx", "bare/open.tflite", "wrong/two_inputs.onnx"]


@pytest.mark.parametrize("file", MODELS)
def test_bench_measures_any_model_file_on_every_runtime_that_reads_it(quick_bench: Limiar, tmp_path: Path, file: str) -> None:
    to = tmp_path / "bench.json"
    done = quick_bench(DATA / file, "--count", "80", "--threads", "1,2", "--json", to)
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(to.read_bytes(), type=BenchResult)
    name = Path(file).name
    runtimes = [one.name for one in installed_runtimes(model_format(file))]
    assert (found.kind, found.name, found.version) == ("model", name, "")
    assert found.bundle == hashlib.sha256((DATA / file).read_bytes()).hexdigest()
    assert [(one.file, one.runtime, one.threads) for one in found.measurements] == [
        (name, runtime, threads) for runtime in runtimes for threads in (1, 2)
    ]
    for one in found.measurements:
        assert (one.invoke.count, one.whole, one.total, one.stages) == (80, None, None, {})
        assert 0 < one.start.load_ms < one.start.ready_ms < one.start.answered_ms
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["file", "runtime", "thr", "p50", "p90", "p99", "p99.9", "rounds"]


def test_a_baseline_of_a_model_file_is_compared_with_it(quick_bench: Limiar, tmp_path: Path) -> None:
    how = (DATA / "tiny/tflite_int8.tflite", "--count", "80", "--runtime", "litert", "--json")
    quick_bench(*how, tmp_path / "old.json")
    done = quick_bench(*how, tmp_path / "new.json", "--baseline", tmp_path / "old.json", "--fail-on", "slower=900%")
    assert done.returncode == 0
    assert b"tflite_int8.tflite on litert, 1 thread, invoke:" in done.stderr


def test_what_is_assumed_of_a_model_file_is_a_warning(quick_bench: Limiar) -> None:
    done = quick_bench(DATA / "bare/open.onnx", "--count", "40")
    assert b"Warning: the file leaves dimension 0, 2 of input" in done.stdout


@pytest.mark.parametrize(
    ("option", "value"), [("--file", "a"), ("--image", "a.png"), ("--rate", "30"), ("--key", "k.pub"), ("--save-best", None)]
)
def test_what_needs_a_bundle_is_refused_of_a_model_file(
    quick_bench: Limiar, tmp_path: Path, option: str, value: str | None
) -> None:
    (tmp_path / "k.pub").write_text("")
    done = quick_bench(DATA / "tiny/tflite_int8.tflite", option, *([value] if value else []), cwd=tmp_path)
    assert done.returncode == 2
    assert option.encode() + b" needs a bundle" in done.stderr


def test_a_model_file_that_no_runtime_takes_is_named_with_the_reason(quick_bench: Limiar, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model")
    done = quick_bench(tmp_path / "broken.tflite")
    assert done.returncode == 1
    assert b"E-BENCH-NOTHING" in done.stderr
    assert b"broken.tflite: nothing runs (E-RUNTIME-LOAD: litert" in done.stderr


def plan_of(file: str, sha256: str = "") -> Plan:
    path = DATA / file
    return Plan(
        bare=True,
        bundle=str(path),
        sha256=sha256 or hashlib.sha256(path.read_bytes()).hexdigest(),
        variants=(Variant(path.name, "litert", 1),),
        images=(),
        store=None,
        count=10**9,
        seconds=60,
        rate_hz=None,
        arrivals=0,
        seed=0,
    )


def test_a_file_that_changed_since_it_was_started_is_not_measured() -> None:
    with pytest.raises(LimiarError) as met:
        run_repeat(plan_of("tiny/tflite_int8.tflite", sha256="0" * 64), poll=lambda: None, progress=silent)
    assert met.value.code == "E-BENCH-MODEL"
    assert "was changed meanwhile" in met.value.message


def test_a_measuring_process_that_dies_is_reported_and_not_waited_for() -> None:
    def children() -> set[int]:
        return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))

    others = children()  # of fixtures, such as PostgreSQL

    def kill_it() -> None:
        for pid in children() - others:
            os.kill(pid, signal.SIGSEGV)

    with pytest.raises(RuntimeUnavailable) as met:
        run_repeat(plan_of("tiny/tflite_int8.tflite"), poll=kill_it, progress=silent)
    assert met.value.code == "E-BENCH-LOST"
    assert met.value.message == "the process that measures ended with -11: try another --runtime"
