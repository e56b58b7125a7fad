"""The app's picamera2 source on the real picamera2 and the real libcamera: `scripts/virtual_pi camera` runs it.

The cameras are those of virtual.yaml. They show files again and again as fast as they are asked, and frames are passed over:
nothing here rests on the order of frames.
"""

import functools
import importlib.metadata
import itertools
import json
import multiprocessing
import platform
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.messages import View
from limiar.edge_app.camera.source import find_source, open_source
from limiar.edge_app.errors import SourceError

if not Path("/opt/frames").is_dir():
    pytest.skip("needs libcamera with its virtual camera: run scripts/virtual_pi camera", allow_module_level=True)

RED, BLUE = (200, 30, 10), (10, 40, 220)  # R, G, B of the halves; make_frames.py writes them
FILES = 40
PATIENCE_S = 180  # for picamera2's start and some frames, on any machine

Found = Callable[[str], None]
Command = Callable[..., list[str | Path]]
Row = tuple[str, int, int, str]  # source, sequence, dropped, decision


@pytest.fixture
def found(record_property: Callable[[str, object], None]) -> Found:
    """Takes what was seen, for the table of `scripts/virtual_pi camera`."""
    return functools.partial(record_property, "found")


def in_a_process(work: Callable[..., Any], *arguments: object) -> Any:
    """What `work` returns in a child. picamera2 starts threads, which a fork would lose: this process must not import it."""
    context = multiprocessing.get_context("fork")
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=lambda: end.send(work(*arguments)))
    process.start()
    end.close()
    try:
        assert answer.poll(PATIENCE_S), "no answer"
        return answer.recv()  # EOFError: what was raised there is on stderr
    finally:
        process.kill()
        process.join()


def captured(number: int, count: int) -> list[Pixels]:
    """Frames of a camera, through the app's own capture process."""
    address = find_source(f"picamera:{number}")
    with Capture(functools.partial(open_source, address), View(address.name)) as capture:
        frames = (frame.pixels.copy() for frame in capture.frames() if frame)
        return list(itertools.islice(frames, count))


def versions() -> tuple[str, str]:
    import libcamera
    import picamera2

    assert Path(libcamera.__file__).is_relative_to("/usr/lib/python3")
    return importlib.metadata.version(picamera2.__name__), libcamera.CameraManager.singleton().version


def test_it_is_the_real_picamera2_on_the_real_libcamera(found: Found) -> None:
    picamera2, libcamera = in_a_process(versions)
    found(f"picamera2 {picamera2}, libcamera {libcamera}, Python {platform.python_version()}, {platform.machine()}")
    assert libcamera.startswith("v0.7.")


# What a camera gives


def given(asked: str, number: int) -> dict[str, Any]:
    from picamera2 import Picamera2

    camera = Picamera2(number)
    camera.configure(camera.create_video_configuration(main={"format": asked}, raw=None))
    configuration = camera.camera_configuration()
    camera.close()
    return configuration["main"] | {"colours": str(configuration["colour_space"]).split("'")[1]}


@pytest.mark.parametrize("asked", ["BGR888", "XRGB8888", "YUV420"])
def test_a_camera_may_give_another_format_than_it_is_asked_for(asked: str, found: Found) -> None:
    stream = in_a_process(given, asked, 0)
    size = "{} x {}".format(*stream["size"])
    found(f"asked for {asked}: {stream['format']}, {size}, stride {stream['stride']}, {stream['colours']}")
    assert stream["format"] == "NV12"


