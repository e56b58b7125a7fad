"""`limiar bench`: what its figures mean. No test here checks how fast anything is."""

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

import limiar as api
from limiar.edge_app.bench.invoke import measure_invoke
from limiar.edge_app.bench.loops import WarmUp, by_stage, closed_loop, open_loop, unit, warm_up
from limiar.edge_app.bench.measurements import ratios_of
from limiar.edge_app.bench.pipeline import STAGES
from limiar.edge_app.bench.plan import PRESETS, resolve, shares
from limiar.edge_app.bench.repeat import Taken
from limiar.edge_app.bench.result import BenchResult, Skipped, Variant, titled
from limiar.edge_app.bench.sample import sample_png
from limiar.edge_app.bench.samples import unpack
from limiar.edge_app.bench.table import table
from limiar.edge_app.bench.timing import latency
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import RuntimeUnavailable
from limiar.edge_app.image.read import decode
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.system.python import python_m

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


# Percentiles


def test_the_spread_is_that_of_the_medians_of_rounds_and_processes() -> None:
    found = latency([[[1000, 2000, 90_000], [3000, 3000, 3000]], [[500, 1500, 1500]]])
    assert (found.count, found.rounds) == (9, 3)
    assert (found.round_low_us, found.round_high_us) == (1.5, 3.0)
    assert found.process_p50_us == (3.0, 1.5)
    assert found.p90_us is None
    assert {one.percent: one.needs for one in found.percentiles}[90] == 64
    assert found.samples is None


def test_every_call_is_kept() -> None:
    taken = [[[1000, 2000], [3000]], [[4000, 5000]]]
    kept = latency(taken, keep=True).samples
    assert kept
    assert unpack(kept) == taken


# Loops


def calls_of(seed: int, count: int = 100) -> list[str]:
    called: list[str] = []
    units = {name: unit(lambda name=name: lambda: called.append(name)) for name in "abc"}
    closed_loop(units, count, Random(seed))
    return called


def test_variants_take_turns_in_an_order_that_changes_and_can_be_repeated() -> None:
    called = calls_of(seed=1)
    turns = [name for number, name in enumerate(called) if number == 0 or called[number - 1] != name]
    assert len(turns) > 5 * 2  # 5 rounds of 20 calls; equal neighbours of two rounds look like one turn
    assert {turns.count(name) for name in "abc"} <= {3, 4, 5}
    assert called == calls_of(seed=1)
    assert called != calls_of(seed=2)


def test_every_unit_is_called_as_often_as_asked_or_until_the_time_is_over() -> None:
    units = {"a": unit(lambda: int), "b": unit(lambda: list)}
    assert {sum(map(len, rounds)) for rounds in closed_loop(units, 53, Random(0)).values()} == {53}
    assert {sum(map(len, rounds)) for rounds in closed_loop(units, 10**9, Random(0), seconds=1e-6).values()} == {20}


def test_a_unit_is_warmed_up_until_it_is_steady_and_it_is_said_if_it_never_was() -> None:
    falling = iter(range(10**9, 0, -(10**6))).__next__

    def flat_block(count: int) -> list[tuple[int, ...]]:
        return [(1000,)] * count

    def falling_block(count: int) -> list[tuple[int, ...]]:
        return [(falling(),) for _ in range(count)]

    found = warm_up({"flat": flat_block, "falling": falling_block})
    assert (found["flat"].calls, found["flat"].steady) == (200, True)
    assert not found["falling"].steady


def test_no_garbage_is_collected_while_it_is_timed_and_again_afterwards() -> None:
    seen = set()
    closed_loop({"a": unit(lambda: lambda: seen.add(gc.isenabled()))}, 20, Random(0))
    assert seen == {False}
    assert gc.isenabled()
    ends_early = iter(range(30)).__next__
    with pytest.raises(StopIteration):
        closed_loop({"ends early": unit(lambda: ends_early)}, 40, Random(0))
    assert gc.isenabled()


def stalling(at: int, stall_s: float) -> Callable[[], None]:
    """A call that takes no time, but for one."""
    number = itertools.count()
    return lambda: time.sleep(stall_s) if next(number) == at else None


