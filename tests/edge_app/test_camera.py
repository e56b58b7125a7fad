"""Cameras: fakes through the real capture process, a real video through OpenCV, the real command.

picamera2 installs on a Raspberry Pi alone. Its module runs here over a stub that does what picamera2's source says of the five
methods that are used (picamera2.py, request.py: `capture_buffer` is the plain 1-D buffer of the stream that
`camera_configuration` describes); the conversion of formats runs on arrays. tests/virtual_pi has the real picamera2.
"""

import contextlib
import functools
import importlib.util
import itertools
import json
import logging
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

import limiar.edge_app.camera.capture
import limiar.edge_app.camera.freshness
import limiar.edge_app.camera.grab
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.camera.answering import Answering
from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.frame import Frame, SharedMemory
from limiar.edge_app.camera.messages import Roi, View
from limiar.edge_app.camera.source import Settings, find_source, open_source
from limiar.edge_app.camera.watch import Watch
from limiar.edge_app.errors import SourceError
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Line
from limiar.edge_app.store.writer import Store
from limiar.edge_app.system.process import state as state_of

# Instead of 5 s and 4.5 s: what is tested is that patience ends, not how long it is. On a busy machine the one must end after
# the other.
PATIENCE_S, FROZEN_S = 1.2, 0.3


def noise(seed: int, height: int = 48, width: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def later(value: Pixels) -> Pixels:
    time.sleep(0.005)
    return value


class Fake:
    """A source that gives what a list of functions gives, the last for ever; a file instead ends after it."""

    place = None
    doubtful = None
    stamp_s: float | None = None
    loss = None
    note = None

    def __init__(self, *steps: Callable[[], object], live: bool = True) -> None:
        self.steps, self.live, self.count = steps, live, 0

    def read(self) -> Pixels | None:
        if self.count == len(self.steps) and not self.live:
            return None
        self.count += 1
        return self.steps[min(self.count, len(self.steps)) - 1]()  # type: ignore[return-value]  # some lie, on purpose

    def close(self) -> None:
        pass


def frame(seed: int) -> Callable[[], Pixels]:
    return functools.partial(noise, seed)


def changing() -> Callable[[], Pixels]:
    """A new frame every time, 5 ms apart."""
    seeds = itertools.count(1)
    return lambda: later(noise(next(seeds)))


GOOD_FRAMES = (changing(),) * 50  # long enough that some are asked for


def watched(source: Fake, view: View | None = None) -> list[Frame]:
    with Capture(lambda: source, view or View("fake:0")) as capture:
        return list(kept(capture))


def kept(capture: Capture) -> Iterator[Frame]:
    """Frames whose pixels stay: those of the capture are overwritten by the next."""
    for found in capture.frames():
        if found:
            yield msgspec.structs.replace(found, memory=found.pixels.tobytes())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiar.edge_app.camera.capture, "FRAME_S", PATIENCE_S)
    monkeypatch.setattr(limiar.edge_app.camera.freshness, "_FROZEN_S", FROZEN_S)


def test_a_file_gives_every_frame_in_order_and_ends() -> None:
    frames = watched(Fake(*map(frame, range(5)), live=False))
    assert [found.sequence for found in frames] == [1, 2, 3, 4, 5]
    assert [found.dropped for found in frames] == [0] * 5
    assert all(np.array_equal(found.pixels, noise(seed)) for seed, found in enumerate(frames))


def test_of_a_camera_the_latest_frame_wins_and_the_dropped_are_counted() -> None:
    with Capture(lambda: Fake(changing()), View("fake:0")) as capture:
        frames = []
        for found in itertools.islice(kept(capture), 4):
            frames.append(found)
            time.sleep(0.1)
    assert np.array_equal(frames[-1].pixels, noise(frames[-1].sequence))
    assert sum(found.dropped for found in frames[1:]) == frames[-1].sequence - frames[0].sequence - 3
    assert sum(found.dropped for found in frames[1:]) >= 1


