"""Metrics for Prometheus: the text is valid whatever a label holds, and is served to this machine alone."""

import contextlib
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis.strategies import floats, integers, text

from limiar.edge_app.errors import LimiarError, OutputError
from limiar.edge_app.health.prometheus import prometheus_text
from limiar.edge_app.health.publish import Exporter, Textfile, loopback
from limiar.edge_app.health.status import (
    BoardStatus,
    BundleStatus,
    ClockStatus,
    DiskStatus,
    MemoryStatus,
    Problem,
    ProcessStatus,
    SourceStatus,
    Status,
    StoreStatus,
    Totals,
    WrittenStatus,
)

# https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md, word for word.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.]+(?:e[-+]?[0-9]+)?)")
LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: bytes) -> Found:
    """A strict reader: HELP and TYPE first and once, the samples of a family together, no sample twice."""
    assert text.endswith(b"\n")
    found: Found = {}
    family, kinds = "", dict[str, str]()
    lines = iter(text.decode().split("\n")[:-1])
    for line in lines:
        if line.startswith("#"):
            about, kind = line.split(" ", 3), next(lines).split(" ")
            assert (about[1], kind[1]) == ("HELP", "TYPE")
            family = about[2]
            assert kind[2] == family
            assert re.fullmatch(NAME, family)
            assert family not in kinds, f"{family} is in two places"
            assert kind[3] in ("gauge", "counter")
            assert (kind[3] == "counter") == family.endswith("_total")
            kinds[family] = kind[3]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        assert sample[1] == family, line
        labels = tuple((name, unescaped(value)) for name, value in LABELS.findall(sample[2] or ""))
        assert len({name for name, _ in labels}) == len(labels)
        assert (family, labels) not in found, f"{line} is there twice"
        found[family, labels] = float(sample[5])
    return found


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], value)


def whole(name: str = "inbox", code: str = "E-IMAGE-EMPTY", decision: str = "pos") -> Status:
    """A status with every part."""
    flags = ("under-voltage", "throttled")
    return Status(
        running=True,
        app="limiar 0.1.0",
        boot_id="b",
        uptime_s=3.5,
        problems=(Problem("failed", code, "met"),),
        bundle=BundleStatus(name=name, version="1", sha256="ab", counter=3, file="int8", runtime="litert 2", verified="bundle"),
        sources=(SourceStatus(name=name, kind="folder", state="ok", answered=2), SourceStatus(name="other", kind="camera")),
        totals=Totals(answered=2, refused={code: 1}, decisions={decision: 2}, refer_rate_window=0.25, infer_s=0.004),
        store=StoreStatus(path="results.db", entries=3, bytes=4096, wal_bytes=0),
        disk=DiskStatus(free_bytes=10, total_bytes=20),
        written=WrittenStatus(bytes=8192),
        memory=MemoryStatus(rss_bytes=1, pss_bytes=None, descriptors=3, threads=1, processes=2),
        board=BoardStatus(temperature_c=48.5, clock_mhz=1500, throttled=(), throttled_since_boot=flags, under_voltage=False),
        clock=ClockStatus(trusted=False, why="1970", jumps=1),
        processes=(ProcessStatus(name="classifier 1", state="running", restarts=2),),
    )


def test_every_part_of_a_status_is_a_metric_in_base_units() -> None:
    found = parsed(prometheus_text(whole()))
    assert found["limiar_source_answers_total", (("source", "inbox"), ("kind", "folder"))] == 2
    assert found["limiar_source_state", (("source", "inbox"), ("kind", "folder"), ("state", "ok"))] == 1
    assert found["limiar_source_state", (("source", "inbox"), ("kind", "folder"), ("state", "failed"))] == 0
    assert found["limiar_refusals_total", (("code", "E-IMAGE-EMPTY"),)] == 1
    assert found["limiar_answers_total", (("decision", "pos"),)] == 2
    assert found["limiar_inference_seconds_total", ()] == 0.004
    assert found["limiar_board_clock_hertz", ()] == 1.5e9
    assert found["limiar_board_flag", (("flag", "throttled"), ("when", "since boot"))] == 1
    assert found["limiar_board_under_voltage", (("when", "now"),)] == 0
    assert found["limiar_clock_trusted", ()] == 0
    assert found["limiar_problems", (("level", "failed"),)] == 1
    assert found["limiar_process_restarts_total", (("process", "classifier 1"),)] == 2
    assert ("limiar_memory_pss_bytes", ()) not in found  # it is not known


def test_a_metric_that_is_not_known_is_left_out() -> None:
    nothing = Status(running=False, app="limiar 0.1.0", clock=ClockStatus(trusted=True, why="NTP"))
    assert {name for name, _ in parsed(prometheus_text(nothing))} == {
        *("limiar_info", "limiar_up", "limiar_problems", "limiar_not_assessable_total", "limiar_inference_seconds_total"),
        *("limiar_clock_trusted", "limiar_clock_jumps_total", "limiar_drift_warnings"),
    }