def test_a_stall_shows_in_the_p99_of_the_open_loop_and_not_of_the_closed_one() -> None:
    """500 ms, once, at 200 calls a second: 100 of 1,000 calls were due meanwhile, and the closed loop has one slow call."""
    call = stalling(100, 0.5)
    closed = closed_loop({"a": unit(lambda: call)}, 1000, Random(0))
    closed_p99 = latency([by_stage(closed["a"], ["a"])["a"]]).p99_us
    arrivals = open_loop(stalling(100, 0.5), 200, 1000)
    open_p99 = latency([[arrivals.taken]]).p99_us
    assert closed_p99
    assert open_p99
    assert open_p99 > 400_000  # microseconds: ten calls waited longer than the 99th of a hundred, 455 ms
    assert closed_p99 < 100_000
    assert arrivals.late >= 90


def test_an_open_loop_with_fewer_images_than_processes_is_measured_and_one_without_any_is_refused(
    quick_bench: Limiar, tiny_path: Path
) -> None:
    how = (tiny_path, "--count", "40", "--runtime", "litert", "--json", "-", "--rate")
    one = quick_bench(*how, "10", "--seconds", "0.1")
    assert {found["open_loop"]["latency"]["count"] for found in json.loads(one.stdout)["measurements"]} == {1}
    none = quick_bench(*how, "0.01", "--seconds", "1")
    assert none.returncode == 2
    assert b"0.01 images a second are none in 1 s" in none.stderr


def test_the_open_loop_measures_from_when_a_call_was_due() -> None:
    """By a clock that only sleeping and the calls move: 4 ms of work every 10 ms, and one call of 25 ms."""
    now = 0
    work_ms = iter([4, 25, 4, 4, 4])

    def sleep(seconds: float) -> None:
        nonlocal now
        now += round(seconds * 1e9)

    found = open_loop(lambda: sleep(next(work_ms) / 1000), 100, 5, clock=lambda: now, sleep=sleep)
    assert [ns / 1e6 for ns in found.taken] == [4, 25, 19, 13, 7]
    assert (found.late, found.planned) == (3, 5)


def test_the_open_loop_gives_up_if_it_can_never_keep_up() -> None:
    now = 0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += round(seconds * 1e9)

    found = open_loop(lambda: sleep(0.1), 100, 1000, clock=lambda: now, sleep=sleep)
    assert len(found.taken) < found.planned


@pytest.mark.parametrize(
    ("count", "seconds", "calls", "limit_s", "processes"),
    [(None, None, 1000, 5, 2), (40, None, 40, 86_400, 2), (20, None, 20, 86_400, 1), (None, 3.0, 10_000_000, 3.0, 2)],
)
def test_a_preset_gives_way_to_what_was_asked_for(
    count: int | None, seconds: float | None, calls: int, limit_s: float, processes: int
) -> None:
    found = resolve(PRESETS["quick"], count, seconds)
    assert (found.count, found.seconds, found.processes, sum(shares(calls, processes))) == (calls, limit_s, processes, calls)


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
    assert all(figures.p50_us and figures.p90_us is None for figures in found.values())  # p90 needs 64


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
    assert result.installed
    assert set(result.installed.runtime_bytes) == {runtime for _, runtime, _, _ in expected}
    assert min(result.installed.base_bytes, *result.installed.runtime_bytes.values()) > 1_000_000
    assert b"\nInstalled: " in done.stdout
    for one in result.measurements:
        assert one.total
        assert one.invoke.count == one.whole.count == one.total.count == 40
        assert list(one.stages) == list(STAGES)
        assert {len(found.process_p50_us) for found in one.stages.values()} == {2}
        assert one.invoke.samples
        assert sum(map(sum, one.invoke.samples.processes)) == 40
        assert one.invoke.p50_us
        assert one.invoke.p90_us is one.invoke.p99_us is None
        assert 0 < one.start.load_ms < one.start.ready_ms < one.start.answered_ms
        assert 10 < one.start.idle_mb <= one.start.peak_mb < 1000
        assert f"{one.file} " in done.stdout.decode()