BAD_SOURCES = {
    "blocks": ("E-SOURCE-STALLED", lambda: time.sleep(60)),
    "gives nothing": ("E-SOURCE-STALLED", lambda: None),
    "repeats a frame": ("E-SOURCE-FROZEN", lambda: later(noise(50))),
    "gives a grey frame": ("E-SOURCE-FRAME", lambda: noise(99)[:, :, 0]),
    "gives floats": ("E-SOURCE-FRAME", lambda: noise(99) / 255),
    "gives an empty frame": ("E-SOURCE-FRAME", lambda: noise(99)[:0]),
    "gives no array": ("E-SOURCE-FRAME", lambda: "frame"),
    "raises": ("E-SOURCE-READ", lambda: [][0]),
    "dies": ("E-SOURCE-ENDED", lambda: os._exit(7)),
}


@pytest.mark.parametrize("first", [GOOD_FRAMES, ()], ids=["later", "at once"])
@pytest.mark.parametrize(("code", "bad"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_camera_that_stops_is_an_error_and_never_a_stale_answer(
    code: str, bad: Callable[[], object], first: tuple[Callable[[], object], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patient otherwise: on a busy machine, each of these may be silent for over a second before it is what it is.
    monkeypatch.setattr(limiar.edge_app.camera.freshness, "_FROZEN_S", FROZEN_S)
    seen: list[Frame] = []
    with Capture(lambda: Fake(*first, bad), View("fake:0")) as capture, pytest.raises(SourceError, match="fake:0") as raised:
        seen.extend(kept(capture))
    assert raised.value.code == code
    numbers = [found.sequence for found in seen]
    assert numbers == sorted(set(numbers))
    assert bool(numbers) == bool(first) or code == "E-SOURCE-FROZEN"
    assert all(np.array_equal(found.pixels, noise(found.sequence if first else 50)) for found in seen)


def test_a_camera_that_changes_its_size_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"E-SOURCE-SIZE: fake:0 gave 64x48 pixels and now gives 32x24"):
        watched(Fake(frame(1), lambda: noise(2, 24, 32)))


def test_a_frame_that_does_not_fit_is_an_error_and_its_region_of_interest_is_not() -> None:
    wide = np.zeros((1, 23_000_000, 3), np.uint8)
    with pytest.raises(SourceError, match=r"E-SOURCE-FRAME: fake:0 gives 23000000x1 pixels"):
        watched(Fake(lambda: wide, live=False))
    (found,) = watched(Fake(lambda: wide, live=False), View("fake:0", roi=Roi(22_999_990, 0, 10, 1)))
    assert found.pixels.shape == (1, 10, 3)


def test_a_frame_that_takes_more_memory_than_there_is_for_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiar.edge_app.camera.grab, "MEMORY_BYTES", 50_000_000)
    with pytest.raises(SourceError, match=r"E-SOURCE-READ: fake:0 failed \(Unable to allocate"):
        watched(Fake(frame(1), lambda: np.ones((10_000, 10_000, 3), np.uint8), live=False))


def test_a_source_that_cannot_be_opened_says_so_and_not_that_it_stalled() -> None:
    def opens() -> Fake:
        raise SourceError("E-SOURCE-OPEN", "fake:0 does not open")

    with pytest.raises(SourceError, match="E-SOURCE-OPEN"), Capture(opens, View("fake:0")) as capture:
        list(capture.frames())


def test_the_patience_that_the_promise_names_is_five_seconds() -> None:
    assert limiar.edge_app.camera.capture.FRAME_S == 5.0
    assert limiar.edge_app.camera.freshness._FROZEN_S < limiar.edge_app.camera.capture.FRAME_S


HELD_FROM_S, HELD_UNTIL_S = 3.0, 5.0  # by then the clock has been believed, even if this machine stopped once or twice


class Held(Fake):
    """A camera whose pictures are held up for two seconds, and then come at once; each has the time at which it was taken.

    Its clock begins with the first one: however long the process took to start, the pictures come at the pace of their times.
    """

    def __init__(self) -> None:
        super().__init__(changing())
        self.began_s: float | None = None
        self.stamp_s = 0.0

    def read(self) -> Pixels | None:
        if self.began_s is None:
            self.began_s = time.monotonic()
        due_s = self.stamp_s + 0.05
        free_s = HELD_UNTIL_S if HELD_FROM_S < due_s < HELD_UNTIL_S else due_s
        time.sleep(max(0.0, self.began_s + free_s - time.monotonic()))
        self.stamp_s = due_s
        return super().read()


def test_frames_that_were_held_up_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiar.edge_app.camera.freshness, "_PACE_S", 0.5)
    held = Held()
    with Capture(lambda: held, View("fake:0")) as capture:
        numbers = []
        for found in capture.frames():
            if found:
                numbers.append(found.sequence)
            if numbers and numbers[-1] > 110:
                break
    assert min(numbers) < 40
    assert not set(numbers) & set(range(62, 78))  # taken between 3.1 and 3.9 s: over a second old at 5 s


def test_a_slow_camera_is_not_lost_before_it_is_believed(impatient: None) -> None:
    seeds = itertools.count()

    def slow() -> Pixels:
        time.sleep(PATIENCE_S / 3)  # seven frames take over twice as long as a camera may take for one
        return noise(next(seeds))

    with Capture(lambda: Fake(slow), View("fake:0")) as capture:
        assert next(kept(capture)).sequence == 7


def test_a_black_picture_is_not_taken_for_a_frozen_one(impatient: None) -> None:
    black = Fake(lambda: later(np.zeros((8, 8, 3), np.uint8)))
    began = time.monotonic()
    with Capture(lambda: black, View("fake:0")) as capture:
        for found in capture.frames():
            assert found is None or not found.pixels.any()
            if time.monotonic() - began > 3 * FROZEN_S:
                break


def test_a_video_may_repeat_a_frame() -> None:
    assert len(watched(Fake(*[frame(1)] * 5, live=False))) == 5


def test_the_region_of_interest_is_cut_out_of_every_frame() -> None:
    (found,) = watched(Fake(frame(3), live=False), View("fake:0", roi=Roi(10, 20, 30, 25)))
    assert np.array_equal(found.pixels, noise(3)[20:45, 10:40])


@pytest.mark.parametrize("roi", [Roi(50, 0, 20, 10), Roi(0, 40, 10, 10), Roi(0, 0, 65, 48)])
def test_a_region_outside_the_frame_is_refused(roi: Roi) -> None:
    with pytest.raises(SourceError, match=r"E-SOURCE-ROI.*64x48"):
        watched(Fake(frame(1), live=False), View("fake:0", roi=roi))


@pytest.mark.parametrize("start", [None, functools.partial(os.close, 0)], ids=["", "stdin closed"])
def test_a_capture_process_ends_with_the_process_that_started_it(tmp_path: Path, start: Callable[[], None] | None) -> None:
    program = (
        "import os, time; from limiar.edge_app.camera.capture import Capture, View\n"
        "class Blocked:\n live = True\n note = None\n"
        " def read(self): open(r'%s', 'w').write(str(os.getpid())); time.sleep(60)\n"
        " def close(self): pass\n"
        "with Capture(Blocked, View('x')) as capture:\n"
        " for found in capture.frames():\n"
        "  if os.path.exists(r'%s') and os.path.getsize(r'%s'): os.kill(os.getpid(), 9)\n"
    ) % ((tmp_path / "pid",) * 3)
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, preexec_fn=start)
    assert done.returncode == -signal.SIGKILL
    process = int((tmp_path / "pid").read_text())
    for _ in range(1200):
        if state_of(process) in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail("the blocked capture process outlived its parent")