@given(text())
@example("\\")
@example('"} 1')
@example("a\nlimiar_up 0")
@example("\ud800\x1b[31m\x85\u2028")
def test_no_name_can_break_a_line(name: str) -> None:
    found = parsed(prometheus_text(whole(name, name, name)))
    assert found["limiar_up", ()] == 1


@given(floats(allow_nan=False, allow_infinity=False), integers(min_value=0, max_value=1 << 63))
def test_numbers_of_any_size_are_valid(seconds: float, count: int) -> None:
    status = msgspec.structs.replace(whole(), uptime_s=seconds, written=WrittenStatus(bytes=count))
    found = parsed(prometheus_text(status))
    assert (found["limiar_uptime_seconds", ()], found["limiar_written_bytes_total", ()]) == (seconds, float(count))


def test_the_docs_list_every_metric_and_no_other(project: Path) -> None:
    memory = MemoryStatus(rss_bytes=1, pss_bytes=1, descriptors=3, threads=1, processes=2)
    sources = (SourceStatus(name="inbox", kind="folder", last_age_s=1),)
    store = StoreStatus(path="results.db", entries=1, commit_age_s=1)
    everything = msgspec.structs.replace(whole(), memory=memory, sources=sources, store=store)
    listed = re.findall(r"^\| `(limiar_\w+)", (project / "docs" / "health.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({name for name, _ in parsed(prometheus_text(everything))})


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """One that is turned by another thread, as the service's loop turns it."""
    done = threading.Event()
    with Exporter("127.0.0.1:0", whole) as one:
        loop = threading.Thread(target=lambda: turn_until(one, done))
        loop.start()
        yield one
        done.set()
        loop.join()


def turn_until(exporter: Exporter, done: threading.Event) -> None:
    while not done.wait(0.005):
        exporter.turn()


def asked(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_prometheus_gets_its_metrics(exporter: Exporter) -> None:
    with urllib.request.urlopen(f"http://localhost:{exporter.port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert parsed(answer.read())["limiar_up", ()] == 1


def test_healthz_says_what_has_failed(exporter: Exporter) -> None:
    with pytest.raises(urllib.error.HTTPError, match="503") as met:
        urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/healthz", timeout=20)
    assert met.value.read() == b"E-IMAGE-EMPTY\n"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: example.org\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost.example.org\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ],
)
def test_only_two_addresses_are_served(exporter: Exporter, request_head: bytes, status: bytes) -> None:
    assert asked(exporter.port, request_head).split(b" ")[1] == status


def test_a_request_that_is_too_long_is_dropped(exporter: Exporter) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert asked(exporter.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + bytes(1 << 20)) == b""


def test_slow_clients_are_dropped_and_do_not_keep_others_out() -> None:
    now = [0.0]
    with Exporter("127.0.0.1:0", whole, lambda: now[0]) as exporter, contextlib.ExitStack() as opened:
        for _ in range(14):  # 8 at once, the others in the kernel's queue
            opened.enter_context(socket.create_connection(("127.0.0.1", exporter.port))).sendall(b"GET /met")
            exporter.turn()
        last = opened.enter_context(socket.create_connection(("127.0.0.1", exporter.port)))
        last.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        exporter.turn()
        with pytest.raises(BlockingIOError):
            last.recv(1, socket.MSG_DONTWAIT)
        for _ in range(50):
            now[0] += 1.0
            exporter.turn()
        assert last.recv(4096, socket.MSG_DONTWAIT).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:9464", "192.168.1.2:9464", "[::]:9464", "example.org:9464", "9464", ":9464", "127.0.0.1", "127.0.0.1:65536"],
)
def test_an_address_that_others_can_reach_is_refused(listen: str) -> None:
    with pytest.raises(LimiarError, match="E-CONFIG-LISTEN"):
        loopback(listen)


def test_a_port_that_is_taken_is_refused_with_its_reason() -> None:
    with Exporter("127.0.0.1:0", whole) as one, pytest.raises(LimiarError, match="in use"):
        Exporter(f"127.0.0.1:{one.port}", whole)


def test_a_textfile_is_written_whole_once_a_minute(tmp_path: Path) -> None:
    now, made = [0.0], []
    path = tmp_path / "limiar.prom"
    textfile = Textfile(path, lambda: made.append(1) or whole(), lambda: now[0])  # type: ignore[func-returns-value]
    for now[0] in (0.0, 30.0, 59.0, 61.0):
        textfile.turn()
    assert parsed(path.read_bytes())["limiar_up", ()] == 1
    assert len(made) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["limiar.prom"]


def test_a_textfile_that_cannot_be_written_says_so_each_time_it_is_due(tmp_path: Path) -> None:
    textfile = Textfile(tmp_path / "none" / "limiar.prom", whole)
    with pytest.raises(OutputError, match="E-OUTPUT-WRITE"):
        textfile.turn()
    textfile.turn()


def test_a_textfile_that_node_exporter_would_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimiarError, match="E-CONFIG-TEXTFILE"):
        Textfile(tmp_path / "limiar.txt", whole)
