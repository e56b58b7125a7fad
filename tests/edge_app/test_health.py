"""What the service counts, what the machine says, and the status made of both."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from boards import write_vcgencmd
from limiar.edge_app.health.clock import ClockTrust
from limiar.edge_app.health.meters import Meters
from limiar.edge_app.health.sensors import Sensors, tree
from limiar.edge_app.health.space import Space
from limiar.edge_app.health.status import BoardStatus, ClockStatus, DiskStatus, Status, failed, problems
from limiar.edge_app.system.firmware import Patient


class Now:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def meters(tmp_path: Path, now: Now) -> Meters:
    space = Space(tmp_path, free_bytes=1, ballast_bytes=4096)
    return Meters({"inbox": "folder", "bench": "camera"}, Sensors(tmp_path / "results.db", space, ClockTrust()), now)


def status(**fields: object) -> Status:
    return Status(running=True, app="limiar 0", clock=ClockStatus(trusted=True, why="NTP"), **fields)  # type: ignore[arg-type]


def test_answers_and_refusals_are_counted_for_each_source_and_in_all(meters: Meters, now: Now) -> None:
    meters.answered("inbox", "pos", 2.0, entry=1)
    meters.answered("inbox", "refer", 4.0, entry=2)
    meters.answered("bench", "pos", 2.0, entry=3)
    meters.refused("inbox", "E-IMAGE-TRUNCATED")
    now.s += 30
    found = meters.snapshot()
    inbox, bench = found.sources
    assert (inbox.answered, inbox.refused, inbox.last_entry, inbox.last_age_s) == (2, 1, 2, 30.0)
    assert (bench.answered, bench.refused, bench.last_entry) == (1, 0, 3)
    assert found.totals.decisions == {"pos": 2, "refer": 1}
    assert found.totals.refused == {"E-IMAGE-TRUNCATED": 1}
    assert found.totals.infer_s == 0.008
    assert (found.totals.refer_rate, found.totals.window) == (0.3333, 3)


def test_the_rate_is_that_of_the_last_minute(meters: Meters, now: Now) -> None:
    for _ in range(120):
        meters.answered("inbox", "pos", 1.0)
    assert meters.snapshot().totals.per_s == 2.0
    now.s += 61
    assert meters.snapshot().totals.per_s == 0.0


def test_the_recent_refer_rate_forgets_what_is_long_ago(meters: Meters) -> None:
    for _ in range(500):
        meters.answered("inbox", "refer", 1.0)
    for _ in range(500):
        meters.answered("inbox", "pos", 1.0)
    totals = meters.snapshot().totals
    assert (totals.refer_rate, totals.refer_rate_window, totals.window) == (0.5, 0.0, 500)


def test_a_state_keeps_its_age_until_it_is_another_one(meters: Meters, now: Now) -> None:
    meters.source_state("inbox", "failed", "E-WATCH-GONE", "the folder is gone")
    now.s += 10
    meters.source_state("inbox", "failed", "E-WATCH-GONE", "the folder is still gone")
    found = meters.snapshot()
    assert (found.sources[0].since_s, found.sources[0].message) == (10.0, "the folder is still gone")
    assert [problem.code for problem in found.problems if problem.level == "failed"] == ["E-WATCH-GONE"]
    meters.source_state("inbox", "ok")
    assert meters.snapshot().sources[0].since_s == 0.0


def test_codes_without_end_do_not_fill_the_memory(meters: Meters) -> None:
    for number in range(2000):
        meters.refused("inbox", f"E-{number}")
    refused = meters.snapshot().totals.refused
    assert len(refused) <= 257
    assert sum(refused.values()) == 2000


def test_a_status_comes_back_from_its_json(meters: Meters) -> None:
    meters.process("classifier 1", "running", os.getpid())
    meters.drift({"brightness": "the images are brighter than the reference"})
    found = meters.snapshot()
    assert msgspec.json.decode(msgspec.json.encode(found), type=Status) == found


def test_failures_come_before_warnings() -> None:
    board = BoardStatus(under_voltage=True, throttled=("under-voltage", "throttled"))
    disk = DiskStatus(free_bytes=0, total_bytes=1, full=True)
    untrusted = msgspec.structs.replace(status(board=board, disk=disk), clock=ClockStatus(trusted=False, why="1970"))
    found = problems(untrusted)
    assert [problem.code for problem in found] == ["E-STORE-FULL", "W-CLOCK-UNTRUSTED", "W-BOARD-VOLTAGE", "W-BOARD-HOT"]
    assert failed(msgspec.structs.replace(untrusted, problems=found))
    assert not failed(msgspec.structs.replace(untrusted, problems=found[1:]))


def test_the_firmware_is_asked_without_waiting_and_answers_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vcgencmd(tmp_path, {"get_throttled": "throttled=0x50005"})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ask = Patient.find()
    assert ask
    assert ask("get_throttled") is None
    while (answer := ask("get_throttled")) is None:
        time.sleep(0.2)  # a call that comes too early kills the one before
    assert answer == "throttled=0x50005"


def test_a_firmware_that_hangs_holds_nobody_up_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ask = Patient.find()
    assert ask

    def children() -> set[str]:  # not theirs: PostgreSQL, a fixture, starts one of its own now and then
        return {pid for thread in Path("/proc/self/task").iterdir() for pid in (thread / "children").read_text().split()}

    before, others = time.monotonic(), children()
    for _ in range(10):
        assert ask("get_throttled") is None
        time.sleep(0.02)
    assert time.monotonic() - before < 60
    assert len(children() - others) <= 1


def test_memory_and_writes_are_those_of_all_processes(tmp_path: Path) -> None:
    write = f"import os; f = open({str(tmp_path / 'f')!r}, 'wb'); f.write(bytes(3 << 20)); os.fsync(f.fileno()); input()"
    with subprocess.Popen([sys.executable, "-c", write], stdin=subprocess.PIPE) as child:
        try:
            while not (tmp_path / "f").exists() or (tmp_path / "f").stat().st_size < 3 << 20:
                pass
            assert child.pid in tree(os.getpid())
            sensors = Sensors(tmp_path / "results.db", Space(tmp_path, 1, 4096), ClockTrust())
            found = sensors.status(1000)
        finally:
            child.communicate(b"\n")
    assert found.memory
    assert found.memory.processes >= 2
    assert found.memory.rss_bytes > (found.memory.pss_bytes or 0) > 10 << 20
    assert found.written
    assert found.written.per_1000_answers == found.written.bytes
