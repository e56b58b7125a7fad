"""The simulation behind docs/scale.md."""

import pytest

from scale_plan import Cluster, Measured, draw, simulate, tell, tell_simulation

EVEN = Cluster(cores=10, images=100_000, start_s=1, images_per_s=100, spread=0, slow=0, slow_by=1, lost_h=1e9, back_s=60)


def test_without_faults_the_time_is_that_of_the_chunks() -> None:
    found = simulate(EVEN, 1000, copies=False, seed=0)
    assert (found.seconds, found.lost, found.wasted_s) == (pytest.approx(110), 0, 0)  # ten chunks a core, 11 s each
    assert found.worked_s == pytest.approx(1100)
    assert found.starts_s == pytest.approx(100)


def with_faults(**faults: float) -> Cluster:
    return Cluster(**{**{name: getattr(EVEN, name) for name in EVEN.__struct_fields__}, **faults})


def test_lost_cores_cost_what_they_were_at() -> None:
    cluster = with_faults(lost_h=0.02)
    found = simulate(cluster, 1000, copies=False, seed=1)
    assert found.lost > 5
    assert found.worked_s == pytest.approx(1100 + found.wasted_s)
    assert found.seconds > 110


def test_second_copies_help_against_a_slow_core() -> None:
    cluster = with_faults(slow=0.2, slow_by=20, images=30_000)
    alone, copied = (simulate(cluster, 1000, copies=copies, seed=2) for copies in (False, True))
    assert copied.copies > 0
    assert copied.seconds < 0.5 * alone.seconds
    assert copied.wasted_s > alone.wasted_s == 0


def test_the_tables_and_the_plot_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Measured(1.0, 100.0, 50.0, 35.0, 1e4, 1e3, 1e5, 1e5), with_faults(images=10**9), 0.04, 0.023, 0.4)
    svg = draw(tell_simulation(with_faults(slow=0.1, slow_by=5, images=1_000_000), 1))
    printed = capsys.readouterr().out
    assert "| core-hours | 2.81 |" in printed
    assert "| plan, of a bucket: 1,000,000 requests one after the other | 13.9 hours |" in printed
    assert svg.startswith(b"<svg xmlns=")
    assert svg.count(b"<path class") > 10
