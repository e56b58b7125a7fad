"""What `limiar status --json` prints: the only schema of a device's health.

Times since an event are seconds of a clock that does not jump, with the time in which the machine slept. Counts are since the
service started, if nothing else is said. None: not known here.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from limiar.edge_app.text import counted

SCHEMA = 1  # a later one may have more fields, and no field changes its meaning

SourceState = Literal["ok", "waiting", "failed"]
ProcessState = Literal["starting", "running", "waiting", "stopped"]


class Problem(Struct, frozen=True):
    """What a person should look at. `failed`: something does not work; the command then exits with 3."""

    level: Literal["failed", "warning"]
    code: str  # "E-STORE-FULL": docs/errors.md; "W-CLOCK-UNTRUSTED": docs/health.md
    message: str  # one line


class OtherSlot(Struct, frozen=True):
    """The bundle that a failure, or `limiar rollback`, goes back to."""

    name: str
    version: str
    counter: int


class BundleStatus(Struct, frozen=True, kw_only=True):
    """The bundle that answers. The slots' fields are None if it is a folder of the configuration."""

    name: str
    version: str
    sha256: str  # of its manifest
    counter: int  # its release counter
    file: str  # model file
    runtime: str  # "litert 2.3.0"
    verified: str  # by "bundle" or "device"
    slot: str | None = None
    on_trial: bool = False
    tries_left: int | None = None  # starts that are left to a bundle on trial
    other: OtherSlot | None = None
    floor: int | None = None  # the lowest release counter that can be installed
    intended_use: str = ""  # of its manifest
    folder: str = ""  # where it is


class SourceStatus(Struct, frozen=True, kw_only=True):
    """A watched folder or a camera."""

    name: str
    kind: Literal["folder", "camera"]
    state: SourceState = "waiting"  # until it was seen to work
    since_s: float = 0.0  # how long it has been in that state
    code: str = ""  # why it is not ok
    message: str = ""
    answered: int = 0
    refused: int = 0
    queue: int = 0  # files that are complete and wait
    passed_over: str = ""  # what a folder holds besides images: "3 other files (2 .txt, 1 .zip), 1 hidden"
    last_entry: int | None = None  # of its last answer: the ID that `limiar results show` takes
    last_age_s: float | None = None  # of its last answer


class Totals(Struct, frozen=True, kw_only=True):
    """Over all sources."""

    answered: int = 0
    per_s: float = 0.0  # answers, over the last minute
    infer_s: float = 0.0  # seconds of inference of all answers
    refused: dict[str, int] = {}  # code -> files and frames
    decisions: dict[str, int] = {}  # a label, or "refer" -> answers
    not_assessable: int = 0  # images outside the bundle's envelope that got no label
    refer_rate: float | None = None  # 0..1, of all answers
    refer_rate_window: float | None = None  # 0..1, of the last `window` answers
    window: int = 0  # answers


class StoreStatus(Struct, frozen=True, kw_only=True):
    """The results database."""

    path: str
    entries: int | None = None  # the highest ID: of all results, refusals and reviews that were ever kept
    bytes: int = 0
    wal_bytes: int = 0  # of its write-ahead log
    commit_age_s: float | None = None  # since the last commit


class DiskStatus(Struct, frozen=True, kw_only=True):
    """The file system of the state folder."""

    free_bytes: int  # for this user
    total_bytes: int
    full: bool = False  # new work is refused
    full_s: float | None = None  # for how long
    ballast_bytes: int = 0  # kept back for the last rows of the audit log


class WrittenStatus(Struct, frozen=True, kw_only=True):
    """What all processes of the service made the disk write: a card wears out with it."""

    bytes: int
    per_1000_answers: float | None = None  # bytes; None before the first 100 answers


class MemoryStatus(Struct, frozen=True, kw_only=True):
    """Of all processes of the service."""

    rss_bytes: int  # shared pages count once for each process
    pss_bytes: int | None  # shared pages are divided among those that share them
    descriptors: int
    threads: int
    processes: int


class BoardStatus(Struct, frozen=True, kw_only=True):
    """The board. `since boot` is what a Raspberry Pi's firmware remembers."""

    temperature_c: float | None = None  # of the processor's hottest sensor
    clock_mhz: float | None = None
    throttled: tuple[str, ...] | None = None  # now: "under-voltage", "clock capped", "throttled", "soft temperature limit"
    throttled_since_boot: tuple[str, ...] | None = None  # the same words
    under_voltage: bool | None = None
    under_voltage_since_boot: bool | None = None


