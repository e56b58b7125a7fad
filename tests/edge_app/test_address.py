"""Addresses of sources, well and badly written; no password in them is ever shown."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from limiar.edge_app.camera.source import find_source
from limiar.edge_app.errors import LimiarError, SourceError

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize(
    ("text", "kind", "target", "name"),
    [
        ("video:a b.mp4", "video", "a b.mp4", "video:a b.mp4"),
        ("video:ward@3.mp4", "video", "ward@3.mp4", "video:ward@3.mp4"),
        ("v4l2:/dev/video1", "v4l2", "/dev/video1", "v4l2:/dev/video1"),
        ("v4l2:1", "v4l2", "/dev/video1", "v4l2:/dev/video1"),
        ("/dev/video0", "v4l2", "/dev/video0", "v4l2:/dev/video0"),
        (
            "/dev/v4l/by-id/usb-A_B-video-index0",
            "v4l2",
            *(f"{kind}/dev/v4l/by-id/usb-A_B-video-index0" for kind in ("", "v4l2:")),
        ),
        ("picamera:0", "picamera", "0", "picamera:0"),
        ("rtsp://user:pass@cam:554/a?token=b", "rtsp", "rtsp://user:pass@cam:554/a?token=b", "rtsp://cam:554/a"),
        ("RTSP://user:pass@cam/a", "rtsp", "RTSP://user:pass@cam/a", "rtsp://cam/a"),
        (" rtsps://user:pass@cam/a ", "rtsp", "rtsps://user:pass@cam/a", "rtsps://cam/a"),
        ("http://user:p%40ss@cam/v.mjpg?key=b#c", "http", "http://user:p%40ss@cam/v.mjpg?key=b#c", "http://cam/v.mjpg"),
        ("https://cam/", "http", "https://cam/", "https://cam/"),
        (
            "rtsp://cam/user=a_password=b_channel=1",
            "rtsp",
            *(f"rtsp://cam/user={v}_channel=1" for v in ("a_password=b", "…_password=…")),
        ),
        ("video:\x1b[31m", "video", "\x1b[31m", "video:\\x1b[31m"),
    ],
)
def test_a_source_is_named_without_its_secrets(text: str, kind: str, target: str, name: str) -> None:
    address = find_source(text)
    assert (address.kind, address.target, address.name) == (kind, target, name)


@pytest.mark.parametrize(
    "text", ["", " ", "video:", "v4l2:", "webcam", "picamera:front", "picamera:", "clip.mp4", "ftp://host/a"]
)
def test_what_is_not_a_source_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"E-SOURCE-UNKNOWN: .*give video:FILE"):
        find_source(text)


# Each holds "secret", in the place of a password or token; most are as people, and other programs, write them.
NASTY = [
    *(
        f"{scheme}://user:secret@camera/front"
        for scheme in ("rtspt", "rtspu", "rtmp", "rtmps", "RTMP", "ftp", "srt", "udp", "x")
    ),
    *(
        f"{kind}rtsp://user:secret@camera/front"
        for kind in ("v4l2:", "video:", "picamera:", "VIDEO:", "v4l2:v4l2:", "video: ", "-")
    ),
    *(f"{kind}rtsp:/user:secret@camera/front" for kind in ("", "v4l2:", "video:", " ", "\t")),
    *(f"{kind}rtsp//user:secret@camera/front" for kind in ("", "v4l2:", "video:")),
    *(f"{kind}user:secret@camera/front" for kind in ("", "v4l2:", "video:", "rtsp:", "http:", "//")),
    *(f"rtsp://user:se{character}secret@camera/front" for character in "#/?[ \t\n"),
    *("rtsp://user:secret@", "rtsp://user:secret@[::1", "rtsp://user:secret@camera:99999/", "rtsp://user:secret@camera:x/"),
    *(
        "rtsp://camera/a?password=se@secret",
        "http://camera/a?x=1&y=@secret",
        "rtsp://@secret?secret@",
        "rtsp:\\\\user:secret@camera",
    ),
    *(
        "srt://camera?passphrase=secret",
        "video:http://camera/?token=secret",
        "video:srt://camera#secret",
        "'rtsp://user:secret@camera'",
    ),
    *(
        "video:rtsp://camera/password=secret",
        "rtmp://camera/token=secret/live",
        "rtsp\uff1a//user:secret@camera",
        "<rtsp://u:secret@c>",
    ),
    *("http:user:secret@camera", "http:///user:secret@camera", "https://user:secret@ca mera/"),
]


@pytest.mark.parametrize("text", NASTY)
def test_an_address_that_is_none_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(SourceError, match="E-SOURCE-UNKNOWN") as raised:
        find_source(text)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("character", "@:;\\&=%")
def test_a_password_may_hold_what_ends_no_address(character: str) -> None:
    assert find_source(f"rtsp://user:se{character}secret@camera/front").name == "rtsp://camera/front"


@pytest.mark.parametrize(
    "text", ["rtsp://user:secret@127.0.0.1:9/", "http://user:secret@127.0.0.1:9/?token=secret", *NASTY[:20]]
)
def test_the_command_never_echoes_a_password(limiar: Limiar, tiny_path: Path, tmp_path: Path, text: str) -> None:
    outcome = tmp_path / "lines.jsonl"
    done = limiar("camera", tiny_path, "--jsonl", outcome, "--db", tmp_path / "r.db", "--", text)
    assert done.returncode == 1
    assert b"E-SOURCE-" in done.stderr
    said = done.stdout + done.stderr + (outcome.read_bytes() if outcome.exists() else b"")
    assert b"secret" not in said + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "arguments", [["rtsp://u:secret@c", "rtsp://u:secret@c"], ["--jsonl=-", "rtsp://a", "rtsp://u:secret@c"]]
)
def test_an_address_in_the_wrong_place_is_a_usage_error_without_its_password(
    limiar: Limiar, tiny_path: Path, arguments: list[str]
) -> None:
    done = limiar("camera", tiny_path, *arguments)
    assert done.returncode == 2
    assert b"secret" not in done.stderr


@pytest.mark.parametrize("text", ["rtsp://user:secret@camera/front", "HTTP://user:secret@camera/a.png", " rtmp:/u:secret@c"])
def test_scan_does_not_take_an_address_for_the_name_of_an_image(
    limiar: Limiar, tiny_path: Path, images: Path, tmp_path: Path, text: str
) -> None:
    done = limiar("scan", tiny_path, images, text)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"limiar camera" in done.stderr
    assert b"secret" not in done.stderr


def test_an_address_inside_another_message_loses_its_password() -> None:
    assert (
        str(LimiarError("E-X", "rtsp://user:se:cret@cam/a and HTTP://u:secret@b failed"))
        == "E-X: rtsp://cam/a and HTTP://b failed"
    )
