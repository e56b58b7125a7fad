"""`limiar bench`: what its figures mean. No test here checks how fast anything is."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import limiar as api
from limiar.edge_app.bench.latency import BenchResult, Skipped, measure_invoke, sample_png
from limiar.edge_app.bench.table import table
from limiar.edge_app.bench.timing import interleaved, latency, percentile
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import RuntimeUnavailable
from limiar.edge_app.image.read import decode
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.system.python import python_m

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


# Percentiles


@pytest.mark.parametrize(("percent", "least"), [(50, 20), (90, 100), (99, 1000)])
def test_a_percentile_needs_ten_observations_beyond_it(percent: int, least: int) -> None:
    assert percentile(range(least - 1), percent) is None
    found = percentile(range(1000, 1000 * (least + 1), 1000), percent)  # 1, 2, … microseconds
    assert found == least * percent / 100
    assert least - found >= 10


def test_a_percentile_is_an_observation() -> None:
    rng = np.random.default_rng(0)
    taken = sorted(rng.integers(1, 10**9, 1234).tolist())
    for percent in (50, 90, 99):
        found = percentile(taken, percent)
        assert found == np.percentile(taken, percent, method="inverted_cdf") / 1000
        assert found * 1000 in taken


def test_the_spread_is_that_of_the_medians_of_rounds() -> None:
    found = latency([[1000, 2000, 90_000], [3000, 3000, 3000], [500, 1500, 1500]])
    assert (found.count, found.rounds) == (9, 3)
    assert (found.round_low_us, found.round_high_us) == (1.5, 3.0)
    assert found.p50_us is None


# Interleaving


def calls_of(seed: int, count: int = 100) -> list[str]:
    called: list[str] = []
    interleaved({name: lambda name=name: called.append(name) for name in "abc"}, count, seed)
    return called


def test_variants_take_turns_in_an_order_that_changes_and_can_be_repeated() -> None:
    called = calls_of(seed=1)
    turns = [name for number, name in enumerate(called) if number == 0 or called[number - 1] != name]
    assert len(turns) > 3 + 5 * 2  # warm-up, then 5 rounds of 20 calls; equal neighbours of two rounds look like one turn
    assert {turns.count(name) for name in "abc"} <= {4, 5, 6}
    assert called == calls_of(seed=1)
    assert called != calls_of(seed=2)


def test_every_variant_is_timed_as_often_as_asked() -> None:
    assert {name: found.count for name, found in interleaved({"a": int, "b": list}, 53).items()} == {"a": 53, "b": 53}


def test_no_garbage_is_collected_while_it_is_timed_and_again_afterwards() -> None:
    seen = set()
    interleaved({"a": lambda: seen.add(gc.isenabled())}, 20)
    assert False in seen
    assert gc.isenabled()
    with pytest.raises(StopIteration):
        interleaved({"ends early": iter(range(60)).__next__}, 40)
    assert gc.isenabled()


# The whole


def test_the_sample_is_one_picture() -> None:
    picture = decode(sample_png(), "sample.png").pixels()
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 20
    assert sample_png() == sample_png()


def test_models_that_are_not_in_a_bundle_yet_can_be_measured(tiny_bundle: Bundle) -> None:
    models = {name: (tiny_bundle.model(name)[1], "litert") for name in ("tflite_fp32", "tflite_int8")}
    if not any(found.name == "litert" for found in installed_runtimes()):
        pytest.skip("LiteRT is not installed here")
    found = measure_invoke(models, tiny_bundle.manifest.input, count=40)
    assert {name: figures.count for name, figures in found.items()} == {"tflite_fp32": 40, "tflite_int8": 40}
    assert all(figures.p50_us and figures.p90_us is None for figures in found.values())


def test_every_file_on_every_runtime_is_measured_and_the_json_says_how(
    quick_bench: Limiar, tiny_path: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    done = quick_bench(tiny_path, "--count", "40", "--threads", "1,2", "--json", file)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""  # progress is for a terminal
    result = msgspec.json.decode(file.read_bytes(), type=BenchResult)
    expected = {
        (model.name, runtime.name, runtime.version, threads)
        for model in (file.model for file in tiny_bundle.manifest.files)
        if model
        for runtime in installed_runtimes(model.format)
        for threads in (1, 2)
    }
    assert {(one.file, one.runtime, one.version, one.threads) for one in result.measurements} == expected
    assert result.bundle == tiny_bundle.sha256
    assert result.skipped == ()
    for one in result.measurements:
        assert one.invoke.count == one.whole.count == 40
        assert one.invoke.p50_us
        assert one.invoke.p90_us is one.invoke.p99_us is None
        assert 0 < one.start.load_ms < one.start.ready_ms < one.start.answered_ms
        assert 10 < one.start.peak_mb < 1000
        assert f"{one.file} " in done.stdout.decode()


def test_the_table_fits_what_it_says(limiar: Limiar, tiny_path: Path) -> None:
    done = limiar("bench", tiny_path, "--count", "40", "--file", "tflite_int8", "--json", "-")
    result = msgspec.json.decode(done.stdout, type=BenchResult)
    lines = "\n".join(table(result)).splitlines()
    assert max(map(len, lines)) <= 80
    head, *rows = lines[3 : 4 + len(result.measurements)]
    assert [len(row) for row in rows] == [len(head)] * len(rows)
    assert {row.split()[0] for row in rows} == {"tflite_int8"}


def test_what_the_table_says_about_a_busy_machine_fits_too(limiar: Limiar, tiny_path: Path) -> None:
    done = limiar("bench", tiny_path, "--count", "40", "--file", "tflite_int8", "--json", "-")
    result = msgspec.structs.replace(
        msgspec.json.decode(done.stdout, type=BenchResult),
        skipped=(Skipped("tflite_int8", "tflite-runtime", 1, "E-RUNTIME-MISSING: " + 20 * "not installed "),),
        notes=("the medians of rounds differ, tflite_int8 on tflite-runtime by 31%: close other programs and measure again",),
    )
    lines = list(table(result))
    assert max(map(len, lines)) <= 80
    assert "measure again" in " ".join(lines)


def test_the_library_measures_what_was_opened_and_says_how_far_it_is(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limiar.edge_app.bench.latency._STARTS", 1)
    told: list[tuple[str, int, int]] = []
    result = api.bench(tiny_bundle, files=["tflite_int8"], count=20, progress=lambda *step: told.append(step))
    assert {one.file for one in result.measurements} == {"tflite_int8"}
    assert ("starts", 0, len(result.measurements)) in told
    assert ("calls of each", 0, 20) in told


def test_a_variant_that_does_not_start_is_left_out_with_its_reason(quick_bench: Limiar, tiny_path: Path) -> None:
    missing = {"litert", "tflite-runtime"} - {found.name for found in installed_runtimes()}
    if len(missing) != 1:
        pytest.skip("needs one TFLite runtime that is installed and one that is not")
    words = ["--count", "20", "--file", "tflite_int8", "--runtime", "litert,tflite-runtime", "--json", "-"]
    done = quick_bench(tiny_path, *words)
    assert done.returncode == 0, done.stderr
    (skipped,) = json.loads(done.stdout)["skipped"]
    assert skipped["runtime"] in missing
    assert skipped["message"].startswith("E-RUNTIME-MISSING")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["--file", "none"], 1, b"E-BUNDLE-FILE"),
        (["--runtime", "none"], 1, b"E-RUNTIME-UNKNOWN"),
        (["--file", "tflite_int8", "--runtime", "onnxruntime"], 1, b"none of these runtimes reads these files"),
        (["--threads", "0"], 2, b"--threads"),
        (["--threads", "one"], 2, b"--threads"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    limiar: Limiar, tiny_path: Path, arguments: list[str], status: int, code: bytes
) -> None:
    done = limiar("bench", tiny_path, *arguments)
    assert done.returncode == status
    assert code in done.stderr


def test_a_place_for_the_json_that_cannot_be_written_is_said_before_anything_is_measured(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    done = limiar("bench", tiny_path, "--json", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-OUTPUT-WRITE: ")


def test_a_model_that_its_runtime_refuses_cannot_be_measured(tiny_bundle: Bundle) -> None:
    with pytest.raises(RuntimeUnavailable, match="E-RUNTIME-LOAD"):
        measure_invoke({"broken": (b"no model", installed_runtimes("tflite")[0].name)}, tiny_bundle.manifest.input)


def test_the_probe_reports_its_own_memory_and_not_its_parents(tiny_path: Path, tmp_path: Path) -> None:
    """A child's ru_maxrss starts at what its parent had; the probe's figure does not."""
    (tmp_path / "sample.png").write_bytes(sample_png())
    which = (str(tiny_path), open_bundle(tiny_path).sha256, "tflite_int8", installed_runtimes("tflite")[0].name)
    command, image = python_m("limiar.edge_app.bench.start", *which, "1", "0"), f"open({str(tmp_path / 'sample.png')!r}, 'rb')"
    large = f"import subprocess; held = bytearray(b'1') * (600 << 20); subprocess.run({command}, stdin={image})"
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, check=True, env=os.environ)
    assert json.loads(done.stdout)["peak_mb"] < 300
