"""A camera of the service: real processes, and a real HTTP server as the camera."""

import hashlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.camera import answering
from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Said, Trouble
from limiar.edge_app.camera.keep import keep
from limiar.edge_app.camera.messages import Roi
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.inference.classifier import Classifier, load
from limiar.edge_app.inference.session import Session
from limiar.edge_app.service import camera_child
from limiar.edge_app.service.camera_child import CameraChild
from limiar.edge_app.system.process import state as state_of
from network_camera import NetworkCamera, noise

NO_MARKS = str.maketrans("", "", "-:.")  # of a time, in a file's name
Kind = TypeVar("Kind", bound=Said)


class Watched:
    """A camera child and all that it has said."""

    def __init__(self, child: CameraChild) -> None:
        self.child = child
        self.said: list[Said] = []

    def until(self, holds: Callable[[], object], limit_s: float = 120.0) -> None:
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


def test_a_frame_that_hangs_the_model_is_refused_while_the_process_goes_on_to_beat(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_FRAME_S", 1.5)
    monkeypatch.setattr(Classifier, "answer", lambda *_: time.sleep(60))
    with NetworkCamera() as camera:
        watched = start(camera.address)
        watched.until(lambda: any(beat.refused for beat in watched.all(Beat)))
    refused = next(beat.refused for beat in watched.all(Beat) if beat.refused)
    assert set(refused) == {"E-IMAGE-TIMEOUT"}
    assert not watched.all(Trouble)
    assert watched.child.running


def test_a_model_that_cannot_be_loaded_is_trouble_and_the_process_ends(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = msgspec.structs.replace(Session(tiny_bundle).model, data=b"this is no model")
    with NetworkCamera() as camera:
        watched = Watched(CameraChild(CameraSettings("door", camera.address), model, tmp_path / "frames", 0))
        watched.child.start()
        watched.until(lambda: not watched.child.running)
    codes = [said.code for said in watched.all(Trouble)]
    assert codes[0].startswith("E-RUNTIME-") or codes[0].startswith("E-BUNDLE-")
    assert codes[-1] == "E-SERVICE-CAMERA"


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


def test_a_video_is_played_at_its_own_rate_and_again_when_it_has_ended(start: Start, video: Path) -> None:
    watched = start(f"video:{video}", agree=3, of=3)
    watched.until(lambda: len([said for said in watched.all(Trouble) if said.code == "E-SOURCE-ENDED"]) == 1)
    watched.until(lambda: sum(beat.frames for beat in watched.all(Beat)) >= 10)
    assert watched.all(Beat)[-1].sequence >= 10


def alive(pid: int) -> bool:
    return state_of(pid) not in ("", "Z")


def kept(watched: Watched, state: Path) -> list[tuple[Decided, Path]]:
    return [(said, state / "frames" / said.kept.name) for said in watched.all(Decided) if said.kept]


def test_a_frame_kept_as_png_gives_the_same_answer_again_and_its_hash_is_in_the_message(
    start: Start, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, keep="png", roi=Roi(20, 10, 61, 47))
        watched.until(lambda: len(watched.all(Decided)) >= 5)
    classifier = load(Session(tiny_bundle).model)
    frames = kept(watched, tmp_path)
    assert len(frames) >= 5
    for said, path in frames:
        data = path.read_bytes()
        assert path.name == f"{said.taken.translate(NO_MARKS)}-{said.sequence:06}.png"
        assert said.kept.sha256 == hashlib.sha256(data).digest()
        assert said.kept.size == len(data)
        again = classifier.answer(decode(data, path.name))
        assert again.probabilities == said.answer.probabilities
        assert again.decision == said.answer.decision


def test_the_tensor_of_a_kept_png_is_that_of_the_frame(tiny_bundle: Bundle, tmp_path: Path) -> None:
    pixels = noise(7, 61, 47)
    found = keep(pixels, tmp_path / "frames" / "door", "20270115T080000000Z-000001", "png")
    picture = decode((tmp_path / "frames" / "door" / found.name).read_bytes())
    assert np.array_equal(picture.pixels(), pixels)
    spec = tiny_bundle.manifest.input
    assert np.array_equal(model_input(picture, spec), model_input(pixels, spec))


@pytest.mark.parametrize(("form", "suffix"), [("jpeg", ".jpg"), ("png", ".png")])
def test_a_frame_is_on_the_disk_when_its_decision_is_said(start: Start, tmp_path: Path, form: str, suffix: str) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, keep=form)
        watched.until(lambda: watched.all(Decided))
        frames = kept(watched, tmp_path)
        assert frames
        assert all(path.is_file() and path.suffix == suffix for _, path in frames)
        with Image.open(frames[0][1]) as picture:
            assert picture.size == (160, 96)


def test_only_the_frames_of_a_changed_decision_are_kept_if_asked_for(start: Start, tmp_path: Path) -> None:
    with NetworkCamera() as camera:
        watched = start(camera.address, keep="jpeg", keep_what="changed")
        watched.until(lambda: len(watched.all(Decided)) >= 10)
    decided = watched.all(Decided)
    assert [bool(said.kept) for said in decided] == [said.changed for said in decided]


def test_a_frame_that_cannot_be_written_is_trouble_and_its_decision_is_said_all_the_same(start: Start, tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("this is no folder")
    with NetworkCamera() as camera:
        watched = start(camera.address, keep="png")
        watched.until(lambda: len(watched.all(Decided)) >= 3)
    assert [said.code for said in watched.all(Trouble)] == ["E-OUTPUT-WRITE"]
    assert not any(said.kept for said in watched.all(Decided))


def test_a_frame_never_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    names = [keep(noise(seed), tmp_path, "20270115T080000000Z-000001", "png").name for seed in range(3)]
    assert names == [f"20270115T080000000Z-000001{other}.png" for other in ("", "-2", "-3")]
