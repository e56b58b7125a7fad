"""What the machine says: disk, memory, processes, board, clock, and what was written.

Files of /proc and /sys are read at most every 10 s, and the board's firmware is asked by a process that nobody waits for.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from limiar.edge_app import APP
from limiar.edge_app.health.clock import ClockTrust, Jump
from limiar.edge_app.health.space import Space
from limiar.edge_app.health.status import BoardStatus, MemoryStatus, Status, StoreStatus, WrittenStatus
from limiar.edge_app.store.app_files import app_sha256
from limiar.edge_app.system import sysfs
from limiar.edge_app.system.board import Board, BoardSample
from limiar.edge_app.system.clock import boot_id, utc_now
from limiar.edge_app.system.firmware import Patient
from limiar.edge_app.system.verdict import flags_now, flags_since_boot

_EVERY_S = 10.0  # how often the board is read
_PROCESSES = 64  # of the service; it has under 20
_ENOUGH = 100  # answers, before it is said what 1,000 of them write
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sensors:
    """Reads the machine again and again."""

    def __init__(
        self,
        database: Path,
        space: Space,
        clock: ClockTrust,
        now: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._database, self._space, self._clock, self._now = database, space, clock, now
        self._started, self._started_at = utc_now(), now()
        self._boot_id = boot_id()
        self._board = Board(vcgencmd=Patient.find())
        self._sample = self._board.sample()
        self._sampled = now()
        self._entries: int | None = None
        self._commit: float | None = None

    def turn(self) -> Jump | None:
        """To be called often: looks at disk and clock, and at the board every 10 s. Says if the clock jumped."""
        self._space.turn()
        if self._now() - self._sampled >= _EVERY_S:
            self._sampled = self._now()
            self._sample = self._board.sample()
        return self._clock.turn()

    def committed(self, entries: int) -> None:
        """The store was committed. entries: its last entry's ID."""
        self._entries, self._commit = entries, self._now()

    def status(self, answered: int) -> Status:
        """The part of a status that the machine says."""
        now, pids = self._now(), list(tree(os.getpid()))
        return Status(
            running=True,
            app=APP,
            app_sha256=app_sha256().hex(),
            pid=os.getpid(),
            started=self._started,
            uptime_s=round(now - self._started_at, 1),
            boot_id=self._boot_id,
            store=store_status(self._database, self._entries, None if self._commit is None else now - self._commit),
            disk=self._space.status(),
            written=_written(pids, answered),
            memory=_memory(pids),
            board=board_status(self._sample),
            clock=self._clock.status(),
        )


def store_status(database: Path, entries: int | None, commit_age_s: float | None) -> StoreStatus:
    """The sizes of a database's files."""
    age = None if commit_age_s is None else round(commit_age_s, 1)
    wal = database.with_name(f"{database.name}-wal")
    return StoreStatus(path=str(database), entries=entries, bytes=_bytes(database), wal_bytes=_bytes(wal), commit_age_s=age)


def board_status(sample: BoardSample) -> BoardStatus:
    """A look at the board, for a status."""
    flags = sample.throttled
    now = None if flags is None else tuple(flags_now(flags))
    ever = None if flags is None else tuple(flags_since_boot(flags))
    return BoardStatus(
        temperature_c=sample.temperature_c,
        clock_mhz=sample.clock_high_mhz,
        throttled=now,
        throttled_since_boot=ever,
        under_voltage=sample.under_voltage if now is None else "under-voltage" in now or bool(sample.under_voltage),
        under_voltage_since_boot=None if ever is None else "under-voltage" in ever,
    )


def tree(pid: int) -> Iterator[int]:
    """A process, its children and theirs."""
    waiting = [pid]
    for _ in range(_PROCESSES):
        if not waiting:
            return
        one = waiting.pop(0)
        yield one
        for thread in sysfs.matching(Path(f"/proc/{one}/task"), "[0-9]*"):
            waiting += [int(word) for word in (sysfs.text(thread / "children") or "").split() if word.isdecimal()]


def _written(pids: list[int], answered: int) -> WrittenStatus:
    """proc_pid_io(5): what a process, and the children that it has waited for, made the disk write."""
    written = sum(max(0, _field(pid, "io", "write_bytes:") - _field(pid, "io", "cancelled_write_bytes:")) for pid in pids)
    return WrittenStatus(bytes=written, per_1000_answers=round(1000 * written / answered) if answered >= _ENOUGH else None)


def _memory(pids: list[int]) -> MemoryStatus:
    rss = sum(sysfs.whole((sysfs.text(f"/proc/{pid}/statm", 128) or "0 0").split()[1]) or 0 for pid in pids) * _PAGE
    pss = [_field(pid, "smaps_rollup", "Pss:") for pid in pids]
    return MemoryStatus(
        rss_bytes=rss,
        pss_bytes=sum(pss) << 10 if any(pss) else None,
        descriptors=sum(_entries(f"/proc/{pid}/fd") for pid in pids),
        threads=sum(_entries(f"/proc/{pid}/task") for pid in pids),
        processes=len(pids),
    )


def _field(pid: int, file: str, name: str) -> int:
    """A number of a file in /proc/PID; 0 if it does not say."""
    for line in (sysfs.text(f"/proc/{pid}/{file}", 4096) or "").splitlines():
        if line.startswith(name):
            return sysfs.whole(line[len(name) :].split()[0]) or 0
    return 0


def _entries(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