def test_a_video_whose_name_is_not_utf_8_is_refused(video: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.avi")
    path.write_bytes(video.read_bytes())
    with pytest.raises(SourceError, match="E-SOURCE-OPEN"):
        open_source(find_source(f"video:{path}"))


@pytest.mark.parametrize("text", ["video:none.mp4", "video:{file}", "rtsp://user:secret@127.0.0.1:9/"])
def test_a_source_that_is_not_there_does_not_open(text: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    with pytest.raises(SourceError, match="E-SOURCE-OPEN") as raised:
        open_source(find_source(text.format(file=tmp_path / "text.mp4")))
    assert "secret" not in str(raised.value)


# A real video file

SIDE_PX = 64
RATE_HZ = 50


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at 50 a second: the left half red, the right half blue, and a black bar that moves down a row a frame."""
    path = tmp_path_factory.mktemp("video") / "red-blue.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (SIDE_PX, SIDE_PX))
    assert writer.isOpened()
    for number in range(60):
        bgr = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        bgr[:, : SIDE_PX // 2, 2] = 255
        bgr[:, SIDE_PX // 2 :, 0] = 255
        bgr[number : number + 4] = 0
        writer.write(bgr)
    writer.release()
    return path


def test_the_colours_of_a_video_are_right(video: Path) -> None:
    source = open_source(find_source(f"video:{video}"))
    found = source.read()
    assert found is not None
    red, blue = found[40, SIDE_PX // 4].astype(int), found[40, 3 * SIDE_PX // 4].astype(int)
    assert red[0] > 200
    assert max(red[1:]) < 60  # MJPEG is not exact
    assert blue[2] > 200
    assert max(blue[:2]) < 60


def test_a_video_in_real_time_takes_as_long_as_it_lasts(video: Path) -> None:
    source = open_source(find_source(f"video:{video}"), realtime=True)
    began = time.monotonic()
    for _ in range(11):
        source.read()
    assert time.monotonic() - began >= 10 / RATE_HZ


# A real RTSP stream

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 raw/90000
a=fmtp:96 sampling=YCbCr-4:2:2; width=64; height=48; depth=8; colorimetry=BT601-5
a=control:track1
"""
MPEG4_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 MP4V-ES/90000
a=fmtp:96 profile-level-id=1
a=control:track1
"""
ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\n",
    "DESCRIBE": "Content-Type: application/sdp\nContent-Length: {length}\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\nSession: 1\n",
    "PLAY": "Session: 1\n",
}


def uncompressed(frames: int) -> Iterator[list[bytes]]:
    """Of each frame its RTP packets (RFC 4175): left half red, right half blue."""
    for number in range(frames):
        uyvy = np.zeros((48, 64, 2), np.uint8)
        uyvy[:, :32] = [[90, 81], [240, 81]] * 16  # ITU-R BT.601: U and V by turns, with Y
        uyvy[:, 32:] = [[240, 41], [110, 41]] * 16
        uyvy[number % 48, :, 1] += 20
        yield [
            struct.pack(">BBHII", 0x80, 96 | (0x80 if row == 47 else 0), number * 48 + row, number * 3000, 1)
            + struct.pack(">HHHH", 0, 128, row, 0)
            + uyvy[row].tobytes()
            for row in range(48)
        ]


def stream(server: socket.socket, sdp: str, frames: Iterable[list[bytes]]) -> None:
    """An RTSP camera (RFC 2326); then it falls silent."""
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as requests:
        for line in requests:
            method, sequence = line.split()[0].decode(), b""
            while (field := next(requests).strip()) != b"":
                sequence = field if field.lower().startswith(b"cseq") else sequence
            answer = ANSWERS[method].format(length=len(sdp))
            reply = f"RTSP/1.0 200 OK\n{sequence.decode()}\n{answer}\n".replace("\n", "\r\n")
            connection.sendall(reply.encode() + (sdp.encode() if method == "DESCRIBE" else b""))
            if method == "PLAY":
                break
        for packets in frames:
            for packet in packets:
                connection.sendall(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
            time.sleep(0.01)
        requests.read()  # until the app hangs up


def streamed(sdp: str, frames: Iterable[list[bytes]]) -> tuple[list[Frame], str]:
    """The app's answers to it, and its last message."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=stream, args=(server, sdp, frames), daemon=True)
        thread.start()
        address = find_source(f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/front")
        seen: list[Frame] = []
        with (
            Capture(functools.partial(open_source, address), View(address.name)) as capture,
            pytest.raises(SourceError, match=r"E-SOURCE-STALLED: rtsp://127\.0\.0\.1:") as raised,
        ):
            seen.extend(kept(capture))
        thread.join(timeout=10)
    return seen, str(raised.value)


def test_an_rtsp_camera_is_read_until_it_falls_silent(impatient: None) -> None:
    seen, said = streamed(SDP, uncompressed(100))
    assert "secret" not in said
    assert seen[-1].sequence > 20
    for found in seen:
        assert np.abs(found.pixels[:, 10].astype(int) - [255, 0, 0]).max() < 40  # the brighter row moves
        assert np.abs(found.pixels[:, 50].astype(int) - [0, 0, 255]).max() < 40


def refuse(server: socket.socket, status: str) -> None:
    """An RTSP camera that does not give its stream, however often it is asked."""
    login = 'WWW-Authenticate: Basic realm="camera"\r\n' if status.startswith("401") else ""
    with contextlib.suppress(OSError):  # until it is closed
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while request := connection.recv(4096):
                    (sequence,) = (line for line in request.decode().splitlines() if line.lower().startswith("cseq"))
                    connection.sendall(f"RTSP/1.0 {status}\r\n{sequence}\r\n{login}\r\n".encode())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 Unauthorized", "E-SOURCE-DENIED"),
        ("404 Not Found", "E-SOURCE-OPEN"),
        ("453 Not Enough Bandwidth", "E-SOURCE-BUSY"),
    ],
)
def test_an_rtsp_camera_that_refuses_has_its_own_answer_without_the_password(status: str, code: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=(server, status), daemon=True).start()
        with pytest.raises(SourceError, match=code) as raised:
            open_source(find_source(f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/front"))
    assert "secret" not in str(raised.value)


def mpeg4(folder: Path, count: int) -> list[bytes]:
    """Frames of MPEG-4 Visual, as the encoder in OpenCV writes them: every twelfth builds on no other."""
    path = folder / "coded.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    texture = cv2.GaussianBlur(noise(7), (0, 0), 2)
    for number in range(count):
        writer.write(np.roll(texture, number, axis=1))
    writer.release()
    data, frames = path.read_bytes(), []
    at = data.index(b"movi") + 4
    while data[at : at + 4] == b"00dc":
        (length,) = struct.unpack_from("<I", data, at + 4)
        frames.append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    assert len(frames) == count
    return frames


def in_packets(frames: list[bytes]) -> Iterator[list[bytes]]:
    """RFC 6416: a whole frame fits in a packet, since it goes over TCP."""
    for number, coded in enumerate(frames):
        yield [struct.pack(">BBHII", 0x80, 96 | 0x80, number, number * 3600, 1) + coded]


def test_of_a_whole_stream_no_frame_is_doubtful(impatient: None, tmp_path: Path) -> None:
    seen, _ = streamed(MPEG4_SDP, in_packets(mpeg4(tmp_path, 100)))
    assert seen[-1].sequence > 20
    assert {found.doubtful for found in seen} == {False}
    assert {found.place for found in seen} == {None}


def test_of_a_stream_with_a_loss_the_frames_are_doubtful_until_one_builds_on_no_other(impatient: None, tmp_path: Path) -> None:
    frames = mpeg4(tmp_path, 100)
    whole = {found.sequence: found.pixels for found in streamed(MPEG4_SDP, in_packets(frames))[0]}
    for number in (50, 51, 77):
        frames[number] = frames[number][:20] + bytes(reversed(frames[number][20:]))
    seen, _ = streamed(MPEG4_SDP, in_packets(frames))
    torn = {found.sequence for found in seen if not np.array_equal(found.pixels, whole.get(found.sequence, found.pixels))}
    doubtful = {found.sequence for found in seen if found.doubtful}
    assert torn
    assert torn <= doubtful
    assert len(doubtful) < 40
    assert not any(found.doubtful for found in seen[-5:])


# The loop and the store


@pytest.fixture
def answers(tiny_bundle: Bundle, tmp_path: Path) -> Callable[[Fake], list[Line]]:
    """Runs the loop of the command over a fake source; each group of lines is checked to be in the database already."""
    session = Session(tiny_bundle)
    memory = SharedMemory()

    def run(source: Fake) -> list[Line]:
        lines: list[Line] = []
        with ExitStack() as opened:
            answering = opened.enter_context(Answering(session.model, memory))
            capture = opened.enter_context(Capture(lambda: source, View("fake:0"), memory=memory.map))
            origin = session.origin(answering.loaded.runtime, answering.loaded.version)
            store = opened.enter_context(Store(tmp_path / "results.db"))
            store.use(session.key(origin), origin.verified)
            watch = Watch(
                session,
                origin,
                answering,
                capture,
                store,
                "fake:0",
                annotate=None,
                stop=lambda: False,
                opened=opened.pop_all(),
            )
        with watch:
            try:
                for group in watch.groups():
                    lines.extend(group)
                    answered = {line.sequence for line in lines if line.decision != REFUSED}
                    assert answered <= {row[0] for row in rows(tmp_path / "results.db")}
            except SourceError as error:
                lines.append(error)  # type: ignore[arg-type]  # shown where it came: after the lines before it
        return lines

    return run


def rows(database: Path) -> list[tuple[int, int, str, str]]:
    """As another process sees them: what is committed."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        return db.execute("SELECT sequence, dropped, decision, taken FROM camera_results ORDER BY id").fetchall()


def test_every_answer_is_a_row_before_it_is_a_line(answers: Callable[[Fake], list[Line]], tmp_path: Path) -> None:
    lines = answers(Fake(*map(frame, range(6)), live=False))
    assert [line.sequence for line in lines] == [1, 2, 3, 4, 5, 6]
    assert rows(tmp_path / "results.db") == [(line.sequence, line.dropped, line.decision, line.taken) for line in lines]


def test_sequence_numbers_go_on_where_the_last_run_ended(answers: Callable[[Fake], list[Line]]) -> None:
    answers(Fake(*map(frame, range(3)), live=False))
    assert [line.sequence for line in answers(Fake(*map(frame, range(2)), live=False))] == [4, 5]


def test_a_frame_that_shows_nothing_is_refused_and_has_no_row(answers: Callable[[Fake], list[Line]], tmp_path: Path) -> None:
    grey, black = np.full((48, 64, 3), 90, np.uint8), np.zeros((48, 64, 3), np.uint8)
    black[0, 0] = 255
    lines = answers(Fake(frame(1), lambda: grey, lambda: black, live=False))
    assert [getattr(line, "code", None) for line in lines] == [None, "E-IMAGE-UNIFORM", "E-IMAGE-BLACK"]
    assert [line.decision == "refused" for line in lines] == [False, True, True]
    assert [row[0] for row in rows(tmp_path / "results.db")] == [1]


def test_what_was_answered_before_the_camera_failed_is_reported_first(
    answers: Callable[[Fake], list[Line]],
) -> None:
    *lines, failure = answers(Fake(frame(1), lambda: os._exit(7), live=False))
    assert [line.sequence for line in lines] == [1]
    assert isinstance(failure, SourceError)


FAULTY = """
import os, time
from limiar.edge_app.inference import classifier
real = classifier.run_model
def faulty(runtime, tensor):
    if tensor[0, 0, 0, 0] == 7:  # a pure colour of the frame's corner
        FAULT
    return real(runtime, tensor)
classifier.run_model = faulty
from limiar.edge_app.camera import answering
answering._FRAME_S = 1.0
from limiar.edge_app.cli import main
main()
"""


@pytest.mark.parametrize(
    ("fault", "code"), [("time.sleep(60)", "E-IMAGE-TIMEOUT"), ("os._exit(9)", "E-IMAGE-CRASH")], ids=["hangs", "crashes"]
)
def test_a_frame_over_which_the_model_is_lost_is_refused_and_the_next_ones_are_answered(
    tiny_path: Path, tmp_path: Path, fault: str, code: str
) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(20, 230, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
    frames[1][:24, :24] = 7
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (64, 48))
    for one in frames:
        video.write(one)
    video.release()
    command = [sys.executable, "-P", "-c", FAULTY.replace("FAULT", fault), "camera", tiny_path, f"video:{tmp_path / 'v.avi'}"]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("code") for line in lines] == [None, code, None, None], done.stderr


# The command

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_the_command_answers_every_frame_of_a_video(limiar: Limiar, tiny_path: Path, video: Path, tmp_path: Path) -> None:
    done = limiar("camera", tiny_path, f"video:{video}", "--db", tmp_path / "r.db")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 61))
    assert list(lines[0])[:5] == ["source", "sequence", "taken", "dropped", "decision"]
    assert {line["stored"] for line in lines} == {False}
    assert len(rows(tmp_path / "r.db")) == 60
    assert done.stderr.startswith(b"60 frames, ")


def test_in_real_time_a_slow_reader_drops_frames(limiar: Limiar, tiny_path: Path, video: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    done = limiar("camera", tiny_path, f"video:{video}", "--realtime", "--file", "tflite_fp32", "--jsonl", file)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines  # how many depends on the machine: loading the model alone takes several of the 60
    assert lines[-1]["sequence"] == sum(line["dropped"] + 1 for line in lines)
    assert done.stdout == b""


def test_seconds_end_it(limiar: Limiar, tiny_path: Path, video: Path) -> None:
    done = limiar("camera", tiny_path, f"video:{video}", "--realtime", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) < 60


@pytest.fixture
def endless(tiny_path: Path, video: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The command over a video that lasts for minutes, started and answering."""
    bgr = cv2.VideoWriter(str(tmp_path / "long.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 1, (SIDE_PX, SIDE_PX))
    for number in range(300):
        bgr.write(noise(number, SIDE_PX, SIDE_PX))
    bgr.release()
    command = [sys.executable, "-P", "-m", "limiar", "camera", tiny_path, f"video:{tmp_path / 'long.avi'}", "--realtime"]
    environment = {**os.environ, "LIMIAR_STATE": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_everything_kept(
    endless: "subprocess.Popen[bytes]", number: signal.Signals, status: int, tmp_path: Path
) -> None:
    assert endless.stdout
    first = endless.stdout.readline()
    endless.send_signal(number)
    rest, stderr = endless.communicate(timeout=120)
    assert endless.returncode == status, stderr
    assert len(rows(tmp_path / "results.db")) == len((first + rest).splitlines())
    assert b"Traceback" not in stderr


def test_a_closed_pipe_ends_the_command_without_a_word(endless: "subprocess.Popen[bytes]") -> None:
    assert endless.stdout
    assert endless.stderr
    endless.stdout.readline()
    endless.stdout.close()
    assert endless.wait(timeout=120) == 141
    assert endless.stderr.read() == b""


@pytest.mark.parametrize("roi", ["1,2,3", "a,b,c,d", "-1,0,5,5", "0,0,0,5"])
def test_a_malformed_region_is_a_usage_error(limiar: Limiar, tiny_path: Path, video: Path, roi: str) -> None:
    assert limiar("camera", tiny_path, f"video:{video}", f"--roi={roi}").returncode == 2


# picamera2

RGB = np.array([[[200, 30, 10], [10, 40, 220]] * 4] * 8, np.uint8).repeat(2, axis=1)  # [8, 16, 3], red and blue stripes


def padded(rows: np.ndarray, stride: int) -> Pixels:
    """[H, bytes] -> the buffer of a stream whose rows have padding."""
    buffer = np.full((rows.shape[0], stride), 0xAA, np.uint8)
    buffer[:, : rows.shape[1]] = rows
    return buffer.reshape(-1)


def with_fourth(rgb: Pixels) -> Pixels:
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 0xAA, np.uint8)], axis=2)


def interleaved(rgb: Pixels, order: str) -> Pixels:
    """4:2:2: two pixels share their colours, in the byte order that `order` names."""
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    y, u, v = planes[:8], planes[8:10].reshape(4, 8).repeat(2, axis=0), planes[10:12].reshape(4, 8).repeat(2, axis=0)
    sources = {"Y": iter((y[:, ::2], y[:, 1::2])), "U": iter((u,)), "V": iter((v,))}
    return np.stack([next(sources[letter]) for letter in order], axis=2).reshape(8, 32)


def camera_buffers() -> dict[str, tuple[Pixels, int]]:
    """Format -> the stripes as a camera delivers them, and the stride: rows have padding."""
    i420 = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_I420)  # [12, 16]
    y, u, v = i420[:8], i420[8:10].reshape(4, 8), i420[10:12].reshape(4, 8)
    pairs = {"NV12": np.stack([u, v], axis=2).reshape(4, 16), "NV21": np.stack([v, u], axis=2).reshape(4, 16)}
    bgr = np.ascontiguousarray(RGB[:, :, ::-1])
    return {
        "BGR888": (padded(RGB.reshape(8, 48), 64), 64),
        "RGB888": (padded(bgr.reshape(8, 48), 64), 64),
        "XBGR8888": (padded(with_fourth(RGB).reshape(8, 64), 96), 96),
        "ABGR8888": (padded(with_fourth(RGB).reshape(8, 64), 64), 64),
        "XRGB8888": (padded(with_fourth(bgr).reshape(8, 64), 96), 96),
        "ARGB8888": (padded(with_fourth(bgr).reshape(8, 64), 64), 64),
        # A colour plane's rows have half the stride, so two of them fill one row of the buffer.
        "YUV420": (np.concatenate([padded(y, 32), padded(u, 16), padded(v, 16)]), 32),
        "YVU420": (np.concatenate([padded(y, 32), padded(v, 16), padded(u, 16)]), 32),
        **{name: (np.concatenate([padded(y, 32), padded(uv, 32)]), 32) for name, uv in pairs.items()},
        **{order: (padded(interleaved(RGB, order), 48), 48) for order in ("YUYV", "YVYU", "UYVY")},
    }


class StubCamera:
    """Gives `given`, whatever it was asked for."""

    given = "BGR888"

    def __init__(self, number: int = 0) -> None:
        if number:
            raise IndexError("list index out of range")

    def create_video_configuration(self, main: dict[str, str], raw: None) -> dict[str, object]:
        assert main == {"format": "BGR888"}
        return {"main": main, "raw": raw}

    def configure(self, configuration: dict[str, object]) -> None:
        assert "main" in configuration

    def camera_configuration(self) -> dict[str, dict[str, object]]:
        stride = camera_buffers().get(self.given, (None, 0))[1]
        return {"main": {"format": self.given, "size": (16, 8), "stride": stride}}

    def start(self) -> None:
        pass

    def capture_buffer(self, name: str) -> Pixels:
        assert name == "main"
        return np.append(camera_buffers()[self.given][0], np.zeros(100, np.uint8))  # a buffer may be longer than its frame

    def close(self) -> None:
        pass


@pytest.fixture
def picamera(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StubCamera]]:
    stub = types.ModuleType("picamera2")
    stub.Picamera2 = StubCamera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", stub)
    yield StubCamera
    sys.modules.pop("limiar.edge_app.camera.picamera", None)


@pytest.mark.parametrize("given", camera_buffers())
def test_whatever_a_pi_camera_gives_red_is_red(given: str, picamera: type[StubCamera], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera, "given", given)
    found = open_source(find_source("picamera:0")).read()
    assert found is not None
    assert found.shape == RGB.shape
    # 8-bit YUV and back, with the colours of two pixels in one: a few levels.
    tolerance = 0 if given.endswith("888") else 6
    assert np.abs(found.astype(int) - RGB).max() <= tolerance


def test_a_format_that_is_not_known_is_refused(picamera: type[StubCamera], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera, "given", "SRGGB10")
    with pytest.raises(SourceError, match=r"E-SOURCE-FORMAT.*SRGGB10"):
        open_source(find_source("picamera:0"))


@pytest.mark.parametrize(("size", "note"), [((16, 8), None), ((640, 480), "picamera:0 gives 16x8 pixels, not 640x480")])
def test_a_pi_camera_is_asked_for_size_and_rate_and_says_what_it_gives_instead(
    size: tuple[int, int], note: str | None, picamera: type[StubCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(picamera, "create_video_configuration", lambda _, **wanted: asked.update(wanted) or wanted)
    source = open_source(find_source("picamera:0"), settings=Settings(size, 15.0))
    assert asked == {"main": {"format": "BGR888", "size": size}, "raw": None, "controls": {"FrameRate": 15.0}}
    assert source.note == note


def test_a_pi_camera_that_is_not_there_does_not_open(picamera: type[StubCamera]) -> None:
    with pytest.raises(SourceError, match="E-SOURCE-OPEN: picamera:1"):
        open_source(find_source("picamera:1"))


def test_a_pi_camera_in_use_is_one_line_that_says_so(
    picamera: type[StubCamera], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def busy(self: StubCamera, number: int) -> None:
        """As picamera2 0.3.38 does it: it logs as an error, and raises, what says nothing."""
        try:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        except RuntimeError as error:
            logging.getLogger("picamera2.picamera2").error("Camera __init__ sequence did not complete.")
            raise RuntimeError("Camera __init__ sequence did not complete.") from error

    monkeypatch.setattr(picamera, "__init__", busy)
    with pytest.raises(SourceError, match=r"E-SOURCE-OPEN: picamera:0 .*\(Failed to acquire camera: Device or resource busy\)"):
        open_source(find_source("picamera:0"))
    assert caplog.records == []  # where logging is not set up, as in the app, they would be lines on stderr


def test_without_picamera2_the_message_says_how_to_get_it() -> None:
    if importlib.util.find_spec("picamera2"):
        pytest.skip("picamera2 is installed here")
    with pytest.raises(SourceError, match="E-SOURCE-MISSING: picamera:0 needs picamera2: sudo apt install python3-picamera2"):
        open_source(find_source("picamera:0"))
