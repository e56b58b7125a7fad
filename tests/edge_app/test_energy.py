"""The energy of one inference, on boards made of files and a made vcgencmd."""

import os
from pathlib import Path

import pytest

from boards import write, write_vcgencmd
from limiar.edge_app.system.energy import Gauge, Meter, Used, energy_of, find_meter

# The form of a Raspberry Pi 5's answer: a rail has a current and a voltage under different numbers; EXT5V and BATT no current.
PMIC = """   3V3_SYS_A current(1)=0.50000000A
  VDD_CORE_A current(7)=2.00000000A
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.75000000V
     EXT5V_V volt(24)=5.09000000V
      BATT_V volt(25)=nanV"""
RAPL = "sys/class/powercap/intel-rapl:0"


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def meter_at(root: Path, clock: Clock | None = None) -> Meter:
    found = find_meter(root, lambda _: None, clock or Clock())
    assert not isinstance(found, str), found
    return found


def write_rapl(root: Path, energy_uj: int, most_uj: int = 1000_000_000, number: int = 0) -> None:
    folder = root / f"sys/class/powercap/intel-rapl:{number}"
    for name, text in (("name", f"package-{number}"), ("energy_uj", energy_uj), ("max_energy_range_uj", most_uj)):
        write(folder / name, f"{text}\n")


def test_rapl_counts_joules(tmp_path: Path) -> None:
    write_rapl(tmp_path, 5_000_000)
    meter = meter_at(tmp_path)
    write_rapl(tmp_path, 7_500_000)
    assert meter.joules() == 2.5
    assert "processor" in meter.name


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    write_rapl(tmp_path, 999_000_000)
    meter = meter_at(tmp_path)
    for energy_uj in (500_000, 600_000_000, 400_000):
        write_rapl(tmp_path, energy_uj)
        last = meter.joules()
    assert last == pytest.approx(1.5 + 599.5 + 400.4)


def test_all_packages_count_and_their_parts_do_not(tmp_path: Path) -> None:
    for number in (0, 1):
        write_rapl(tmp_path, 0, number=number)
    for part, name in (("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")):
        write(tmp_path / f"sys/class/powercap/{part}/name", name)
        write(tmp_path / f"sys/class/powercap/{part}/energy_uj", "0")
    meter = meter_at(tmp_path)
    for number in (0, 1):
        write_rapl(tmp_path, 1_000_000, number=number)
    for part in ("intel-rapl:0:0", "intel-rapl:2"):
        write(tmp_path / f"sys/class/powercap/{part}/energy_uj", "9000000")
    assert meter.joules() == 2.0


def test_a_counter_that_this_user_may_not_read_says_what_to_do(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    (tmp_path / RAPL / "energy_uj").unlink()
    found = find_meter(tmp_path, lambda _: None)
    assert isinstance(found, str)
    assert "run it as root, or `sudo chmod a+r" in found


def test_a_board_without_a_meter_says_so(tmp_path: Path) -> None:
    assert find_meter(tmp_path, lambda _: None) == "this board has no meter that limiar knows"


def test_a_meter_that_stops_answering_measures_nothing(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    gauge = Gauge(meter_at(tmp_path))
    (tmp_path / RAPL / "energy_uj").unlink()
    assert gauge.used() is None


def test_a_pi_5_sums_its_rails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vcgencmd(tmp_path, {"pmic_read_adc": PMIC})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    clock = Clock()
    meter = find_meter(tmp_path / "nothing", None, clock)
    assert not isinstance(meter, str)
    clock.now_s = 2.0
    assert meter.joules() == pytest.approx(2 * (0.5 * 3.3 + 2.0 * 0.75))
    assert "PMIC" in meter.name


def test_a_pi_4_has_no_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vcgencmd(tmp_path, {"get_throttled": "throttled=0x0"})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_meter(tmp_path / "nothing") == "this board has no meter that limiar knows"


def test_power_is_summed_by_trapezoids(tmp_path: Path) -> None:
    chip, clock = tmp_path / "sys/class/hwmon/hwmon2", Clock()
    write(chip / "name", "ina219\n")
    write(chip / "power1_input", "2000000\n")
    meter = meter_at(tmp_path, clock)
    for clock.now_s, microwatts in ((1.0, 4_000_000), (3.0, 4_000_000)):
        write(chip / "power1_input", f"{microwatts}\n")
        last = meter.joules()
    assert last == 3.0 + 8.0
    assert meter.name == "INA219, what its line feeds"


def test_a_chip_with_several_channels_has_the_board_in_its_first(tmp_path: Path) -> None:
    chip, clock = tmp_path / "sys/class/hwmon/hwmon2", Clock()
    for name, text in (("name", "ina3221"), ("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "600")):
        write(chip / name, text)
    write(chip / "in2_input", "5000")
    write(chip / "curr2_input", "400")
    meter = meter_at(tmp_path, clock)
    clock.now_s = 1.0
    assert meter.joules() == 3.0
    assert meter.name == "INA3221 VDD_IN, what its line feeds"


def test_a_meter_of_the_whole_board_goes_before_the_processors(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0)
    for name, text in (("name", "ina226"), ("power1_input", "1")):
        write(tmp_path / "sys/class/hwmon/hwmon0" / name, text)
    assert meter_at(tmp_path).name.startswith("INA226")


@pytest.mark.parametrize("text", ["", "nan", "-", "9" * 99, "3.5 W"])
def test_a_garbled_meter_is_none(tmp_path: Path, text: str) -> None:
    for name in ("power1_input", "in1_input", "curr1_input"):
        write(tmp_path / "sys/class/hwmon/hwmon0" / name, text)
    write(tmp_path / "sys/class/hwmon/hwmon0/name", "ina219")
    write(tmp_path / RAPL / "name", text)
    assert isinstance(find_meter(tmp_path, lambda _: text), str)


def test_a_gauge_reads_its_meter_now_and_then(tmp_path: Path) -> None:
    chip, clock = tmp_path / "sys/class/hwmon/hwmon0", Clock()
    write(chip / "name", "ina219")
    write(chip / "power1_input", "1000000")
    gauge = Gauge(meter_at(tmp_path, clock), clock)
    for clock.now_s, watts in ((0.1, 9), (0.5, 3), (1.0, 1)):  # it is not read at 0.1 s
        write(chip / "power1_input", f"{watts}000000")
        gauge.poll()
    assert gauge.used() == Used(0.5 * 2 + 0.5 * 2, 1.0)


def test_idle_power_is_subtracted() -> None:
    found = energy_of("a meter", [Used(6.0, 3.0)], Used(50.0, 10.0), 1000)
    assert (found.idle_w, found.busy_w, found.per_inference_mj) == (2.0, 5.0, 30.0)
    assert (found.low_mj, found.high_mj) == (None, None)


def test_the_interval_is_that_of_the_idle_power_before_and_after() -> None:
    found = energy_of("a meter", [Used(6.0, 3.0), Used(9.0, 3.0)], Used(50.0, 10.0), 1000)
    assert (found.low_mj, found.per_inference_mj, found.high_mj) == (20.0, 25.0, 30.0)
