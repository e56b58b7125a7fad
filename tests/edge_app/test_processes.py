"""Which process loads what: the one that keeps the store stays small, and nothing in it can crash or hang."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

RUNTIMES = {"ai_edge_litert", "onnxruntime", "tflite_runtime"}
LIBRARIES = {"numpy", "PIL", "cv2", "simplejpeg"} | RUNTIMES


@contextmanager
def running(state: Path, *arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The real command, in its own process group, which is ended with the block."""
    command = [sys.executable, "-P", "-m", "limiar", *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "LIMIAR_STATE": str(state)}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def loaded(pid: int) -> set[str]:
    """The libraries whose compiled code a process has in memory."""
    folders = {part for line in Path(f"/proc/{pid}/maps").read_text().splitlines() for part in line.split("/")[1:]}
    return folders & LIBRARIES


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_process_of_a_scan_that_keeps_the_store_has_one_thread_and_no_library_that_reads_images(
    tiny_path: Path, images: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "state", "scan", tiny_path, "-", "--workers", "2") as scan:
        for path in sorted(images.iterdir())[:3]:
            scan.stdin.write(os.fsencode(path) + b"\n")
            scan.stdin.flush()
            assert b'"decision"' in scan.stdout.readline()  # it waits for the next path
        assert loaded(scan.pid) == set()
        assert threads(scan.pid) == 1
        workers = children(scan.pid)
        assert len(workers) == 2
        assert any(loaded(worker) & RUNTIMES for worker in workers)


def test_neither_the_process_of_a_watch_nor_that_which_looks_at_the_folder_has_a_library_that_reads_images(
    tiny_path: Path, images: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "state", "watch", tiny_path, images) as watch:
        assert b'"decision"' in watch.stdout.readline()
        assert loaded(watch.pid) == set()
        assert threads(watch.pid) == 1
        looking, worker = sorted(children(watch.pid), key=lambda pid: len(loaded(pid)))
        assert (loaded(looking), threads(looking)) == (set(), 1)
        assert loaded(worker) & RUNTIMES


def test_the_process_of_a_camera_that_keeps_the_store_has_one_thread_and_neither_a_camera_nor_a_runtime(
    tiny_path: Path, tmp_path: Path
) -> None:
    video = tmp_path / "a_minute.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for seed in range(600):
        writer.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    with running(tmp_path / "state", "camera", tiny_path, f"video:{video}", "--realtime") as camera:
        assert b'"decision"' in camera.stdout.readline()
        assert loaded(camera.pid) == set()
        assert threads(camera.pid) == 1
        answering, capture = sorted(children(camera.pid))
        assert loaded(answering) & RUNTIMES
        assert "cv2" in loaded(capture)
        assert not loaded(capture) & RUNTIMES
