"""The units in scripts/: systemd accepts them, and grants them little. `scripts/virtual_pi service` runs one on a machine."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT = 1.5  # systemd's measure of exposure, from 0 to 10


@pytest.fixture(autouse=True)
def systemd() -> None:
    """Skips, or fails, without systemd's tools."""
    if not shutil.which("systemd-analyze"):
        assert os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") != "1", "LIMIAR_REQUIRE_ROOT_TESTS=1, but systemd-analyze is missing"
        pytest.skip("systemd-analyze is missing: it comes with systemd")


@pytest.fixture
def unit(project: Path) -> str:
    """The text of the service's."""
    return (project / "scripts" / "limiar.service").read_text()


@pytest.fixture(params=["limiar.service", "limiar-page.service"])
def each(project: Path, request: pytest.FixtureRequest) -> str:
    """The text of either."""
    return (project / "scripts" / request.param).read_text()


@pytest.fixture
def exposure(tmp_path: Path) -> Callable[[str], float]:
    """What `systemd-analyze security` says about a unit's text."""

    def ask(text: str) -> float:
        path = tmp_path / "limiar.service"
        path.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", path], capture_output=True, text=True, check=True
        )
        found = re.search(r"Overall exposure level for limiar\.service: ([\d.]+)", done.stdout)
        assert found
        return float(found[1])

    return ask


@pytest.mark.parametrize(("number", "limit"), [(0, 3.0), (1, LIMIT)])  # a collector has a network, and a database's socket
def test_the_units_of_a_fleet_in_the_docs_expose_little(
    project: Path, unit: str, number: int, limit: float, exposure: Callable[[str], float], tmp_path: Path
) -> None:
    block = re.findall(r"```ini\n(.*?)```", (project / "docs" / "fleet.md").read_text(), re.DOTALL)[number]
    text = block if "ExecStart" in block else unit.replace("[Install]", f"{block}\n[Install]")
    assert exposure(text) <= limit
    test_systemd_finds_nothing_wrong_with_a_unit(text, tmp_path)


def test_systemd_finds_nothing_wrong_with_a_unit(each: str, tmp_path: Path) -> None:
    path = tmp_path / "limiar-tested.service"
    path.write_text(each.replace("/opt/limiar/venv/bin/limiar", shutil.which("true") or ""))  # not installed here
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "limiar" in line]) == (0, [])


def test_a_unit_exposes_little(each: str, exposure: Callable[[str], float]) -> None:
    assert exposure(each) <= LIMIT


def test_control_a_unit_without_its_restrictions_exposes_more(each: str, exposure: Callable[[str], float]) -> None:
    dropped = r"^(Private|Protect|Restrict|System|Capability|NoNew|Device|IPAddress|Memory).*\n"
    assert exposure(re.sub(dropped, "", each, flags=re.MULTILINE)) > LIMIT


def test_the_unit_and_the_drop_ins_of_the_docs_expose_little(
    project: Path, unit: str, exposure: Callable[[str], float]
) -> None:
    page = (project / "docs" / "field.md").read_text()
    drop_ins = [block for block in re.findall(r"```ini\n(.*?)```", page, re.DOTALL) if "[Service]" in block]
    assert drop_ins
    for drop_in in drop_ins:
        assert exposure(unit.replace("[Install]", f"{drop_in}\n[Install]")) <= LIMIT, drop_in
