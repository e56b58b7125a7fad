"""studies/gate_simulation.py on small splits: it calls the gate's own decision, and would notice a broken one."""

import pytest

import gate_simulation
from limiar.convert.gate import noninferiority

FEW = ("--draws", "200", "--size", "60/60")


def test_the_shipped_decision_keeps_its_level_and_the_difference_of_accuracies_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gate_simulation.main(FEW) == 0
    *_, level, control = capsys.readouterr().out.splitlines()
    assert level.endswith("allowed 0.05: holds")
    assert control.endswith("breaks it, as it must")


def test_a_decision_that_passes_too_much_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(noninferiority, "decide", lambda loss, low, high, margin: "PASS" if loss < margin else "FAIL")
    assert gate_simulation.main(FEW) == 1
    assert "allowed 0.05: BROKEN" in capsys.readouterr().out