def test_each_variant_is_divided_by_the_bundles_default_in_the_same_rounds() -> None:
    def taken(factor: int) -> list[Taken]:
        rounds = [[shake * factor] * 20 for shake in (1000, 3000, 1000, 2000, 5000)]
        return [Taken(rounds, dict.fromkeys(STAGES, rounds), WarmUp(20, 1.0, True), [], 0)] * 2

    one, default, other = Variant("a", "litert", 1), Variant("b", "litert", 1), Variant("b", "litert", 2)
    found = ratios_of({one: taken(3), default: taken(2), other: taken(1)}, "b", 0)
    assert [(ratio.variant, ratio.reference) for ratio in found] == [(one, default), (other, default)]
    for ratio, expected in zip(found, (1.5, 0.5), strict=True):
        assert ratio.invoke
        assert ratio.whole
        assert (ratio.invoke.low, ratio.invoke.high, ratio.whole.ratio) == pytest.approx((expected,) * 3)
    assert ratios_of({one: taken(3), other: taken(1)}, "", 0)[0].reference == one


def test_of_one_round_there_is_no_ratio() -> None:
    short = [Taken([[1000]], {name: [[1000]] for name in STAGES}, WarmUp(20, 1.0, True), [], 0)]
    (found,) = ratios_of({Variant("a", "litert", count): short for count in (1, 2)}, "a", 0)
    assert (found.invoke, found.whole) == (None, None)


def test_the_table_says_the_ratios_and_what_the_open_loop_lacks(quick_bench: Limiar, tiny_path: Path) -> None:
    words = ["--count", "80", "--threads", "1,2", "--file", "tflite_int8", "--rate", "200", "--seconds", "0.2", "--json", "-"]
    result = msgspec.json.decode(quick_bench(tiny_path, *words).stdout, type=BenchResult)
    assert len(result.ratios) == len(result.measurements) - 1
    lines = list(table(result))
    assert max(map(len, lines)) <= 80
    said = " ".join(line.strip() for line in lines)
    assert f"divided by that of {titled(result.ratios[0].reference)}, with 95 % intervals" in said
    assert "p99 needs 662 calls, p99.9 needs 6,636 calls." in said  # of how many were made in 0.2 s, more may be missing
    assert "In the open loop not given: p90 needs 64 images, p95" in said


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
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    told: list[tuple[str, int, int]] = []
    result = api.bench(tiny_bundle, files=["tflite_int8"], preset="quick", count=20, progress=lambda *step: told.append(step))
    assert {one.file for one in result.measurements} == {"tflite_int8"}
    assert ("starts", 0, 3 * len(result.measurements)) in told
    assert ("calls of each", 0, 20) in told


def test_the_stages_of_given_images_are_measured_and_images_that_cannot_be_read_are_said(
    quick_bench: Limiar, tiny_path: Path, images: Path
) -> None:
    (images / "00000.png").write_bytes(b"no image")
    words = ["--images", images, "--count", "40", "--file", "tflite_int8", "--json", "-"]
    words += ["--rate", "40", "--seconds", "2"]  # slow: it gives up where it falls a second behind, as on a machine that stops
    done = quick_bench(tiny_path, *words)
    assert done.returncode == 0, done.stderr
    result = msgspec.json.decode(done.stdout, type=BenchResult)
    assert result.inputs == 39
    assert [Path(one.path).name for one in result.unread] == ["00000.png"]
    assert "1 image could not be read" in " ".join(result.notes)
    assert result.image == f"39 images, the first {images / '00001.png'}"
    for one in result.measurements:
        assert all(found.p50_us for found in one.stages.values())
        assert one.open_loop
        assert (one.open_loop.rate_hz, one.open_loop.planned, one.open_loop.latency.count) == (40, 80, 80)


def test_an_image_that_cannot_be_read_is_named(quick_bench: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"no image")
    done = quick_bench(tiny_path, "--image", tmp_path / "cut.png")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-IMAGE-FORMAT: ")
    assert b"cut.png: " in done.stderr


