"""`limiar run` with a camera: the real command, and a real HTTP server as the camera."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from network_camera import NetworkCamera

LIBRARIES = {"numpy", "PIL", "cv2", "simplejpeg", "ai_edge_litert", "onnxruntime", "tflite_runtime"}

Run = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def run(tiny_path: Path, tmp_path: Path) -> Iterator[Run]:
    """Starts the service for cameras; the state folder is tmp_path/state."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(cameras: str) -> "subprocess.Popen[bytes]":
        config = tmp_path / "limiar.toml"
        config.write_text(f'[answer]\nbundle = "{tiny_path}"\n{cameras}')
        command = [sys.executable, "-P", "-m", "limiar", "run", str(config)]
        environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
        with (tmp_path / "log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def rows(tmp_path: Path) -> list[tuple]:
    try:
        with closing(sqlite3.connect(f"file:{tmp_path}/state/results.db?mode=ro", uri=True)) as database:
            columns = "source, sequence, decision, frames, agreeing, kept, kept_sha256"
            return database.execute(f"SELECT {columns} FROM camera_results ORDER BY id").fetchall()
    except sqlite3.OperationalError:  # not there yet
        return []


def until(holds: Callable[[], object], tmp_path: Path, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
        time.sleep(0.05)


def section(name: str, address: str, **more: object) -> str:
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in more.items()]
    return "\n".join(["[[camera]]", f'name = "{name}"', f'source = "{address}"', *lines, ""])


def test_several_cameras_decide_and_their_kept_frames_are_those_of_the_rows(run: Run, tmp_path: Path) -> None:
    with NetworkCamera() as one, NetworkCamera(rate_hz=10) as other:
        service = run(
            section("door", one.address, every_s=0.2, keep="png", agree=1, of=1)
            + section("yard", other.address, every_s=0.2, keep="jpeg", agree=2, of=3)
        )
        until(lambda: {row[0] for row in rows(tmp_path)} == {"door", "yard"} and len(rows(tmp_path)) >= 10, tmp_path)
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0, (tmp_path / "log").read_text()
    found = rows(tmp_path)
    for name in ("door", "yard"):
        numbers = [row[1] for row in found if row[0] == name]
        assert numbers == sorted(set(numbers))
    for source, _, _, frames, agreeing, kept, sha256 in found:
        assert (1, 1) <= (agreeing, frames) <= (3, 3)
        path = tmp_path / "state" / "frames" / kept
        assert path.parent.name == source
        assert hashlib.sha256(path.read_bytes()).digest() == sha256


def test_the_processes_of_cameras_load_no_more_than_they_need(run: Run, tmp_path: Path) -> None:
    with NetworkCamera() as camera:
        service = run(section("door", camera.address, every_s=0.0))
        until(lambda: rows(tmp_path), tmp_path)
        assert loaded(service.pid) == set()
        (door,) = [pid for pid in children(service.pid) if len(children(pid)) == 2]
        assert loaded(door) == set()
        found = [loaded(pid) for pid in children(door)]
        assert sorted("ai_edge_litert" in libraries or "tflite_runtime" in libraries for libraries in found) == [False, True]


def test_after_kills_numbers_go_on_and_every_row_that_names_a_file_has_it(run: Run, tmp_path: Path) -> None:
    with NetworkCamera() as camera:
        door = section("door", camera.address, every_s=0.0, agree=1, of=1, keep="png")
        service = run(door)
        until(lambda: len(rows(tmp_path)) >= 3, tmp_path)
        (process,) = [pid for pid in children(service.pid) if len(children(pid)) == 2]
        os.kill(process, signal.SIGKILL)
        count = len(rows(tmp_path))
        until(lambda: len(rows(tmp_path)) > count + 3, tmp_path)
        assert service.poll() is None
        service.kill()
        service.wait()
        count = len(rows(tmp_path))
        run(door)
        until(lambda: len(rows(tmp_path)) > count + 3, tmp_path)
    numbers = [row[1] for row in rows(tmp_path)]
    assert numbers == sorted(set(numbers))
    for *_, kept, sha256 in rows(tmp_path):
        assert hashlib.sha256((tmp_path / "state" / "frames" / kept).read_bytes()).digest() == sha256


def loaded(pid: int) -> set[str]:
    """The libraries whose compiled code a process has in memory."""
    folders = {part for line in Path(f"/proc/{pid}/maps").read_text().splitlines() for part in line.split("/")[1:]}
    return folders & LIBRARIES


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
