"""A camera of the service: real processes, and a real HTTP server as the camera."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Said, Trouble
from limiar.edge_app.inference.session import Session
from limiar.edge_app.service import camera_child
from limiar.edge_app.service.camera_child import CameraChild
from network_camera import NetworkCamera

Kind = TypeVar("Kind", bound=Said)


class Watched:
    """A camera child and all that it has said."""

    def __init__(self, child: CameraChild) -> None:
        self.child = child
        self.said: list[Said] = []

    def until(self, holds: Callable[[], object], limit_s: float = 30.0) -> None:
        """Listens until something holds."""
        end = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end, self.said[-3:]
            self.said += self.child.turn()
            time.sleep(0.01)

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [said for said in self.said if isinstance(said, kind)]


Start = Callable[..., Watched]


@pytest.fixture
def start(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[Start]:
    """Starts a camera of the service."""
    children: list[CameraChild] = []

    def begin(source: str, after: int = 0, **settings: object) -> Watched:
        wanted = CameraSettings("door", source, **{"agree": 1, "of": 1, "every_s": 0.0, **settings})
        children.append(CameraChild(wanted, Session(tiny_bundle).model, tmp_path / "frames", after))
        children[-1].start()
        return Watched(children[-1])

    yield begin
    for child in children:
        child.kill()


def test_a_camera_decides_once_k_frames_agree_and_says_which(start: Start) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, agree=3, of=5)
        watched.until(lambda: watched.all(Decided))
    first = watched.all(Decided)[0]
    assert first.source == "door"
    assert first.changed
    assert first.vote.agreeing == 3
    assert first.vote.decision == first.answer.decision
    assert first.vote.first < first.vote.last == first.sequence
    assert first.answer.time == first.taken
    assert first.kept is None


def test_a_decision_that_stays_the_same_is_not_sent_again_before_its_time(start: Start) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, every_s=1000.0)
        watched.until(lambda: sum(beat.frames for beat in watched.all(Beat)) >= 30)
    decisions = [said.vote.decision for said in watched.all(Decided)]
    assert all(one != other for one, other in itertools.pairwise(decisions))


def test_the_numbers_of_frames_go_on_after_the_last_one_of_this_boot(start: Start) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, after=1000)
        watched.until(lambda: len(watched.all(Decided)) >= 3)
        watched.child.end()
        watched.child.start()
        count = len(watched.all(Decided))
        watched.until(lambda: len(watched.all(Decided)) > count)
    numbers = [said.sequence for said in watched.all(Decided)]
    assert numbers[0] > 1000
    assert numbers == sorted(set(numbers))


def test_a_camera_that_goes_is_told_once_and_is_watched_again_when_it_is_back(start: Start) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address)
        watched.until(lambda: watched.all(Decided))
        camera.does = "closed"
        watched.until(lambda: watched.all(Trouble))
        watched.until(lambda: watched.all(Trouble)[-1].code == "E-SOURCE-BUSY")
        time.sleep(2.0)
        watched.until(lambda: not watched.all(Beat)[-1].watching)
        camera.does, count = "live", len(watched.all(Decided))
        watched.until(lambda: len(watched.all(Decided)) > count)
        watched.until(lambda: watched.all(Beat)[-1].watching)
    codes = [said.code for said in watched.all(Trouble)]
    assert codes == ["E-SOURCE-READ", "E-SOURCE-BUSY"]


def test_a_black_picture_is_refused_with_its_code_and_decides_nothing(start: Start) -> None:
    with NetworkCamera() as camera:
        camera.does = "black"
        watched = start(camera.address)
        watched.until(lambda: any(beat.refused for beat in watched.all(Beat)))
    refused = next(beat.refused for beat in watched.all(Beat) if beat.refused)
    assert set(refused) == {"E-IMAGE-BLACK"}
    assert not watched.all(Decided)


def test_a_process_that_falls_silent_is_lost_and_can_be_started_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_child, "SILENT_S", 2.5)  # what is tested is that patience ends
    with NetworkCamera() as camera:
        watched = start(camera.address)
        watched.until(lambda: watched.all(Decided))
        os.kill(watched.child.pid, signal.SIGSTOP)
        watched.until(lambda: not watched.child.running)
        assert watched.all(Trouble)[-1].code == "E-SERVICE-CAMERA"
        count = len(watched.all(Decided))
        watched.child.start()
        watched.until(lambda: len(watched.all(Decided)) > count)


def test_a_process_that_is_killed_is_lost_at_once_and_leaves_no_process(start: Start) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address)
        watched.until(lambda: watched.all(Decided))
        pid = watched.child.pid
        left = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        assert len(left) == 2
        os.kill(pid, signal.SIGKILL)
        watched.until(lambda: not watched.child.running)
        assert "ended with -9" in watched.all(Trouble)[-1].message
        watched.until(lambda: not any(alive(process) for process in left))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
