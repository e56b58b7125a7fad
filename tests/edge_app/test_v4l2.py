"""Video devices that are not there, may not be opened, are no camera, or are in use: each has an answer of its own.

Real device nodes and files as far as a machine without a camera goes; what only a driver says is said by a stand-in for ioctl.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from limiar.edge_app.camera import v4l2
from limiar.edge_app.camera.opencv import ask, other
from limiar.edge_app.camera.source import Settings, find_source, open_source
from limiar.edge_app.errors import SourceError

UNUSED = os.makedev(81, 254)  # of video devices, a number that no machine comes to


def refusal(path: Path | str) -> str:
    with pytest.raises(SourceError) as raised:
        open_source(find_source(f"v4l2:{path}"))
    return str(raised.value)


@pytest.fixture
def node() -> Iterator[Path]:
    """A video device with no camera behind it, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield made(Path(folder) / "video0")


def made(path: Path) -> Path:
    try:
        os.mknod(path, 0o660 | stat.S_IFCHR, UNUSED)
    except PermissionError:
        assert os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS") != "1", "LIMIAR_REQUIRE_ROOT_TESTS=1, and mknod needs root"
        pytest.skip("mknod needs root")
    return path


def test_a_camera_that_is_not_there_is_to_be_plugged_in(tmp_path: Path) -> None:
    assert "E-SOURCE-OPEN" in (said := refusal(tmp_path / "video9"))
    assert "is not there: plug the camera in" in said


def test_a_link_that_leads_to_no_camera_says_that_it_is_unplugged(tmp_path: Path) -> None:
    (tmp_path / "usb-camera-video-index0").symlink_to(tmp_path / "video0")
    assert "E-SOURCE-OPEN" in (said := refusal(tmp_path / "usb-camera-video-index0"))
    assert "is a link to a camera that is not plugged in" in said


@pytest.mark.parametrize("kind", ["a file", "a folder", "a pipe", "a device of another kind"])
def test_what_is_no_camera_is_called_by_what_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "video0"
    if kind == "a file":
        path.write_bytes(b"")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    assert refusal(path).startswith("E-SOURCE-NOT-CAMERA: ")
    assert f"is {kind}, not a camera" in refusal(path)


def test_a_device_without_a_camera_behind_it_says_so(node: Path) -> None:
    assert refusal(node).startswith("E-SOURCE-OPEN: ")
    assert "has no camera behind it" in refusal(node)


def test_a_camera_that_may_not_be_opened_names_the_group_that_may(node: Path) -> None:
    os.chown(node, 0, 44)
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from limiar.edge_app.camera.v4l2 import check_camera\n"
        "from limiar.edge_app.errors import SourceError\n"
        "import os\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: check_camera(sys.argv[1], 'camera')\n"
        "except SourceError as error: print(error)\n"
    )
    project = Path(v4l2.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, node, project], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("E-SOURCE-DENIED: camera is for the group ")
    assert "sudo usermod -aG " in done.stdout


CAPTURE, METADATA = 0x0000_0001, 0x0080_0000


class Driver:
    """Stands in for ioctl: a driver as linux/videodev2.h describes it."""

    def __init__(self, capabilities: int, busy: bool = False) -> None:
        self.capabilities, self.busy = capabilities, busy

    def __call__(self, device: int, request: int, argument: bytes) -> bytes:
        if request == 0x80685600:  # VIDIOC_QUERYCAP, as strace shows it
            card = (CAPTURE | METADATA | 0x8000_0000, self.capabilities)
            return struct.pack("16s32s32sIII12x", b"uvcvideo", b"USB Camera", b"usb-1", 0, *card)
        assert request in (0xC0D05604, 0xC0D05605, 0xC0CC5604, 0xC0CC5605)  # VIDIOC_G_FMT, VIDIOC_S_FMT
        if request & 1 and self.busy:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return argument


@pytest.fixture
def opened(node: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video device that opens, with no driver behind it."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: real("/dev/null" if path == str(node) else path, *rest))
    return node


def test_the_metadata_node_of_a_camera_leads_to_the_other_one(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", Driver(METADATA))
    with pytest.raises(SourceError, match=r"E-SOURCE-NOT-CAMERA: camera \(USB Camera\) does not give pictures"):
        v4l2.check_camera(str(opened), "camera")


def test_a_device_that_does_not_answer_is_no_camera(opened: Path) -> None:
    with pytest.raises(SourceError, match="E-SOURCE-NOT-CAMERA: camera does not answer like a video device"):
        v4l2.check_camera(str(opened), "camera")


def test_a_camera_passes(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", Driver(CAPTURE))
    v4l2.check_camera(str(opened), "camera")


@contextlib.contextmanager
def busy_with(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that has a file open and, before it in the list of what it has open, other files again and again."""
    work = """if True:
    import os, sys
    file = os.open(sys.argv[1], os.O_RDONLY)
    os.dup2(file, 500)
    os.close(file)
    print(flush=True)
    while True:
        files = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
        for file in files:
            os.close(file)
    """
    with subprocess.Popen([sys.executable, "-c", work, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_camera_in_use_names_the_program(opened: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fcntl, "ioctl", Driver(CAPTURE, busy=True))
    assert str(v4l2.why_not(str(opened), "camera")).startswith("E-SOURCE-BUSY: camera is in use by another program: ")
    other_file = tmp_path / "as the device"
    other_file.write_bytes(b"")
    with busy_with(other_file) as process:
        user = f"{Path(sys.executable).name} (process {process.pid})"
        assert [v4l2._users(str(other_file)) for _ in range(50)] == [[user]] * 50


def test_a_camera_that_is_free_and_does_not_start_says_so(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", Driver(CAPTURE))
    assert str(v4l2.why_not(str(opened), "camera")).startswith("E-SOURCE-OPEN: camera is a camera, but does not start")


# What a camera is asked for


class FakeCapture:
    """A camera that gives 640x480 at 30 a second in YUYV, and accepts only some settings."""

    def __init__(self, *takes: int) -> None:
        self.takes, self.order = takes, list[int]()
        fourcc = float(cv2.VideoWriter.fourcc(*"YUYV"))
        self.given = {
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: fourcc,
        }

    def set(self, what: int, value: float) -> bool:
        self.order.append(what)
        if what in self.takes:
            self.given[what] = float(value)
        return True

    def get(self, what: int) -> float:
        return self.given[what]


WANTED = Settings((1280, 720), 15.0, "MJPG")
ALL = (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)


def test_a_camera_is_asked_for_its_format_first_and_what_it_gives_is_read_back() -> None:
    camera = FakeCapture(*ALL)
    ask(camera, WANTED)  # type: ignore[arg-type]
    assert camera.order == list(ALL)
    assert other(camera, WANTED, "camera") is None  # type: ignore[arg-type]


def test_a_camera_that_gives_something_else_says_what() -> None:
    camera = FakeCapture()
    ask(camera, WANTED)  # type: ignore[arg-type]
    said = "camera gives 640x480 pixels, not 1280x720 and 30 frames a second, not 15 and YUYV, not MJPG"
    assert other(camera, WANTED, "camera") == said  # type: ignore[arg-type]


def test_a_camera_that_was_asked_for_nothing_is_left_as_it_is() -> None:
    camera = FakeCapture()
    ask(camera, Settings())  # type: ignore[arg-type]
    assert camera.order == []
    assert other(camera, Settings(), "camera") is None  # type: ignore[arg-type]
