"""A status as metrics for Prometheus, in its text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/: base units, counters end in _total. A metric that this device does
not know is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from limiar.edge_app.health.status import BoardStatus, BundleStatus, Problem, SourceState, SourceStatus, Status
from limiar.edge_app.text import visible

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABEL = 200  # characters of a label's value

_Kind = Literal["gauge", "counter"]
_Sample = tuple[Mapping[str, str], float | None]


def prometheus_text(status: Status) -> bytes:
    """All metrics of a status."""
    return "".join(_family(*family) for family in _families(status)).encode()


def _family(name: str, kind: _Kind, about: str, samples: list[_Sample]) -> str:
    known = [f"limiar_{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples if value is not None]
    return f"# HELP limiar_{name} {about}\n# TYPE limiar_{name} {kind}\n{''.join(known)}" if known else ""


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return visible(value)[:_LABEL].replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _one(value: float | None) -> list[_Sample]:
    return [({}, value)]


def _families(status: Status) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    """Name, kind, help, and samples: labels and value. docs/health.md lists them."""
    program = {"app": status.app, "app_sha256": status.app_sha256, "boot_id": status.boot_id}
    yield "info", "gauge", "The program, and the boot.", [(program, 1)]
    yield "up", "gauge", "Whether the service runs.", _one(status.running)
    yield "uptime_seconds", "gauge", "Since the service started.", _one(status.uptime_s)
    yield "problems", "gauge", "What a person should look at, as limiar status lists it.", _problems(status.problems)
    if status.bundle:
        yield from _bundle(status.bundle)
    yield from _sources(status.sources)
    yield from _totals(status)
    yield from _disk(status)
    if memory := status.memory:
        yield "memory_rss_bytes", "gauge", "Of all processes; shared pages count for each.", _one(memory.rss_bytes)
        yield "memory_pss_bytes", "gauge", "Of all processes; shared pages count once.", _one(memory.pss_bytes)
        yield "descriptors", "gauge", "Open files of all processes.", _one(memory.descriptors)
        yield "threads", "gauge", "Of all processes.", _one(memory.threads)
        yield "processes", "gauge", "Of the service.", _one(memory.processes)
    yield from _board(status.board)
    yield "clock_trusted", "gauge", "Whether the clock is right, as far as the device can know.", _one(status.clock.trusted)
    yield "clock_jumps_total", "counter", "How often the clock was set.", _one(status.clock.jumps)
    yield "drift_warnings", "gauge", "Warnings that images differ from the bundle's reference.", _one(len(status.drift))
    restarts: list[_Sample] = [({"process": one.name}, one.restarts) for one in status.processes]
    yield "process_restarts_total", "counter", "How often a process was started again.", restarts
    running: list[_Sample] = [({"process": one.name}, one.state == "running") for one in status.processes]
    yield "process_running", "gauge", "Whether a process of the service runs.", running


def _problems(problems: tuple[Problem, ...]) -> list[_Sample]:
    return [({"level": level}, sum(one.level == level for one in problems)) for level in ("failed", "warning")]


def _bundle(bundle: BundleStatus) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    labels = {name: str(getattr(bundle, name)) for name in ("name", "version", "sha256", "file", "runtime", "verified")}
    yield "bundle_info", "gauge", "The bundle that answers.", [(labels, 1)]
    yield "bundle_counter", "gauge", "Its release counter.", _one(bundle.counter)
    yield "bundle_on_trial", "gauge", "Whether it is not yet known to be good.", _one(bundle.on_trial)


def _sources(sources: tuple[SourceStatus, ...]) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    def each(value: str) -> list[_Sample]:
        return [({"source": one.name, "kind": one.kind}, getattr(one, value)) for one in sources]

    states = [
        ({"source": one.name, "kind": one.kind, "state": state}, float(one.state == state))
        for one in sources
        for state in get_args(SourceState)
    ]
    yield "source_state", "gauge", "1 for the state that a source is in.", [*states]
    yield "source_state_seconds", "gauge", "How long it has been in that state.", each("since_s")
    yield "source_answers_total", "counter", "Answers.", each("answered")
    yield "source_refusals_total", "counter", "Files and frames without an answer.", each("refused")
    yield "source_queue", "gauge", "Complete files that wait.", each("queue")
    yield "source_answer_age_seconds", "gauge", "Since its last answer.", each("last_age_s")


def _totals(status: Status) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    totals = status.totals
    decisions: list[_Sample] = [({"decision": what}, count) for what, count in sorted(totals.decisions.items())]
    refused: list[_Sample] = [({"code": code}, count) for code, count in sorted(totals.refused.items())]
    yield "answers_total", "counter", "Answers by decision: a label, or refer.", decisions
    yield "refusals_total", "counter", "Files and frames without an answer, by code.", refused
    yield (
        "not_assessable_total",
        "counter",
        "Images that are too unlike the training images for a label.",
        _one(totals.not_assessable),
    )
    yield "inference_seconds_total", "counter", "Seconds of inference of all answers.", _one(totals.infer_s)
    yield "refer_ratio", "gauge", "Share of the last answers that was referred.", _one(totals.refer_rate_window)


def _disk(status: Status) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    if store := status.store:
        yield "store_entries", "gauge", "The highest ID in the results.", _one(store.entries)
        yield "store_bytes", "gauge", "Size of the results database.", _one(store.bytes)
        yield "store_wal_bytes", "gauge", "Size of its write-ahead log.", _one(store.wal_bytes)
        yield "store_commit_age_seconds", "gauge", "Since the last commit.", _one(store.commit_age_s)
    if disk := status.disk:
        yield "disk_free_bytes", "gauge", "Free on the state folder's file system.", _one(disk.free_bytes)
        yield "disk_size_bytes", "gauge", "Size of that file system.", _one(disk.total_bytes)
        yield "disk_full", "gauge", "Whether new work is refused for lack of space.", _one(disk.full)
    if status.written:
        yield "written_bytes_total", "counter", "What all processes made the disk write.", _one(status.written.bytes)


def _board(board: BoardStatus) -> Iterator[tuple[str, _Kind, str, list[_Sample]]]:
    yield "board_temperature_celsius", "gauge", "Of the processor's hottest sensor.", _one(board.temperature_c)
    yield "board_clock_hertz", "gauge", "Of the processor.", _one(board.clock_mhz and board.clock_mhz * 1e6)
    if board.throttled is not None:
        words = ((word, "now") for word in board.throttled)
        ever = ((word, "since boot") for word in board.throttled_since_boot or ())
        held: list[_Sample] = [({"flag": word, "when": when}, 1) for word, when in (*words, *ever)]
        yield "board_flag", "gauge", "What a Raspberry Pi's firmware complains of.", held
    low: list[_Sample] = [({"when": "now"}, board.under_voltage), ({"when": "since boot"}, board.under_voltage_since_boot)]
    yield "board_under_voltage", "gauge", "Whether the supply voltage is, or was, too low.", low
