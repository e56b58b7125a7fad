"""The gates of `limiar bench`: slower than a baseline, beyond a budget."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.bench.baseline import Judgement, budget_of, changes, judge, slower_limit, within_budget
from limiar.edge_app.bench.percentiles import percentiles
from limiar.edge_app.bench.recorded import OpenLoop, Recorded, Recording, Timed, read_result, recorded
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.system.board import BoardSample
from limiar.edge_app.system.machine import Machine

HERE = Machine("x86_64", 64, "Xeon", 2, ("avx2", "fma"), None, 8000, "Debian 12", "6.1", "3.11.7")
CALM = (0.99, 1.0, 1.01, 1.0, 1.0)  # five processes


def timed(us: float, processes: Sequence[float] = CALM) -> Timed:
    return Timed(us, us * 0.9, us * 1.1, tuple(us * one for one in processes))


def run(us: float, processes: Sequence[float] = CALM, yardstick: Timed | None = None, **others: object) -> Recorded:
    """One variant; the yardstick takes 10 us in each process unless something else is given."""
    one = Recording("tflite_int8", "litert", 1, timed(us, processes), whole=timed(us * 2, processes))
    return Recorded(HERE, (one,), yardstick=yardstick or timed(10, (1.0, 0.99, 1.0, 1.01, 1.0)), **others)


def gate(new: Recorded, old: Recorded, text: str = "slower=5%") -> Judgement:
    return judge(new, old, slower_limit(text))


@pytest.mark.parametrize(
    ("factor", "passed"), [(0.9, True), (1.0, True), (1.04, True), (1.055, True), (1.1, False), (2.0, False)]
)
def test_a_run_fails_only_if_its_interval_lies_wholly_beyond_the_limit(factor: float, passed: bool) -> None:
    assert gate(run(30 * factor), run(30)).passed is passed


def test_the_lines_say_what_was_met() -> None:
    invoke, whole = gate(run(33), run(30)).lines
    assert invoke.startswith("tflite_int8 on litert, 1 thread, invoke: 30 -> 33 us, x 1.100 (1.0")
    assert ", by the yardstick x 1.100 (" in invoke
    assert invoke.endswith(": SLOWER by more than 5 %")
    assert whole.startswith("tflite_int8 on litert, 1 thread, bytes to answer: 60 -> 66 us")


def test_a_machine_that_was_slower_in_everything_is_not_a_slower_build() -> None:
    assert gate(run(33, yardstick=timed(11)), run(30)).passed


def test_a_yardstick_that_was_faster_is_not_a_slower_build() -> None:
    assert gate(run(30, yardstick=timed(9)), run(30)).passed


def test_a_clock_that_wanders_hides_no_slower_build() -> None:
    clock = (0.9, 1.1, 1.0, 0.95, 1.05)
    assert not gate(run(33, clock, timed(10, clock)), run(30, clock, timed(10, clock))).passed


def test_two_runs_that_differ_by_what_is_left_between_runs_are_the_same() -> None:
    invoke = changes(run(30.4), run(30))[0]  # its processes alone say 1.013 (1.003 to 1.024)
    assert invoke.raw.low > 1
    assert invoke.ratio.low < 1


def test_processes_that_scatter_hide_a_small_change_and_not_a_large_one() -> None:
    scattered = (0.9, 1.1, 1.0, 0.95, 1.05)
    assert gate(run(33, scattered), run(30, scattered)).passed
    assert not gate(run(60, scattered), run(30, scattered)).passed


def test_results_of_older_versions_are_compared_by_their_rounds() -> None:
    old = Recorded(HERE, (Recording("tflite_int8", "litert", 1, Timed(30, 27, 33)),))
    assert gate(run(37), old).passed  # its lowest round took 33.3 us: not 5 % more than 33
    assert not gate(run(39), old).passed
    assert "yardstick" not in gate(run(39), old).lines[0]


def busy(run: Recorded, share: float) -> Recorded:
    """The same run while other programs took that share of the processor."""
    samples = (BoardSample(at_s=0.0), BoardSample(at_s=10.0, own=0.3, others=share, stolen=0.0))
    return msgspec.structs.replace(run, timeline=samples)


def whole_way(us: float) -> Recorded:
    """Invoke takes 30 us."""
    return Recorded(HERE, (Recording("tflite_int8", "litert", 1, timed(30), whole=timed(us)),), yardstick=timed(10))


def test_the_whole_way_is_not_judged_if_other_programs_may_have_slowed_it_and_invoke_is() -> None:
    assert not gate(whole_way(200), whole_way(100)).passed
    for new, old in ((busy(whole_way(200), 0.4), whole_way(100)), (whole_way(200), busy(whole_way(100), 0.4))):
        judged = gate(new, old)
        assert judged.passed
        assert judged.lines[1].endswith("not judged, other programs took 40% of the processor in one of the runs")
    assert not gate(busy(run(33), 0.4), run(30)).passed


def test_what_the_disk_takes_is_not_judged() -> None:
    one = Recording("tflite_int8", "litert", 1, timed(30), timed(300), whole=timed(100))
    slower = msgspec.structs.replace(one, total=timed(900))
    assert gate(Recorded(HERE, (slower,)), Recorded(HERE, (one,))).passed


def test_a_single_round_decides_nothing() -> None:
    """Its lowest and its highest median are the same, so its interval would have no width."""
    alone = Timed(60, 60, 60, rounds=1)
    judged = gate(Recorded(HERE, (Recording("tflite_int8", "litert", 1, alone),)), run(30))
    assert judged.passed
    assert "a single round shows no spread: more --count would" in judged.lines[0]


@pytest.mark.parametrize(
    ("old", "met"),
    [
        (run(30, valid=False, invalid=("throttled at 80 C",)), "the baseline is invalid (throttled at 80 C)"),
        (msgspec.structs.replace(run(30), machine=msgspec.structs.replace(HERE, cores=4)), "cores 4, here 2"),
        (msgspec.structs.replace(run(30), machine=msgspec.structs.replace(HERE, board="Pi 5")), "processor Pi 5, here Xeon"),
        (msgspec.structs.replace(run(30), machine=msgspec.structs.replace(HERE, features=())), "vector units"),
        (msgspec.structs.replace(run(30), measurements=()), "no model file, runtime and threads are in both"),
    ],
)
def test_what_cannot_be_compared_is_refused(old: Recorded, met: str) -> None:
    with pytest.raises(LimiarError) as refused:
        gate(run(30), old)
    assert refused.value.code == "E-BENCH-BASELINE"
    assert met in refused.value.message


def test_a_new_kernel_or_python_is_the_same_machine() -> None:
    other = msgspec.structs.replace(HERE, kernel="6.12", python="3.13.1", system="Debian 13", memory_mb=7900)
    assert gate(msgspec.structs.replace(run(30), machine=other), run(30)).passed


@pytest.mark.parametrize("text", ["", "5%", "slower", "slower=5", "slower=-5%", "slower=x%", "faster=5%", "slower=\u0665%"])
def test_a_limit_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match="write slower=5%"):
        slower_limit(text)


def test_limits_and_budgets_are_read() -> None:
    assert slower_limit("slower=5%") == pytest.approx(1.05)
    assert slower_limit("slower=2.5%") == pytest.approx(1.025)
    assert [(found.percent, found.us) for found in map(budget_of, ("p95=20ms", "p999=1.5s", "p50=40us"))] == [
        (95, 20_000),
        (99.9, 1_500_000),
        (50, 40),
    ]


@pytest.mark.parametrize("text", ["p95", "p95=20", "p96=20ms", "95=20ms", "p95=0ms", "p95=-1ms", "p95=20 ms", "p95=1e3us"])
def test_a_budget_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match="write p95=20ms"):
        budget_of(text)


def spent(us: Sequence[float]) -> Timed:
    return Timed(us[len(us) // 2], us[0], us[-1], (), percentiles([round(one * 1000) for one in sorted(us)]))


def measured(total: Timed | None, open_loop: OpenLoop | None = None) -> Recorded:
    return Recorded(HERE, (Recording("tflite_int8", "litert", 1, spent([10.0] * 2000), total, open_loop),))


def test_a_budget_fails_only_if_the_interval_lies_wholly_beyond() -> None:
    total = spent([float(us) for us in range(1, 2001)])  # p95: 1900 us, 1881 to 1919 or so
    kept = {us: within_budget(measured(total), budget_of(f"p95={us}us")).passed for us in (1800, 1870, 1890, 2000)}
    assert kept == {1800: False, 1870: False, 1890: True, 2000: True}
    line = within_budget(measured(total), budget_of("p95=1ms")).lines[0]
    assert line.startswith("tflite_int8 on litert, 1 thread, total: p95 1900 us (18")
    assert line.endswith("): BEYOND p95=1ms")


def test_a_budget_is_of_the_open_loop_if_there_is_one_and_of_invoke_if_there_is_nothing_else() -> None:
    slow = OpenLoop(spent([5000.0] * 2000))
    assert not within_budget(measured(spent([100.0] * 2000), slow), budget_of("p95=1ms")).passed
    assert "invoke: p95 10 us" in within_budget(measured(None), budget_of("p95=1ms")).lines[0]


def test_a_budget_that_too_few_calls_support_is_not_shown() -> None:
    found = within_budget(measured(spent([100.0] * 500)), budget_of("p99=1ms"))
    assert not found.passed
    assert found.lines == (
        "tflite_int8 on litert, 1 thread, total: p99 is not known, it needs 662 calls: p99=1ms is NOT SHOWN",
    )


def test_a_result_is_read_as_it_was_written_and_what_is_new_in_it_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(run(30)) | {"something": "new"}))
    assert read_result(path) == run(30) == recorded(run(30))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"machine": 1}', "[" * 100_000, "\ud800"])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"bench\.json: "):
        read_result(path)
    with pytest.raises(ValueError, match="No such file"):
        read_result(tmp_path / "none.json")


@pytest.mark.parametrize("us", ["0", "-1", "1e300"])
def test_a_time_that_cannot_be_is_refused(us: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(msgspec.json.encode(run(30)).replace(b'"process_p50_us":[29.7', b'"process_p50_us":[' + us.encode()))
    with pytest.raises(ValueError, match="process_p50_us"):
        read_result(path)
