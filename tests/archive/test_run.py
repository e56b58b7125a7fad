"""Chunks on many processes: whatever is killed, each is done once, and nothing is left behind."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from distributed import Security

from limiar.edge_app.archive import dask_driver
from limiar.edge_app.archive.dask_driver import Tls
from limiar.edge_app.archive.make_plan import plan_archive
from limiar.edge_app.archive.run import run_archive
from limiar.edge_app.errors import ArchiveError
from limiar.edge_app.health.sensors import tree

Draw = Callable[..., list[Path]]
CHUNKS = 6


@pytest.fixture
def planned(tmp_path: Path, bundle: Path, draw: Draw) -> Path:
    """An archive of six chunks."""
    paths = draw(tmp_path / "images", CHUNKS * 10)
    plan_archive(tmp_path / "work", bundle, [os.fsencode(path) for path in paths], chunk_images=10)
    return tmp_path / "work"


def answers(out: Path) -> list[tuple[object, ...]]:
    """What was answered, in order of the plan."""
    tables = [
        pq.read_table(path, columns=["chunk", "row", "sha256", "decision", "confidence"]) for path in (out / "done").iterdir()
    ]
    return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())


def started(planned: Path, tmp_path: Path) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-P",
        "-m",
        "limiar",
        "archive",
        "run",
        planned,
        "--workers",
        "2",
        "--scratch",
        tmp_path / "scratch",
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, process_group=0)


def below(pid: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    return list(tree(pid))[1:]


def until(there: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def scans(pid: int) -> list[int]:
    """Those that work; the first is no worker of another."""
    found = []
    for number in below(pid):
        with contextlib.suppress(OSError):  # it has ended
            found += [number] if b"scan" in Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0") else []
    return found


@contextlib.contextmanager
def held(pid: int) -> Iterator[None]:
    """Waits for scans, which get no further meanwhile: their chunks are not done."""
    stopped = set()

    def stop() -> bool:
        for number in scans(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGSTOP)
                stopped.add(number)
        return bool(scans(pid))

    try:
        until(stop)
        yield
    finally:
        for number in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGCONT)


def spoken_to(pid: int) -> set[str]:
    """What the ports that a process and its children listen on answer to HTTP; all are for this machine alone."""
    heard = set()
    sockets = {name for number in (pid, *below(pid)) for name in descriptors(number)}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, address, _, state, *_, inode = line.split()[:10]
        if state == "0A" and f"socket:[{inode}]" in sockets:
            host, port = address.split(":")
            assert host == "0100007F"
            for path in ("/", "/health", "/metrics", "/info/main/workers.html"):
                with contextlib.suppress(OSError, http.client.HTTPException):  # TLS
                    connection = http.client.HTTPConnection("127.0.0.1", int(port, 16), timeout=60)
                    connection.request("GET", path)
                    heard.add(f"GET {path} {connection.getresponse().status}")
    return heard


def descriptors(number: int) -> set[str]:
    """What a process has open."""
    found = set()
    with contextlib.suppress(OSError):  # it has ended
        for link in Path(f"/proc/{number}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(link))
    return found


def gone(numbers: list[int]) -> bool:
    return not any(Path(f"/proc/{number}/exe").exists() for number in numbers)


def test_two_workers_give_what_one_process_gives_and_a_second_run_does_nothing(
    tmp_path: Path, bundle: Path, planned: Path, limiar: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    told = []
    first = run_archive(planned, workers=2, progress=told.append)
    assert (first.fresh, first.done, first.failed, first.stopped) == (CHUNKS, CHUNKS, {}, False)
    assert [how.done for how in told] == sorted(how.done for how in told)
    again = limiar("archive", "run", planned, "--workers", "2")
    assert again.returncode == 0
    assert b"0 chunks done" in again.stderr
    alone = tmp_path / "alone"
    plan_archive(alone, bundle, [os.fsencode(path) for path in sorted((tmp_path / "images").iterdir())], chunk_images=10)
    assert limiar("archive", "run", alone).returncode == 0
    assert limiar("archive", "run", alone).stderr == b"nothing to do: every chunk is done\n"
    assert answers(planned) == answers(alone)
    assert len(answers(planned)) == CHUNKS * 10


def test_a_killed_worker_costs_time_and_no_chunk(tmp_path: Path, planned: Path) -> None:
    with started(planned, tmp_path) as process:
        with held(process.pid):
            scan = scans(process.pid)[0]
            worker = int(Path(f"/proc/{scan}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(worker, signal.SIGKILL)
        until(lambda: gone([scan]))
        assert process.stderr
        said = process.stderr.read()
        assert process.wait(120) == 0, said
    assert len(answers(planned)) == CHUNKS * 10
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_takes_its_processes_along_and_the_next_one_goes_on(
    tmp_path: Path, planned: Path, by: signal.Signals
) -> None:
    with started(planned, tmp_path) as process:
        with held(process.pid):  # or a fast machine may do all chunks while others are busy with their answers
            there, heard = below(process.pid), spoken_to(process.pid)
            os.killpg(process.pid, by)  # as a terminal does: the workers are not in its group
        assert heard == {"GET / 404", "GET /health 404", "GET /metrics 404", "GET /info/main/workers.html 404"}
        assert process.stderr
        said = process.stderr.read()
        status = process.wait(120)
        assert status == (130 if by == signal.SIGINT else -9)
        assert said.count(b"\n") == (1 if by == signal.SIGINT else 0), said
        until(lambda: gone(there))
    outcome = run_archive(planned, workers=2, scratch=tmp_path / "scratch")
    assert (outcome.done, outcome.failed) == (CHUNKS, {})
    assert len(answers(planned)) == CHUNKS * 10
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_chunk_that_cannot_be_done_is_told_with_its_code_and_the_others_are_done(
    planned: Path, limiar: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    listed = next((planned / "chunks").rglob("000002.list"))
    listed.write_bytes(listed.read_bytes() + b"/one/more.png\0")
    found = limiar("archive", "run", planned, "--workers", "2")
    assert found.returncode == 1
    assert b"chunk 2: E-PLAN-DAMAGED" in found.stderr
    assert len(answers(planned)) == (CHUNKS - 1) * 10


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "192.0.2.1:8786", "tls://192.0.2.1:8786"])
def test_a_scheduler_on_another_machine_is_not_spoken_to_without_tls(planned: Path, address: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        run_archive(planned, scheduler=address)
    assert caught.value.code == "E-DASK-TLS"


class Started(NamedTuple):
    """What `dask scheduler` and `dask worker` started."""

    address: str
    tls: Tls
    scheduler: "subprocess.Popen[bytes]"
    worker: "subprocess.Popen[bytes]"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Started]:
    """A scheduler with one worker, that speak TLS alone."""
    made = Security.temporary()
    files = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    paths = {name: tmp_path / f"{name}.pem" for name in files}
    for name, text in files.items():
        paths[name].write_text(text)
    words = ["--tls-ca-file", paths["ca"], "--tls-cert", paths["cert"], "--tls-key", paths["key"]]
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-P", "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    where = ["--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with subprocess.Popen([*dask, "scheduler", *words, *where], **quiet) as scheduler:
        until(lambda: file.exists() and file.stat().st_size > 0)
        worker_words = ["--scheduler-file", file, "--no-dashboard", "--nthreads", "1", "--local-directory", tmp_path]
        with subprocess.Popen([*dask, "worker", *words, *worker_words], **quiet) as worker:
            tls = Tls(paths["ca"], paths["cert"], paths["key"])
            yield Started(json.loads(file.read_text())["address"], tls, scheduler, worker)
            worker.kill()
        scheduler.kill()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--workers", "1", "--scratch", "/proc/none"], 1, b"E-OUTPUT-WRITE: /proc/none: "),
        (["--scheduler", "tls://127.0.0.1:9", "--tls-ca", "a.pem", "--tls-cert", "b.pem", "--tls-key", "c.pem"], 1, b"'a.pem'"),
        (["--tls-ca", "a.pem", "--tls-cert", "b.pem", "--tls-key", "c.pem"], 2, b"--scheduler"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_by_its_name(
    planned: Path, limiar: "Callable[..., subprocess.CompletedProcess[bytes]]", words: list[str], status: int, said: bytes
) -> None:
    done = limiar("archive", "run", planned, *words)
    assert (done.returncode, said in done.stderr) == (status, True)
    assert list((planned / "done").iterdir()) == []


def test_a_running_cluster_does_the_chunks_by_tls_with_certificates_of_both_sides(planned: Path, cluster: Started) -> None:
    address, tls, *_ = cluster
    with pytest.raises(ArchiveError) as caught:
        run_archive(planned, scheduler=address.replace("tls://", "tcp://"))
    assert caught.value.code == "E-DASK-START"
    outcome = run_archive(planned, scheduler=address, tls=tls)
    assert (outcome.done, outcome.failed) == (CHUNKS, {})
    assert len(answers(planned)) == CHUNKS * 10


def test_a_scheduler_that_is_lost_is_told_in_one_line_and_what_was_done_stays_done(planned: Path, cluster: Started) -> None:
    files = ["--tls-ca", cluster.tls.authority, "--tls-cert", cluster.tls.certificate, "--tls-key", cluster.tls.key]
    command = [sys.executable, "-P", "-m", "limiar", "archive", "run", planned, "--scheduler", cluster.address, *files]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        until(lambda: bool(list((planned / "done").glob("*.parquet"))))
        cluster.scheduler.kill()
        assert process.stderr
        said = process.stderr.read()
        assert process.wait(120) == 1
    assert said.startswith(b"E-DASK-LOST: ")
    assert said.count(b"\n") == 1, said
    at_work = below(cluster.worker.pid)
    cluster.worker.kill()
    until(lambda: gone(at_work))  # they do no further chunk once these are counted
    there = len(list((planned / "done").glob("*.parquet")))
    assert run_archive(planned, workers=2).fresh == CHUNKS - there < CHUNKS


def test_a_scheduler_without_a_worker_is_not_waited_for_without_end(
    planned: Path, cluster: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.worker.kill()
    cluster.worker.wait()
    monkeypatch.setattr(dask_driver, "_START_S", 2.0)
    with pytest.raises(ArchiveError) as caught:
        run_archive(planned, scheduler=cluster.address, tls=cluster.tls)
    assert caught.value.code == "E-DASK-START"
