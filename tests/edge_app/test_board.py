"""What a board did while something was measured, and what that makes of the figures."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boards import CPUS, FILES, STAT, write, write_board, write_vcgencmd
from limiar.edge_app.system.board import Board, BoardSample
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.firmware import find_vcgencmd
from limiar.edge_app.system.machine import condition
from limiar.edge_app.system.recorder import Recorder
from limiar.edge_app.system.verdict import throttle_flags, verdict

TICKS = os.sysconf("SC_CLK_TCK")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def silent(_what: str) -> None:
    """A board without vcgencmd."""


def board_at(root: Path, clock: Clock | None = None, own_s: Callable[[], float] = lambda: 0.0) -> Board:
    return Board(root, silent, clock or Clock(), own_s)


def sample(at_s: float, **figures: object) -> BoardSample:
    return msgspec.convert({"at_s": at_s, **figures}, BoardSample)


def test_a_sample_says_what_the_board_does(tmp_path: Path) -> None:
    write_board(tmp_path, clock_khz="1500000", flags="50005", alarm="1", pressure="some avg10=1.25 avg60=0.00 total=1\n")
    found = board_at(tmp_path).sample()
    assert found.governors == ("performance",)
    assert (found.clock_low_mhz, found.clock_high_mhz, found.limit_mhz, found.rated_mhz) == (1500, 1500, 1800, 1800)
    assert found.temperature_c == 48.312  # not the hotter GPU's
    assert found.throttled == 0x50005  # the kernel writes no 0x
    assert found.under_voltage is True
    assert found.pressure == 1.25


def test_a_board_that_says_nothing_is_no_error(tmp_path: Path) -> None:
    assert board_at(tmp_path).sample() == BoardSample(at_s=0.0)


@pytest.mark.parametrize("text", ["", "\0", "-", "0x", "1.5e9", "9" * 5000, "٣", "\xff\xfe", "\n" * 100, "cpu 1 2\n"])
def test_a_garbled_file_says_nothing(tmp_path: Path, text: str) -> None:
    write_board(tmp_path, **dict.fromkeys(set(FILES) - {"cpu", "gpu", "supply", "cgroup"}, text), cgroup="0::/bench\n")
    found = board_at(tmp_path).sample()
    assert found == BoardSample(at_s=0.0, under_voltage=None)


def test_a_file_without_end_and_one_that_blocks_are_left(tmp_path: Path) -> None:
    write_board(tmp_path)
    for name in ("clock_khz", "cpu_mc", "governor"):
        (tmp_path / FILES[name]).unlink()
    (tmp_path / FILES["clock_khz"]).symlink_to("/dev/zero")
    os.mkfifo(tmp_path / FILES["cpu_mc"])
    (tmp_path / FILES["governor"]).mkdir()
    found = board_at(tmp_path).sample()
    assert (found.clock_low_mhz, found.temperature_c, found.governors) == (None, None, ())


def test_a_sensor_that_is_switched_off_is_not_the_hottest(tmp_path: Path) -> None:
    write_board(tmp_path, gpu="soc-thermal", gpu_mc="-274000")
    assert board_at(tmp_path).sample().temperature_c == 48.312


def test_a_processor_without_a_thermal_zone_has_a_sensor(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/hwmon/hwmon3/name", "k10temp\n")
    write(tmp_path / "sys/class/hwmon/hwmon3/temp1_input", "61500\n")
    assert board_at(tmp_path).sample().temperature_c == 61.5


def test_time_is_shared_out_to_this_process_others_and_the_host(tmp_path: Path) -> None:
    write_board(tmp_path)
    spent = 0.0
    board = board_at(tmp_path, own_s=lambda: spent)
    write_board(tmp_path, stat=STAT.format(user=50 * TICKS, idle=40 * TICKS, steal=10 * TICKS))
    spent = 30.0
    found = board.sample()
    assert (found.own, found.others, found.stolen) == (0.3, 0.2, 0.1)


def test_a_child_that_runs_and_its_child_are_not_others(tmp_path: Path) -> None:
    write_board(tmp_path)
    board = board_at(tmp_path)
    for parent, child in (("self", 7), ("7", 8)):
        write(tmp_path / f"proc/{parent}/task/7/children", f"{child} ")
        times = f"{5 * TICKS} {5 * TICKS} {10 * TICKS} 0"  # 20 s each: user, system, and of children that have ended
        write(tmp_path / f"proc/{child}/stat", f"{child} (a) b) R 1 1 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 1 1\n")
    write_board(tmp_path, stat=STAT.format(user=50 * TICKS, idle=50 * TICKS, steal=0))
    found = board.sample()
    assert (found.own, found.others) == (0.4, 0.1)


def test_the_real_children_of_this_process_are_its_own() -> None:
    board = Board()
    with subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.process_time()"]) as child:
        try:
            time.sleep(0.5)
            found = board.sample()
        finally:
            child.kill()
    assert found.own is not None
    assert found.own > 0.0


def test_time_that_a_container_was_stopped_is_counted(tmp_path: Path) -> None:
    write_board(tmp_path, cgroup="0::/bench\n", cpu_stat="usage_usec 1\nnr_throttled 3\nthrottled_usec 2500000\n")
    assert board_at(tmp_path).sample().withheld_s == 2.5


def test_the_flags_come_from_vcgencmd_where_the_kernel_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vcgencmd(tmp_path, {"get_throttled": "throttled=0x4"})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Board(tmp_path / "nothing").sample().throttled == 4
    assert condition().throttled == "0x4"


def test_vcgencmd_is_asked_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    asked: list[str] = []
    clock = Clock()
    board = Board(tmp_path, lambda what: asked.append(what) or f"throttled=0x{len(asked)}", clock)
    found = []
    for clock.now_s in (0.0, 1.0, 4.9, 5.0):
        found.append(board.sample().throttled)
    assert found == [1, 1, 1, 2]
    assert board.sample(last=True).throttled == 3


@pytest.mark.parametrize(
    "script", ["exit 1", "echo throttled=0xg", "yes", "sleep 60", "echo throttled=0x0; exit 255", "kill -9 $$"]
)
def test_a_vcgencmd_that_fails_hangs_or_does_not_end_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    write(tmp_path / "vcgencmd", f"#!/bin/sh\n{script}\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("limiar.edge_app.system.firmware._ANSWER_S", 0.2)
    assert Board(tmp_path / "nothing").sample().throttled is None


def test_a_vcgencmd_that_hangs_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "vcgencmd", f"#!/bin/sh\necho asked >>{tmp_path}/log\nexec sleep 60\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("limiar.edge_app.system.firmware._ANSWER_S", 3.0)  # in which it has certainly begun
    ask = find_vcgencmd()
    assert ask
    assert [ask("get_throttled"), ask("get_throttled")] == [None, None]
    assert (tmp_path / "log").read_text() == "asked\n"


def test_a_program_for_another_machine_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vcgencmd").write_bytes(b"\x7fELF garbage")
    (tmp_path / "vcgencmd").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Board(tmp_path / "nothing").sample().throttled is None


def test_the_condition_of_a_run_has_the_same_reader() -> None:
    """Its keys are old, and programs read them."""
    assert set(msgspec.to_builtins(condition())) == {"load_1min", "governor", "clock_mhz", "temperature_c", "throttled"}


def test_flags_are_told_in_words() -> None:
    assert throttle_flags(0) == []
    assert throttle_flags(0x50005) == ["under-voltage now", "throttled now", "under-voltage since boot", "throttled since boot"]
    assert throttle_flags(0xA000A)[1::2] == ["soft temperature limit now", "soft temperature limit since boot"]


QUIET = sample(0, governors=["performance"], throttled=0, limit_mhz=1800, rated_mhz=1800, own=0.25, others=0.01, stolen=0.0)


def after(at_s: float, **changes: object) -> BoardSample:
    return msgspec.structs.replace(QUIET, at_s=at_s, **changes)


def test_a_quiet_run_is_valid_without_a_warning() -> None:
    found = verdict([QUIET, after(1), after(2)])
    assert (found.valid, found.invalid, found.warnings) == (True, (), ())


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ([QUIET, after(1, throttled=0x4), after(2)], "slowed down at 1 s (throttled)"),
        ([QUIET, after(1), after(2, throttled=0x8)], "slowed down at 2 s (soft temperature limit)"),
        ([QUIET, after(1, throttled=0x40000), after(2, throttled=0x40000)], "slowed down at 1 s (throttled)"),
        ([after(0, throttled=0x20000), after(1, throttled=0x60000)], "slowed down at 1 s (throttled)"),
        ([after(0, throttled=0x40000), after(1), after(2, throttled=0x40000)], "slowed down at 2 s (throttled)"),
        ([after(0, throttled=0x2), after(9, throttled=0x2)], "slowed down from 0 s to 9 s (clock capped)"),
        ([QUIET, after(1, throttled=0x1), after(2)], "the supply voltage was too low at 1 s"),
        ([QUIET, after(1, under_voltage=True)], "the supply voltage was too low at 1 s"),
        ([after(0, throttles=7), after(1, throttles=8)], "slowed down at 1 s (throttled)"),
        ([QUIET, after(1, limit_mhz=1200), after(2)], "lowered the limit of the clock from 1800 to 1200 MHz"),
        ([QUIET, after(1, governors=("powersave",))], "governor changed from performance to powersave at 1 s"),
        ([QUIET, after(1, stolen=0.02), after(2, stolen=0.02)], "kept its processor waiting for 7.1% of the time"),
        ([after(0, withheld_s=2), after(10, withheld_s=2.5)], "CPU limit stopped its processes for 0.5 s"),
    ],
)
def test_a_run_is_invalid_if_the_board_slowed_it_down(run: list[BoardSample], words: str) -> None:
    found = verdict(run)
    assert not found.valid
    assert len(found.invalid) == 1
    assert words in found.invalid[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"governors": ("ondemand",)}, "the clock governor is ondemand, not performance"),
        ({"limit_mhz": 1500.0}, "limited to 1500 MHz of 1800"),
        ({"throttled": 0x50000}, "the board had: under-voltage, throttled"),
        ({"others": 0.2}, "other programs took 20% of the processor: close them"),
        ({"stolen": 0.01}, "kept its processor waiting for 3.7% of the time"),
    ],
)
def test_a_run_is_doubtful(changes: dict[str, object], words: str) -> None:
    found = verdict([after(0, **changes), after(1, **changes)])
    assert found.valid
    assert len(found.warnings) == 1
    assert words in found.warnings[0]


def test_the_little_that_a_host_always_takes_is_no_doubt() -> None:
    assert verdict([QUIET, after(1, stolen=0.002)]).warnings == ()


def test_a_moment_of_others_counts_by_its_length() -> None:
    assert verdict([QUIET, after(1, others=0.7), after(20)]).warnings == ()


def test_an_emulated_run_says_that_its_times_mean_nothing() -> None:
    found = verdict([QUIET, after(1)], "qemu")
    assert found.warnings == ("this processor is emulated by qemu: an emulator's times mean nothing",)
    assert verdict([], "qemu").warnings == found.warnings


def test_a_recorder_samples_when_it_is_time_and_at_the_ends(tmp_path: Path) -> None:
    write_board(tmp_path)
    clock = Clock()
    recorder = Recorder(board_at(tmp_path, clock), 0.5, clock)
    for clock.now_s in (0.1, 0.3, 0.6, 0.9, 1.2, 1.3):
        recorder.poll()
    recorder.finish()
    assert [one.at_s for one in recorder.timeline] == [0.0, 0.6, 1.2, 1.3]


HOT = {100: {"cpu_mc": "83500", "flags": "40004"}, 101: {"cpu_mc": "50000", "flags": "0"}}  # by second


def test_an_hour_is_thinned_out_and_keeps_its_extremes(tmp_path: Path) -> None:
    write_board(tmp_path)
    clock, spent = Clock(), 0.0
    recorder = Recorder(board_at(tmp_path, clock, lambda: spent), 0.5, clock)
    for second in range(1, 3601):
        clock.now_s, spent = float(second), second * 0.25
        write(tmp_path / FILES["stat"], STAT.format(user=second * TICKS // 2, idle=second * TICKS // 2, steal=0))
        if second in HOT:
            for name, text in HOT[second].items():
                write(tmp_path / FILES[name], text)
        recorder.poll()
    recorder.finish()
    found = recorder.timeline
    assert len(found) < 600
    assert (found[0].at_s, found[-1].at_s) == (0.0, 3600.0)
    assert max(one.temperature_c or 0 for one in found) == 83.5
    assert [one.own for one in found[1:-1]] == [0.25] * (len(found) - 2)
    assert "slowed down" in verdict(found).invalid[0]


X86 = bytes.fromhex("7f454c4602010103000000000000000003003e00")
ARM = bytes.fromhex("7f454c460201010000000000000000000200b700")
CPUINFO = "processor\t: 0\nBogoMIPS\t: {speed}\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"


@pytest.mark.parametrize(
    ("name", "run", "found"),
    [
        ("python3.11", ARM, None),
        ("qemu-aarch64-static", X86, "qemu"),
        ("qemu-aarch64", ARM, "qemu"),  # a newer processor's instructions on an older one
        ("FEXInterpreter", X86, "FEXInterpreter"),
        ("python3.11", b"#!", None),
    ],
)
def test_an_emulator_of_programs_is_seen_by_what_the_kernel_runs(
    tmp_path: Path, name: str, run: bytes, found: str | None
) -> None:
    (tmp_path / "python").write_bytes(ARM)
    (tmp_path / name).write_bytes(run)
    link = tmp_path / "proc/thread-self/exe"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / name)
    assert emulated(tmp_path, tmp_path / "python") == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"proc/cpuinfo": CPUINFO.format(speed="108.00"), "proc/device-tree/compatible": "raspberrypi,4-model-b\0"}, None),
        ({"proc/cpuinfo": CPUINFO.format(speed="125.00"), "proc/device-tree/compatible": "raspberrypi,4-model-b\0"}, "qemu"),
        ({"proc/cpuinfo": CPUINFO.format(speed="125.00"), "proc/device-tree/compatible": "linux,dummy-virt\0"}, "qemu"),
        ({"proc/cpuinfo": CPUINFO.format(speed="125.00"), "sys/class/dmi/id/sys_vendor": "QEMU\n"}, "qemu"),
        ({"proc/cpuinfo": CPUINFO.format(speed="125.00"), "proc/device-tree/compatible": "maker,board\0"}, None),
        ({"proc/cpuinfo": CPUINFO.format(speed="50.00"), "proc/device-tree/compatible": "linux,dummy-virt\0"}, None),  # KVM
        ({"proc/cpuinfo": CPUINFO.format(speed="48.00"), "sys/class/dmi/id/sys_vendor": "QEMU\n"}, None),  # HVF
        ({"proc/cpuinfo": CPUINFO.format(speed="2000.00").replace("0x41", "0x00")}, "qemu"),  # -cpu max
        ({"proc/cpuinfo": "model name\t: QEMU TCG CPU version 2.5+\n"}, "qemu"),
        ({"proc/cpuinfo": "model name\t: QEMU Virtual CPU version 2.5+\n", "sys/class/dmi/id/sys_vendor": "QEMU"}, "qemu"),
        (
            {
                "proc/cpuinfo": "model name\t: QEMU Virtual CPU version 2.5+\n",
                "sys/class/dmi/id/sys_vendor": "QEMU\n",
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc acpi_pm\n",
            },
            None,
        ),
        (
            {"proc/cpuinfo": "model name\t: Intel(R) Xeon(R)\nflags\t: hypervisor\n", "sys/class/dmi/id/sys_vendor": "QEMU"},
            None,
        ),
    ],
)
def test_an_emulated_machine_is_not_a_guest_on_a_real_processor(
    tmp_path: Path, files: dict[str, str], found: str | None
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert emulated(tmp_path) == found


def test_the_clocks_of_clusters_are_read_once_each(tmp_path: Path) -> None:
    write_board(tmp_path)
    if len(CPUS) < 2:
        pytest.skip("this process may use one CPU only")
    fast = tmp_path / "sys/devices/system/cpu/cpufreq/policy4"
    for name, text in (("scaling_governor", "schedutil"), ("scaling_cur_freq", "2400000"), ("scaling_max_freq", "2400000")):
        write(fast / name, text)
    link = tmp_path / f"sys/devices/system/cpu/cpu{CPUS[-1]}/cpufreq"
    link.unlink()
    link.symlink_to(fast)
    found = board_at(tmp_path).sample()
    assert found.governors == ("performance", "schedutil")
    assert (found.clock_low_mhz, found.clock_high_mhz, found.limit_mhz) == (1800, 2400, 2100)
