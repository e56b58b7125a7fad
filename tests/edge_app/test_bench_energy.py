"""The energy of an inference, measured by `limiar bench` on boards with a made meter."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boards import write
from limiar.edge_app.bench.result import BenchResult, Metering
from limiar.edge_app.bench.table import table
from limiar.edge_app.runtimes import installed_runtimes
from privileges import need_root

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

WORDS = ("--count", "20", "--seconds", "0.6", "--file", "tflite_int8", "--runtime", installed_runtimes("tflite")[0].name)
# The meter is read in the last tenth of it, or the machine was too busy: of 0.6 s that is hardly longer than between two looks.
LONGER = ("--seconds", "3")
# A Raspberry Pi 5's vcgencmd. Its board takes 5 W while a child of the program that asks computes, and else 2 W.
PI_5 = """#!/bin/sh
[ "$1" = pmic_read_adc ] || { echo error=1; exit 1; }
current=2
for child in $(cat "/proc/$PPID/task/$PPID/children"); do
    [ "$child" = $$ ] || grep -q '^State:.R' "/proc/$child/status" && [ "$child" != $$ ] && current=5
done
echo "VDD_CORE_A current(7)=$current.00000000A"
echo "VDD_CORE_V volt(15)=1.00000000V"
"""


def result_of(done: "subprocess.CompletedProcess[bytes]") -> BenchResult:
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=BenchResult)


@pytest.fixture
def pi_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "vcgencmd"
    write(tool, PI_5)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


def test_an_inference_takes_what_the_board_uses_beyond_its_rest(pi_5: None, quick_bench: Limiar, tiny_path: Path) -> None:
    result = result_of(quick_bench(tiny_path, *WORDS, *LONGER, "--json", "-"))
    assert result.energy == Metering("Raspberry Pi 5 PMIC, the board without USB")
    (one,) = result.measurements
    found = one.energy
    assert found
    assert 2 <= found.idle_w < 3
    assert 4 < found.busy_w <= 5  # none of the rest before and after is in it
    assert found.calls >= 20
    assert found.per_inference_mj == pytest.approx((found.busy_w - found.idle_w) * found.seconds / found.calls * 1000, rel=0.01)
    assert found.low_mj is not None
    assert found.high_mj is not None
    assert found.low_mj <= found.per_inference_mj <= found.high_mj
    lines = list(table(result))
    assert max(map(len, lines)) <= 80
    assert "PMIC" in " ".join(lines)
    assert any("busy W" in line for line in lines)


def test_without_a_meter_the_energy_is_not_measured_and_the_reason_is_said(quick_bench: Limiar, tiny_path: Path) -> None:
    done = quick_bench(tiny_path, *WORDS)
    if b"busy W" in done.stdout:
        pytest.skip("this machine has a meter")
    assert b"\nEnergy: not measured, " in done.stdout
    result = result_of(quick_bench(tiny_path, *WORDS, "--json", "-"))
    assert result.energy
    assert result.energy.meter is None
    assert result.energy.reason
    assert [one.energy for one in result.measurements] == [None]


METERED = 'mount --bind "$1" /sys/class && shift && exec "$@"'


def test_a_meter_in_sysfs_is_read_too(tiny_path: Path, tmp_path: Path) -> None:
    """An INA219 that always says 5 W: then an inference takes nothing beyond the rest."""
    need_root("unshare")
    for name, text in (("name", "ina219\n"), ("power1_input", "5000000\n")):
        write(tmp_path / "class/hwmon/hwmon0" / name, text)
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", METERED, "-", str(tmp_path / "class")]
    words = [sys.executable, "-P", "-m", "limiar", "bench", tiny_path, "--preset", "quick", *WORDS, *LONGER, "--json", "-"]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    result = result_of(subprocess.run([*command, *words], capture_output=True, timeout=120, env=environment))
    assert result.energy == Metering("INA219, what its line feeds")
    found = result.measurements[0].energy
    assert found
    assert (found.idle_w, found.busy_w) == (5.0, 5.0)
    assert found.per_inference_mj == pytest.approx(0, abs=1e-5)  # mJ: of rounding


def test_a_meter_that_falls_silent_costs_the_energy_and_not_the_run(
    quick_bench: Limiar, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vcgencmd that answers once, when the meter is looked for, and then reads a file that is gone."""
    tool = tmp_path / "bin" / "vcgencmd"
    write(tmp_path / "rails", "VDD_CORE_A current(7)=2.00000000A\nVDD_CORE_V volt(15)=1.00000000V\n")
    write(tool, f'#!/bin/sh\n[ "$1" = pmic_read_adc ] && cat {tmp_path}/rails && mv {tmp_path}/rails {tmp_path}/gone\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    result = result_of(quick_bench(tiny_path, *WORDS, "--json", "-"))
    assert [one.energy for one in result.measurements] == [None]
    assert f"the energy of tflite_int8 on {WORDS[-1]} was not measured: the meter no longer answers" in result.notes
