"""A worker may be lost at any time: it is replaced, every image is answered or refused by code, and none outlives the scan."""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limiar.edge_app.system.channel import ParentEnd, WorkerEnd, channel

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@contextlib.contextmanager
def scanning(script: str, *words: object, **options: object) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-P", "-c", script, "scan", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as scan:  # type: ignore[call-overload]
        try:
            yield scan
        finally:
            scan.kill()


def ended(scan: "subprocess.Popen[bytes]", images: Path) -> list[str]:
    """The codes of the refused images; every image has its line, and nothing is said but the last line."""
    out, err = scan.communicate(timeout=120)
    assert scan.returncode in (0, 4), err
    assert err.count(b"\n") == 1, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [Path(line["path"]).name for line in lines] == sorted(path.name for path in images.iterdir())
    return [line["code"] for line in lines if line["decision"] == "refused"]


# Workers each of which is killed at any moment of its work on one of its first 150 images, twelve of them in all. The alarm's
# default ends a process as SIGKILL does; the image that sets it is counted, so that it hits work on a machine of any speed.
AT_ANY_TIME = """
import os, random, signal
import limiar.edge_app.scan.worker
real = limiar.edge_app.scan.worker.decode
left = None
def counted(*given, **named):
    global left
    if left is None:
        rng = random.Random(f"{SEED} {len(os.listdir(MARKS))}")
        left, counted.delay_s = rng.randrange(150), rng.uniform(1e-6, 2e-3)
    if left == 0 and len(os.listdir(MARKS)) < TIMES:
        open(os.path.join(MARKS, str(os.getpid())), "w").close()
        signal.setitimer(signal.ITIMER_REAL, counted.delay_s)
    left -= 1
    return real(*given, **named)
limiar.edge_app.scan.worker.decode = counted
from limiar.edge_app.cli import main
main()
"""