class ClockStatus(Struct, frozen=True, kw_only=True):
    """The wall clock. Nothing is ordered by it, and nothing is deleted by it unless it is trusted."""

    trusted: bool
    why: str  # one line, also if it is trusted
    jumps: int = 0
    last_jump_s: float | None = None  # seconds forwards, or backwards if negative


class DriftStatus(Struct, frozen=True, kw_only=True):
    """A warning that what comes differs from the bundle's reference."""

    statistic: str  # "brightness"
    message: str
    age_s: float


class FleetStatus(Struct, frozen=True, kw_only=True):
    """What has to reach the fleet's collector."""

    store: str  # name of this store's outbox, hexadecimal
    waiting: int  # answers, refusals and reviews that it has not committed
    acked: int  # the last sequence that it has
    code: str = ""  # what is wrong with the uplink
    message: str = ""


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """A process of the service."""

    name: str  # "classifier 1"
    pid: int | None = None  # None: it does not run now
    state: ProcessState = "starting"
    since_s: float = 0.0  # how long it has been in that state
    restarts: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """Everything. Without a running service, what its state folder and the machine still say."""

    schema: int = SCHEMA
    running: bool
    problems: tuple[Problem, ...] = ()  # the worst first
    app: str  # "limiar 0.1.0"
    app_sha256: str = ""  # of the program's files
    pid: int | None = None
    started: str | None = None  # UTC, by the device's clock
    uptime_s: float | None = None
    boot_id: str = ""
    bundle: BundleStatus | None = None
    sources: tuple[SourceStatus, ...] = ()
    totals: Totals = Totals()
    store: StoreStatus | None = None
    fleet: FleetStatus | None = None  # None: this device is in no fleet
    disk: DiskStatus | None = None
    written: WrittenStatus | None = None
    memory: MemoryStatus | None = None
    board: BoardStatus = BoardStatus()
    clock: ClockStatus
    drift: tuple[DriftStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()


def failed(status: Status) -> bool:
    """Whether something does not work."""
    return any(problem.level == "failed" for problem in status.problems)


def problems(status: Status) -> tuple[Problem, ...]:
    """What a status shows that a person should look at, failures first."""
    return tuple(sorted(_problems(status), key=lambda problem: problem.level != "failed"))


def _problems(status: Status) -> Iterator[Problem]:
    if not status.running:
        yield Problem(
            "failed", "E-SERVICE-NONE", "no service runs on this state folder: start it, with `limiar run` or systemctl"
        )
    for source in status.sources:
        if source.state == "failed":
            yield Problem("failed", source.code, f"{source.name}: {source.message}")
    if status.disk and status.disk.full:
        met = f"{status.disk.free_bytes >> 20} MiB are free, so new work is refused"
        yield Problem("failed", "E-STORE-FULL", f"{met}: free space, and it goes on by itself")
    for process in status.processes:
        if process.state == "waiting":
            met = f"{process.name} has ended {process.restarts} times and is started again later"
            yield Problem("failed", "E-SERVICE-RESTART", f"{met}: see the log for why")
    if not status.clock.trusted:
        yield Problem("warning", "W-CLOCK-UNTRUSTED", f"times may be wrong, and nothing is deleted by age: {status.clock.why}")
    yield from _board(status.board)
    for drift in status.drift:
        yield Problem("warning", "W-DRIFT", drift.message)
    if status.bundle and status.bundle.on_trial:
        tries = status.bundle.tries_left
        left = "it is not yet good" if tries is None else f"{counted(tries, 'start')} left"
        yield Problem("warning", "W-BUNDLE-TRIAL", f"{status.bundle.name} {status.bundle.version} is on trial: {left}")


def _board(board: BoardStatus) -> Iterator[Problem]:
    low = "use the power supply made for this board, and a short cable"
    if board.under_voltage:
        yield Problem("warning", "W-BOARD-VOLTAGE", f"the supply voltage is too low: {low}")
    elif board.under_voltage_since_boot:
        yield Problem("warning", "W-BOARD-VOLTAGE", f"the supply voltage has been too low since boot: {low}")
    if slowed := [word for word in board.throttled or () if word != "under-voltage"]:
        yield Problem("warning", "W-BOARD-HOT", f"the board is slowed down ({', '.join(slowed)}): cool it")
