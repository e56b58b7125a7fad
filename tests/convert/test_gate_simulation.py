"""scripts/gate_simulation on small splits: it asks the shipped decision, and would see a broken one."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from limiar.convert.gate import noninferiority

FEW = ("--draws", "200", "--size", "60/60")


@pytest.fixture(scope="module")
def script(project: Path) -> ModuleType:
    loader = SourceFileLoader("gate_simulation", str(project / "scripts" / "gate_simulation"))
    spec = importlib.util.spec_from_loader("gate_simulation", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_shipped_decision_keeps_its_level_and_the_difference_of_accuracies_does_not(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(FEW) == 0
    *_, level, control = capsys.readouterr().out.splitlines()
    assert level.endswith("allowed 0.05: holds")
    assert control.endswith("breaks it, as it must")


def test_a_decision_that_passes_too_much_is_seen(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(noninferiority, "decide", lambda loss, low, high, margin: "PASS" if loss < margin else "FAIL")
    assert script.main(FEW) == 1
    assert "allowed 0.05: BROKEN" in capsys.readouterr().out