def test_workers_that_are_killed_again_and_again_are_replaced(tiny_path: Path, many_images: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    marks = tmp_path / "marks"
    marks.mkdir()
    script = f"MARKS, TIMES, SEED = {str(marks)!r}, 12, {seed}\n{AT_ANY_TIME}"
    with scanning(script, tiny_path, many_images, "--workers", "2", "--db", tmp_path / "r.db") as scan:
        assert set(ended(scan, many_images)) <= {"E-IMAGE-CRASH"}
    assert len(list(marks.iterdir())) >= 12


# Workers whose first sending of outcomes ends, or stops, halfway: by a mark in a folder, once for each.
HALFWAY = """
import os, signal, sys, time
import limiar.edge_app.scan.worker, limiar.edge_app.scan.pool
from limiar.edge_app.system.channel import _LENGTH, WorkerEnd
limiar.edge_app.scan.pool._IMAGE_S = 1.5
marks, way = sys.argv.pop(1), sys.argv.pop(1)
whole = WorkerEnd.send
def half(self, message):
    if len(message) > 200 and len(os.listdir(marks)) < 3:
        open(os.path.join(marks, str(os.getpid())), "w").close()
        data = _LENGTH.pack(len(message)) + message
        self._end.sendall(data[:5] if len(os.listdir(marks)) == 1 else data[: len(data) // 2])
        if way == "garbage":
            whole(self, b"\\xc1" * 100)
        os.kill(os.getpid(), signal.SIGSTOP if way == "stopped" else signal.SIGKILL)
    whole(self, message)
WorkerEnd.send = half
from limiar.edge_app.cli import main
main()
"""


@pytest.mark.parametrize("way", ["killed", "stopped", "garbage"])
def test_a_worker_that_is_lost_in_the_middle_of_a_message_is_replaced(
    tiny_path: Path, images: Path, tmp_path: Path, way: str
) -> None:
    (tmp_path / "marks").mkdir()
    script = HALFWAY.replace("sys.argv.pop(1), sys.argv.pop(1)", repr((str(tmp_path / "marks"), way)))
    with scanning(script, tiny_path, images, "--db", tmp_path / "r.db") as scan:
        assert set(ended(scan, images)) <= {"E-IMAGE-CRASH", "E-IMAGE-TIMEOUT"}
    assert len(list((tmp_path / "marks").iterdir())) == 3


# A worker that computes 0.5 s over one image, where it may compute 1 s; beside it another process wants its processor.
STARVED = """
import os, time
import limiar.edge_app.scan.worker, limiar.edge_app.scan.pool
limiar.edge_app.scan.pool._IMAGE_S = 1.0
real = limiar.edge_app.scan.worker.decode
def slow(*given, **named):
    if not given[1].endswith("00003.png"):
        return real(*given, **named)
    here = min(os.sched_getaffinity(0))
    parent = os.getpid()
    os.sched_setaffinity(0, {here})
    if os.fork() == 0:
        while os.getppid() == parent:
            pass
        os._exit(0)
    os.nice(12)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    if HANGS:
        time.sleep(100)
    return real(*given, **named)
limiar.edge_app.scan.worker.decode = slow
from limiar.edge_app.cli import main
main()
"""


def test_a_machine_that_is_busy_with_other_things_is_not_the_image_s_fault(
    tiny_path: Path, images: Path, tmp_path: Path
) -> None:
    with scanning(f"HANGS = False\n{STARVED}", tiny_path, images, "--db", tmp_path / "r.db") as scan:
        assert ended(scan, images) == []
    with scanning(f"HANGS = True\n{STARVED}", tiny_path, images, "--db", tmp_path / "r2.db") as scan:  # the control
        assert ended(scan, images) == ["E-IMAGE-TIMEOUT"]


# A worker that is killed while it loads, as often as argv says.
LOADING = """
import os, signal
from limiar.edge_app.inference import classifier
real = classifier.open_checked
def lost(*given, **named):
    os.makedirs(MARKS, exist_ok=True)
    if len(os.listdir(MARKS)) < TIMES:
        open(os.path.join(MARKS, str(os.getpid())), "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
classifier.open_checked = lost
from limiar.edge_app.cli import main
main()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_while_it_loads_is_replaced(tiny_path: Path, images: Path, tmp_path: Path, times: int) -> None:
    script = f"MARKS, TIMES = {str(tmp_path / 'marks')!r}, {times}\n{LOADING}"
    with scanning(script, tiny_path, images, "--db", tmp_path / "r.db") as scan:
        assert ended(scan, images) == []


def test_a_model_that_ends_every_worker_that_loads_it_is_one_line(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    script = f"MARKS, TIMES = {str(tmp_path / 'marks')!r}, 99\n{LOADING}"
    with scanning(script, tiny_path, images, "--db", tmp_path / "r.db") as scan:
        out, err = scan.communicate(timeout=120)
    assert (scan.returncode, out, err.count(b"\n")) == (3, b"", 1)
    assert err.startswith(b"E-RUNTIME-START: ")
    assert len(list((tmp_path / "marks").iterdir())) == 3


# A disk from which a task's files take longer than an image may.
SLOW_DISK = """
import time
import limiar.edge_app.scan.pool, limiar.edge_app.scan.worker
limiar.edge_app.scan.pool._IMAGE_S = 2.0
real = limiar.edge_app.scan.worker._read
def slow(path, follow):
    time.sleep(0.15)
    return real(path, follow)
limiar.edge_app.scan.worker._read = slow
fork = limiar.edge_app.scan.pool.fork_worker
def again():
    print("a worker was replaced", flush=True)
    return fork()
limiar.edge_app.scan.pool.fork_worker = again
from limiar.edge_app.cli import main
main()
"""


def test_a_slow_disk_costs_no_worker(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    with scanning(SLOW_DISK, tiny_path, images, "--db", tmp_path / "r.db") as scan:
        assert ended(scan, images) == []


# Workers that take their time, and say once that they are at work.
SLOW = """
import os, time
import limiar.edge_app.scan.worker
real = limiar.edge_app.scan.worker.decode
def slow(*given, **named):
    open(os.path.join(MARKS, str(os.getpid())), "w").close()
    time.sleep(0.05)
    return real(*given, **named)
limiar.edge_app.scan.worker.decode = slow
from limiar.edge_app.cli import main
main()
"""
CLOSED = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: ",".join(map(str, closed)) or "none")
@pytest.mark.parametrize("at", ["loading", "working"])
def test_no_worker_outlives_its_parent_whatever_was_closed_at_its_start(
    tiny_path: Path, many_images: Path, tmp_path: Path, closed: tuple[int, ...], at: str
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    script = f"MARKS = {str(marks)!r}\n{SLOW}"
    words = ["scan", tiny_path, many_images, "--workers", "2", "--db", tmp_path / "r.db"]
    command = [sys.executable, "-P", "-c", script, *words]

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    with open(os.devnull, "r+b") as null:
        scan = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, preexec_fn=close)
        workers: list[int] = []
        end = time.monotonic() + 120
        while (len(workers) < 2 or (at == "working" and len(list(marks.iterdir())) < 2)) and time.monotonic() < end:
            time.sleep(0.005)
            workers = children(scan.pid)
        assert scan.poll() is None
        scan.kill()
        scan.wait()
    assert len(workers) == 2
    end = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


# The channel itself.


@pytest.fixture
def ends() -> Iterator[tuple[ParentEnd, WorkerEnd]]:
    parent, worker = channel()
    with contextlib.closing(parent), contextlib.closing(worker):
        yield parent, worker


def test_messages_arrive_whole_and_in_order_however_they_are_cut(ends: tuple[ParentEnd, WorkerEnd]) -> None:
    parent, worker = ends
    messages = [b"", b"a", bytes(100_000), b"b" * 1_000_000, b"end"]
    sender = threading.Thread(target=lambda: [worker.send(message) for message in messages])
    sender.start()
    received: list[bytes] = []
    while len(received) < len(messages):
        received += parent.receive()
    sender.join()
    assert received == messages


def test_the_parent_never_waits_for_a_worker_that_reads_nothing(ends: tuple[ParentEnd, WorkerEnd]) -> None:
    parent, worker = ends
    parent.send(bytes(10_000_000))
    assert parent.unsent
    assert parent.receive() == []
    reader: list[bytes] = []
    thread = threading.Thread(target=lambda: reader.append(worker.receive()))
    thread.start()
    while parent.unsent:
        parent.flush()
    thread.join()
    assert reader == [bytes(10_000_000)]


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0" * 7 + b"\5abc", b"\xff" * 8])
def test_an_end_in_the_middle_of_a_message_is_an_end(ends: tuple[ParentEnd, WorkerEnd], sent: bytes) -> None:
    parent, worker = ends
    worker._end.sendall(sent)
    worker.close()
    with pytest.raises(EOFError):  # noqa: PT012  # what has come is read first
        while True:
            assert parent.receive() == []
    parent.send(b"to nobody")
    assert not parent.unsent


@pytest.mark.parametrize("words", [("--help",), (), ("none", "none.png")], ids=["help", "usage", "refused"])
def test_the_worker_that_is_started_before_the_options_are_read_ends_with_the_command(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "scan", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as scan:
        scan.communicate(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.killpg(scan.pid, 0)