@pytest.mark.parametrize(
    ("number", "size", "tolerance"),
    [
        pytest.param(0, (480, 640), 2, id="as they are in the files"),  # 8-bit YUV and back
        pytest.param(1, (182, 322), 6, id="made smaller"),  # and libyuv's scaling of it
    ],
)
def test_red_is_red_and_blue_is_blue(number: int, size: tuple[int, int], tolerance: int, found: Found) -> None:
    (frame,) = captured(number, 1)
    height, width = frame.shape[:2]
    above_the_noise = frame[: height // 3].astype(int)
    left, right = above_the_noise[:, : width // 2 - 4], above_the_noise[:, width // 2 + 4 :]  # scaling blends the edge
    means = [half.mean(axis=(0, 1)).round().astype(int).tolist() for half in (left, right)]
    found(f"{width} x {height}: red {means[0]}, blue {means[1]}")
    assert (height, width) == size
    assert np.abs(left - RED).max() <= tolerance
    assert np.abs(right - BLUE).max() <= tolerance


def test_files_that_differ_are_frames_that_differ_and_no_frame_is_a_mixture(found: Found) -> None:
    frames = [frame.tobytes() for frame in captured(0, 60)]
    found(f"{len(frames)} frames of {FILES} files: {len(set(frames))} differ")
    assert 4 <= len(set(frames)) <= FILES


# Start, stop, start again


def opened_and_closed(times: int) -> list[tuple[tuple[int, ...], int]]:
    """The shape of a frame, and the threads that are left after it, each time."""
    seen = []
    for _ in range(times):
        source = open_source(find_source("picamera:0"))
        frames = [source.read() for _ in range(3)]
        source.close()
        seen.append((np.shape(frames), threading.active_count()))
    return seen


def test_a_closed_camera_opens_again_in_the_same_process() -> None:
    assert in_a_process(opened_and_closed, 3) == [((3, 480, 640, 3), 1)] * 3


def test_a_closed_camera_opens_again_in_the_next_capture_process() -> None:
    assert [np.shape(captured(number, 2)) for number in (0, 0, 1, 0)] == [
        (2, *size, 3) for size in ((480, 640), (480, 640), (182, 322), (480, 640))
    ]
    assert not {"libcamera", "picamera2"} & sys.modules.keys()  # the capture process alone has them


def opened_twice() -> str:
    """What the second opening says; the first still gives frames."""
    source = open_source(find_source("picamera:0"))
    try:
        open_source(find_source("picamera:0"))
    except SourceError as error:
        assert source.read() is not None
        return str(error)
    return "no error"


def test_a_camera_in_use_is_refused_with_the_reason_and_without_another_line(
    found: Found, capfd: pytest.CaptureFixture[str]
) -> None:
    said = in_a_process(opened_twice)
    found(said)
    assert said.startswith("E-SOURCE-OPEN: picamera:0")
    assert "Device or resource busy" in said
    assert capfd.readouterr().err == ""


# The command


@pytest.fixture
def command(project: Path, tmp_path: Path) -> Command:
    """`limiar camera models/lung-nodule SOURCE ...`, with the database that `rows` reads."""

    def words(*arguments: str) -> list[str | Path]:
        bundle, db = project / "models" / "lung-nodule", tmp_path / "results.db"
        return [sys.executable, "-P", "-m", "limiar", "camera", bundle, *arguments, "--db", db]

    return words


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[], list[Row]]:
    def read() -> list[Row]:
        with sqlite3.connect(f"file:{tmp_path / 'results.db'}?mode=ro", uri=True) as db:
            return db.execute("SELECT source, sequence, dropped, decision FROM camera_results ORDER BY id").fetchall()

    return read


def run(words: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def as_rows(stdout: str) -> list[Row]:
    lines = [json.loads(line) for line in stdout.splitlines()]
    return [(line["source"], line["sequence"], line["dropped"], line["decision"]) for line in lines]


def test_limiar_camera_answers_frames_and_every_answer_is_a_row(
    command: Command, rows: Callable[[], list[Row]], found: Found
) -> None:
    done = run(command("picamera:0", "--seconds", "20"))  # from the start on: a busy machine takes some of it for imports
    assert done.returncode == 0, done.stderr
    found(done.stderr.strip())
    answered = rows()
    assert answered == as_rows(done.stdout)
    assert len(answered) > 1
    assert {source for source, *_ in answered} == {"picamera:0"}
    assert answered[-1][1] == sum(dropped + 1 for _, _, dropped, _ in answered)  # every frame is an answer, or counted


def stopped_after_an_answer(words: list[str | Path], stdout: Path) -> list[Row]:
    """Starts the command, stops it with SIGTERM; what it answered."""
    # Into a file: what is read of a pipe for the first line would be missing from the rest.
    with stdout.open("w") as file, subprocess.Popen(words, stdout=file, stderr=subprocess.PIPE, text=True) as process:
        while not stdout.stat().st_size and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        stderr = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 143, stderr
    return as_rows(stdout.read_text())


def test_stopped_by_a_signal_and_started_again_it_goes_on_with_everything_kept(
    command: Command, rows: Callable[[], list[Row]], tmp_path: Path, found: Found
) -> None:
    before, after = (stopped_after_an_answer(command("picamera:0"), tmp_path / name) for name in ("before", "after"))
    found(f"{len(before)} answers, then {len(after)}")
    assert rows() == before + after
    sequence = [row[1] for row in before + after]
    assert sequence == sorted(set(sequence))


def test_a_camera_that_repeats_one_frame_is_frozen(command: Command, rows: Callable[[], list[Row]], found: Found) -> None:
    done = run(command("picamera:2"))
    found(done.stderr.strip())
    assert done.returncode == 1
    assert done.stderr.startswith("E-SOURCE-FROZEN: picamera:2")
    assert len(done.stderr.splitlines()) == 1
    assert rows() == []  # it may have been frozen before it was opened


def test_a_camera_that_is_not_there_is_one_line(command: Command, found: Found) -> None:
    done = run(command("picamera:7"))
    found(done.stderr.strip())
    assert done.returncode == 1
    assert done.stderr.startswith("E-SOURCE-OPEN: picamera:7")
    assert len(done.stderr.splitlines()) == 1
