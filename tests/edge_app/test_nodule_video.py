"""A nodule moves across a camera's picture: the right answer within K frames, and none from frames that froze."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Said, Trouble
from limiar.edge_app.camera.messages import Roi
from limiar.edge_app.image.read import decode
from limiar.edge_app.inference.session import open_session
from limiar.edge_app.service.camera_child import CameraChild
from limiar.train.data.phantoms import phantoms
from network_camera import NetworkCamera

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
Scene = Callable[[int], Pixels]  # the number of a frame, from 1 -> uint8 [90, 150, 3]

K, N = 3, 5
SIDE = 50  # px: of a patch, and of the part that is looked at
HOLD, MOVE = 12, 10  # frames in which a patch stays in that part, and in which the next one comes
ROI = Roi(SIDE, 20, SIDE, SIDE)
ARRIVES, LEAVES, GONE = (
    HOLD + MOVE,
    2 * HOLD + MOVE,
    2 * (HOLD + MOVE),
)  # the nodule is in, moves on, is out


def scene(nodule: Pixels, normal: Pixels, stays: bool = False) -> Scene:
    """Patches pass by under a camera, a nodule between normal ones; or it stays there."""
    strip = np.hstack([normal, normal, nodule, normal, normal]).astype(int)

    def seen(number: int) -> Pixels:
        moved = np.interp(min(number, LEAVES) if stays else number, [HOLD, ARRIVES, LEAVES, GONE], [0, SIDE, SIDE, 2 * SIDE])
        picture = np.full((90, 3 * SIDE, 3), 60)
        picture[20:70] = strip[:, round(moved) : round(moved) + 3 * SIDE]
        noise = np.random.default_rng(number).normal(0, 1.0, picture.shape)
        return (picture + noise).round().clip(0, 255).astype(np.uint8)

    return seen


def sure() -> tuple[Pixels, Pixels]:
    """A phantom with a nodule and one without, of which the reference model is sure: what is tested is the camera."""
    made = [decode(data).pixels() for _, data in phantoms(12, seed=1)]
    return made[8], made[11]


@pytest.fixture(scope="module")
def generated() -> Scene:
    """Of phantoms."""
    return scene(*sure())


@pytest.fixture(scope="module")
def real(lung: Path) -> Scene:
    """Of CT patches that people labelled."""
    return scene(*(decode((lung / f"luna16_{name}.png").read_bytes()).pixels() for name in ("000013_pos", "000007_neg")))


@pytest.mark.parametrize("kind", ["generated", "real"])
def test_a_video_of_a_nodule_has_the_right_answer_within_k_frames(
    limiar: Limiar, project: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    seen: Scene = request.getfixturevalue(kind)
    writer = cv2.VideoWriter(str(tmp_path / "v.mkv"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10, (3 * SIDE, 90))
    for number in range(1, GONE + HOLD + 1):
        writer.write(cv2.cvtColor(seen(number), cv2.COLOR_RGB2BGR))
    writer.release()
    roi = f"{ROI.x},{ROI.y},{ROI.width},{ROI.height}"
    bundle = project / "models" / "lung-nodule"
    done = limiar(
        "camera", bundle, f"video:{tmp_path / 'v.mkv'}", "--roi", roi, "--agree", f"{K}/{N}", "--db", tmp_path / "results.db"
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    at = {line["sequence"]: line["decision"] for line in lines}
    assert {decision for number, decision in at.items() if number <= HOLD} == {"neg"}
    assert {at[number] for number in range(ARRIVES + K, LEAVES + 1)} == {"pos"}
    assert {at[number] for number in range(GONE + K, GONE + HOLD + 1)} == {"neg"}
    assert all(K <= line["agreeing"] <= line["frames"] <= N and 0 <= line["spread"] <= 1 for line in lines)
    with closing(sqlite3.connect(tmp_path / "results.db")) as database:
        rows = database.execute("SELECT sequence, decision FROM camera_results ORDER BY id").fetchall()
    assert dict(rows) == at


def test_without_agree_each_frame_is_answered_and_has_no_agreement(limiar: Limiar, tiny_path: Path, video: Path) -> None:
    lines = [json.loads(line) for line in limiar("camera", tiny_path, f"video:{video}").stdout.splitlines()]
    assert len(lines) == 5
    assert not any({"frames", "agreeing", "spread"} & line.keys() for line in lines)


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "3/5/7", "x"])
def test_an_agreement_that_cannot_be_is_a_usage_error(limiar: Limiar, tiny_path: Path, video: Path, wrong: str) -> None:
    done = limiar("camera", tiny_path, f"video:{video}", "--agree", wrong)
    assert done.returncode == 2
    assert b"--agree" in done.stderr


@pytest.fixture
def children() -> Iterator[list[CameraChild]]:
    started: list[CameraChild] = []
    yield started
    for child in started:
        child.kill()


def test_a_live_nodule_is_found_and_once_the_camera_freezes_on_it_there_is_no_answer(
    project: Path, tmp_path: Path, children: list[CameraChild]
) -> None:
    model = open_session(project / "models" / "lung-nodule").model
    with NetworkCamera(scene(*sure(), stays=True), rate_hz=10.0) as camera:
        settings = CameraSettings("ct", camera.address, K, N, every_s=0.0, roi=ROI)
        children.append(CameraChild(settings, model, tmp_path / "frames", 0))
        children[0].start()
        said = list[Said]()

        def hear(until: Callable[[], object]) -> None:
            end = time.monotonic() + 60.0
            while not until():
                assert time.monotonic() < end, said[-3:]
                said.extend(children[0].turn())
                time.sleep(0.01)

        hear(lambda: any(isinstance(one, Decided) and one.vote.decision == "pos" for one in said))
        decided = [one for one in said if isinstance(one, Decided)]
        assert decided[0].vote.decision == "neg"
        assert decided[-1].changed
        assert decided[-1].vote.first > HOLD  # no frame of the scene before
        camera.does = "frozen"
        time.sleep(0.5)  # what was on its way is read
        last = camera.number
        hear(lambda: any(isinstance(one, Trouble) for one in said))
        hear(lambda: isinstance(said[-1], Beat))
        assert [one.code for one in said if isinstance(one, Trouble)] == ["E-SOURCE-FROZEN"]
        assert camera.number == last
        assert max(one.sequence for one in said if isinstance(one, Decided)) <= last
        count = sum(isinstance(one, Decided) for one in said)
        assert count <= last
        camera.does = "live"
        hear(lambda: sum(isinstance(one, Decided) for one in said) > count)
        fresh = [one for one in said if isinstance(one, Decided)][count]
        assert fresh.vote.decision == "pos"
        assert fresh.vote.frames == K  # none from before
