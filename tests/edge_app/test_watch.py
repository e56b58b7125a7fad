"""`limiar watch`: real folders, the real command."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import limiar as api
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.scan.scan import Scan, open_scan

LONG_S = 60.0  # for what takes 3 s on a machine with nothing else to do
Draw = Callable[..., list[Path]]
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


class Watch:
    """A running `limiar watch`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.at_s: dict[str, float] = {}  # when a name's last line came
        self.notes = b""
        self._threads = [threading.Thread(target=self._read_lines), threading.Thread(target=self._read_notes)]
        for thread in self._threads:
            thread.start()

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            self.at_s[Path(self.lines[-1]["path"]).name] = time.monotonic()

    def _read_notes(self) -> None:
        for note in self.process.stderr:
            self.notes += note

    def names(self) -> list[str]:
        return [Path(line["path"]).name for line in self.lines]

    def wait(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + LONG_S
        while not holds():
            assert time.monotonic() < end, (self.names(), self.notes)
            assert self.process.poll() is None, self.notes
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(LONG_S)
        for thread in self._threads:
            thread.join()
        return status


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    with contextlib.ExitStack() as started:

        def start(*words: str | Path) -> Watch:
            command = [sys.executable, "-P", "-m", "limiar", "watch", *map(str, words)]
            environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = started.enter_context(subprocess.Popen(command, env=environment, **pipes))
            started.callback(process.kill)
            return Watch(process)

        yield start


def test_what_is_there_comes_first_then_what_arrives_or_changes(
    tiny_path: Path, tmp_path: Path, draw: Draw, watching: Callable[..., Watch]
) -> None:
    inbox, other = tmp_path / "inbox", tmp_path / "other"
    draw(inbox, 5)
    draw(other, 3, seed=1)
    (inbox / ".hidden.png").write_bytes(b"x")
    watch = watching(tiny_path, inbox)
    watch.wait(lambda: len(watch.lines) == 5)
    assert watch.names() == [f"{index:05d}.png" for index in range(5)]

    shutil.copy(other / "00000.png", inbox / "new.png")
    (other / "00001.png").rename(inbox / "moved.png")
    arrived_s = time.monotonic()
    watch.wait(lambda: {"new.png", "moved.png"} <= set(watch.names()))
    for name in ("new.png", "moved.png"):
        print(f"{name} was answered after {watch.at_s[name] - arrived_s:.2f} s")
    shutil.copy(other / "00002.png", inbox / "00003.png")
    watch.wait(lambda: watch.names().count("00003.png") == 2)

    assert watch.end() == 128 + signal.SIGTERM
    assert len(watch.lines) == 8
    assert not any(line["stored"] for line in watch.lines)
    before, after = (line["sha256"] for line in watch.lines if line["path"].endswith("00003.png"))
    assert before != after
    assert b"passed over in " in watch.notes
    assert b"1 hidden" in watch.notes


def test_the_lines_are_those_of_a_scan_and_a_stored_answer_is_not_run_again(
    tiny_path: Path, images: Path, tmp_path: Path, limiar: Limiar, watching: Callable[..., Watch]
) -> None:
    scanned = [json.loads(line) for line in limiar("scan", tiny_path, images).stdout.splitlines()]
    watch = watching(tiny_path, images)
    watch.wait(lambda: len(watch.lines) == len(scanned))
    assert watch.end(signal.SIGINT) == 128 + signal.SIGINT
    assert watch.lines == [{**line, "stored": True} for line in scanned]


def test_bad_files_are_lines_with_their_code(tiny_path: Path, tmp_path: Path, draw: Draw, limiar: Limiar) -> None:
    inbox = tmp_path / "inbox"
    draw(inbox, 1)
    whole = (inbox / "00000.png").read_bytes()
    (inbox / "cut.png").write_bytes(whole[:-30])
    (inbox / "link.png").symlink_to(inbox / "00000.png")
    (inbox / "folder.png").mkdir()
    os.mkfifo(inbox / "fifo.png")
    odd = os.fsencode(inbox) + b"/line\nbyte\xff.png"
    Path(os.fsdecode(odd)).write_bytes(whole)
    (inbox / "unread.png").write_bytes(whole)
    done = limiar("watch", tiny_path, inbox, "--seconds", "15")  # of which it takes 3 on a machine at rest
    found = {Path(line["path"]).name: line.get("code") for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 4
    assert found == {
        "00000.png": None,
        "cut.png": "E-IMAGE-TRUNCATED",
        "link.png": "E-IMAGE-LINK",
        "folder.png": "E-IMAGE-NOT-FILE",
        "fifo.png": "E-IMAGE-NOT-FILE",
        "line\nbyte\\xff.png": None,
        "unread.png": None,
    }


def test_a_folder_that_is_not_there_is_refused(tiny_path: Path, tmp_path: Path, limiar: Limiar) -> None:
    done = limiar("watch", tiny_path, tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-WATCH-MISSING: ")
    assert done.stderr.count(b"\n") == 1


def test_a_file_in_place_of_a_folder_is_refused(tiny_path: Path, tmp_path: Path, limiar: Limiar) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = limiar("watch", tiny_path, tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.startswith(b"E-WATCH-READ: ")


@pytest.mark.parametrize("second", ["inbox", "inbox/sub", ".", "inbox/../inbox"])
def test_a_folder_is_not_watched_twice(tiny_path: Path, tmp_path: Path, second: str) -> None:
    with pytest.raises(LimiarError, match="E-WATCH-TWICE"):
        api.watch(tiny_path, [tmp_path / "inbox", f"{tmp_path}/{second}"])


def test_a_folder_that_goes_and_comes_back_is_said_once_and_nothing_is_answered_twice(
    tiny_path: Path, tmp_path: Path, draw: Draw, watching: Callable[..., Watch]
) -> None:
    inbox, away = tmp_path / "inbox", tmp_path / "away"
    draw(inbox, 3)
    watch = watching(tiny_path, inbox)
    watch.wait(lambda: len(watch.lines) == 3)
    inbox.rename(away)
    watch.wait(lambda: b"E-WATCH-MISSING" in watch.notes)
    time.sleep(2)
    shutil.copy(away / "00000.png", away / "while-away.png")
    away.rename(inbox)
    watch.wait(lambda: "while-away.png" in watch.names())
    watch.end()
    assert watch.names() == ["00000.png", "00001.png", "00002.png", "while-away.png"]
    assert watch.notes.count(b"E-WATCH-MISSING") == 1
    assert watch.notes.count(b"is watched again") == 1


def test_annotated_images_in_the_watched_folder_are_not_answered(
    tiny_path: Path, tmp_path: Path, draw: Draw, limiar: Limiar
) -> None:
    inbox = tmp_path / "inbox"
    draw(inbox, 2)
    done = limiar("watch", tiny_path, inbox, "--annotate", inbox / "shown", "--seconds", "15")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(list((inbox / "shown").iterdir())) == 2


def test_the_seconds_count_from_when_the_model_is_loaded(
    tiny_path: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*given: Any, **named: Any) -> Scan:
        opened = open_scan(*given, **named)
        time.sleep(5)
        return opened

    monkeypatch.setattr("limiar.edge_app.service.watch.open_scan", slowly)
    with api.watch(tiny_path, [images], db=tmp_path / "results.db", seconds=5) as lines:
        assert len(list(lines)) == 40


def test_it_can_be_left_at_any_time_and_its_processes_end(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    before = set(children())
    for line in api.watch(tiny_path, [images], db=tmp_path / "r.db"):
        assert not line.refused
        break
    assert set(children()) <= before  # one that an earlier test left may end meanwhile


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