def test_a_board_that_throttles_makes_the_run_invalid(
    quick_bench: Limiar, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a `vcgencmd` in PATH, as a Raspberry Pi has it: bit 2 is "throttled now"."""
    tool = tmp_path / "bin" / "vcgencmd"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho throttled=0x4\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    done = quick_bench(tiny_path, "--count", "20", "--file", "tflite_int8")
    assert b"INVALID: the board slowed down" in done.stdout
    done = quick_bench(tiny_path, "--count", "20", "--file", "tflite_int8", "--json", "-")
    assert not msgspec.json.decode(done.stdout, type=BenchResult).valid


def test_nothing_is_left_in_the_state_folder(limiar: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    assert limiar("bench", tiny_path, "--count", "20", "--file", "tflite_int8", "--preset", "quick").returncode == 0
    assert not list((tmp_path / "state").glob("bench-*"))


def running(tiny_path: Path, state: Path) -> "subprocess.Popen[bytes]":
    """A bench that takes minutes, once it has a folder."""
    words = ["bench", tiny_path, "--preset", "quick", "--seconds", "300", "--file", "tflite_int8"]
    known = set(state.glob("bench-*"))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "limiar", *words],
        env={**os.environ, "LIMIAR_STATE": str(state)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while set(state.glob("bench-*/results-0.db")) <= {folder / "results-0.db" for folder in known}:
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_the_next_run_removes_the_folder_of_one_that_was_killed_and_of_no_other(
    quick_bench: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    killed, going_on = running(tiny_path, state), running(tiny_path, state)
    try:
        folders = set(state.glob("bench-*"))
        killed.kill()
        killed.wait()
        (state / "bench-notes").mkdir()  # a person's
        assert quick_bench(tiny_path, "--count", "20", "--file", "tflite_int8").returncode == 0
        left = set(state.glob("bench-*"))
        assert len(folders) == len(left) == 2
        assert len(folders & left) == 1
        assert state / "bench-notes" in left
    finally:
        for process in (killed, going_on):
            process.kill()
            process.wait()
    assert quick_bench(tiny_path, "--count", "20", "--file", "tflite_int8").returncode == 0
    assert set(state.glob("bench-*")) == {state / "bench-notes"}


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
        (
            ["--file", "tflite_int8", "--runtime", "onnxruntime"],
            1,
            b"no runtime that reads these files is installed, or chosen",
        ),
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


def test_a_run_beyond_its_budget_or_slower_than_its_baseline_ends_with_3(
    quick_bench: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    """By a baseline whose figures were divided by ten; the interval lies beyond 5 % on any machine."""
    baseline, words = tmp_path / "old.json", ["--count", "200", "--file", "tflite_int8", "--runtime", "litert"]
    if not any(found.name == "litert" for found in installed_runtimes()):
        pytest.skip("LiteRT is not installed here")
    done = quick_bench(tiny_path, *words, "--json", baseline, "--budget", "p90=60s")
    assert done.returncode == 0, done.stderr
    assert b"within p90=60s" in done.stderr
    old = json.loads(baseline.read_bytes())
    for one in old["measurements"]:
        for found in (one["invoke"], one["total"]):
            for name in ("p50_us", "round_low_us", "round_high_us"):
                found[name] /= 10
            found["process_p50_us"] = [us / 10 for us in found["process_p50_us"]]
    baseline.write_text(json.dumps(old), encoding="utf-8")
    done = quick_bench(tiny_path, *words, "--baseline", baseline, "--fail-on", "slower=5%")
    assert done.returncode == 3
    assert b"SLOWER by more than 5 %" in done.stderr
    assert quick_bench(tiny_path, *words, "--budget", "p90=1us").returncode == 3


@pytest.mark.parametrize("words", [["--budget", "p95"], ["--budget", "p42=1ms"], ["--baseline", "no-such.json"]])
def test_a_gate_that_cannot_be_read_is_a_usage_error(limiar: Limiar, tiny_path: Path, words: list[str]) -> None:
    done = limiar("bench", tiny_path, *words)
    assert (done.returncode, done.stdout) == (2, b"")
