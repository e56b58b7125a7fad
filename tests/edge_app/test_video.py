"""Video files: damage is reported, whole frames are answered, and what is not a video is not played."""

import csv
import functools
import json
import random
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.camera.capture import Capture
from limiar.edge_app.camera.container import VideoContainer
from limiar.edge_app.camera.damage import Account
from limiar.edge_app.camera.frame import Frame
from limiar.edge_app.camera.messages import View
from limiar.edge_app.camera.source import find_source, open_source
from limiar.edge_app.camera.structure import fault
from limiar.edge_app.errors import SourceError

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
COUNT = 60
SIZE = (96, 64)
NO_MARKS = str.maketrans("", "", "-:.")  # of a time, in a file's name

# What the encoders in OpenCV's wheels can write, and every container with a length, times or an index of its own among them.
FORMATS = [
    *(("mp4", "mp4v"), ("mp4", "VP90"), ("mov", "MJPG"), ("mkv", "mp4v"), ("mkv", "FFV1"), ("webm", "VP80"), ("avi", "MJPG")),
    *(("avi", "mp4v"), ("avi", "I420"), ("ts", "mpg2"), ("mpg", "mpg2"), ("flv", "FLV1"), ("wmv", "WMV2"), ("3gp", "mp4v")),
]


def write_video(path: Path, fourcc: str, rate_hz: float = 25, count: int = COUNT, size: tuple[int, int] = SIZE) -> Path:
    """Soft noise that drifts: no two frames are equal, and it compresses as a picture does."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), rate_hz, size)
    assert writer.isOpened()
    texture = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    for number in range(count):
        writer.write(np.roll(texture, (number, 2 * number), axis=(0, 1)))
    writer.release()
    return path


def watched(path: Path) -> tuple[list[Frame], str | None]:
    """Every frame through the real capture process, and what it reports as missing. Raises SourceError."""
    address = find_source(f"video:{path}")
    with Capture(functools.partial(open_source, address), View(address.name)) as capture:
        frames = [msgspec.structs.replace(found, memory=found.pixels.tobytes()) for found in capture.frames() if found]
    return frames, capture.loss


def numbers(frames: list[Frame]) -> list[int]:
    return [found.place.frame for found in frames if found.place]


def with_index_first(data: bytes) -> bytes:
    """An MP4 whose index (moov) follows its end, as cameras write it -> the index first, as for streaming."""
    start = data.rindex(b"moov") - 4
    (length,) = struct.unpack_from(">I", data, start)
    index = bytearray(data[start : start + length])
    table = index.index(b"stco")
    (entries,) = struct.unpack_from(">I", index, table + 8)
    for at in range(table + 12, table + 12 + 4 * entries, 4):
        struct.pack_into(">I", index, at, struct.unpack_from(">I", index, at)[0] + length)
    (after,) = struct.unpack_from(">I", data)  # of ftyp
    return data[:after] + bytes(index) + data[after:start] + data[start + length :]


@pytest.mark.parametrize(("extension", "fourcc"), FORMATS, ids=lambda value: str(value))
def test_of_a_whole_video_every_frame_comes_with_its_number_and_time_and_nothing_is_missing(
    extension: str, fourcc: str, tmp_path: Path
) -> None:
    frames, loss = watched(write_video(tmp_path / f"whole.{extension}", fourcc))
    assert loss is None
    assert numbers(frames) == list(range(1, COUNT + 1))
    for number, found in enumerate(frames):
        assert found.place
        assert abs(found.place.video_s - number / 25) < 0.01
        assert not found.doubtful


@pytest.mark.parametrize("rate_hz", [1, 7.5, 12.34, 24000 / 1001, 30000 / 1001, 120])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_no_frame_rate_makes_a_whole_video_look_damaged(extension: str, rate_hz: float, tmp_path: Path) -> None:
    frames, loss = watched(write_video(tmp_path / f"whole.{extension}", "mp4v", rate_hz, 20))
    assert loss is None
    assert numbers(frames) == list(range(1, 21))
    assert frames[-1].place
    assert abs(frames[-1].place.video_s - 19 / rate_hz) < 0.02


def test_a_video_is_turned_upright_as_its_file_says(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", "MJPG", count=2)
    stored = watched(path)[0][0].pixels
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, section 8.3.2: a quarter turn clockwise
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, SIZE[1] << 16, 0, 1 << 30)
    path.write_bytes(data)
    assert np.array_equal(watched(path)[0][0].pixels, np.rot90(stored, -1))


@pytest.mark.parametrize("announced", [7, 9 * COUNT])
def test_a_header_that_counts_wrong_makes_no_whole_video_look_damaged(announced: int, tmp_path: Path) -> None:
    avi = write_video(tmp_path / "whole.avi", "MJPG")
    data = bytearray(avi.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 24, announced)  # dwTotalFrames
    struct.pack_into("<I", data, data.index(b"strh") + 40, announced)  # dwLength
    avi.write_bytes(data)
    frames, loss = watched(avi)
    assert (len(frames), loss) == (COUNT, None)


def test_a_duration_that_sound_makes_longer_makes_no_whole_video_look_damaged(tmp_path: Path) -> None:
    mkv = write_video(tmp_path / "whole.mkv", "mp4v")
    data = bytearray(mkv.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # Duration, in milliseconds
    struct.pack_into(">d", data, at, 3 * struct.unpack_from(">d", data, at)[0])
    mkv.write_bytes(data)
    frames, loss = watched(mkv)
    assert (len(frames), loss) == (COUNT, None)


def damaged(data: bytes, where: float, kind: str) -> bytes:
    """1 kB, or less of a small file, in which another was written, that is lost, or that is as nobody ever wrote it."""
    size, at = min(1024, len(data) // 16), int(len(data) * where)
    filling = {"noise": random.Random(3).randbytes(size), "0xFF": b"\xff" * size, "gone": b""}[kind]
    return data[:at] + filling + data[at + size :]


@pytest.mark.parametrize("kind", ["noise", "0xFF", "gone"])
@pytest.mark.parametrize("where", [0.4, 0.6, 0.8])
@pytest.mark.parametrize(
    ("extension", "fourcc"),
    [("mp4", "mp4v"), ("mkv", "mp4v"), ("avi", "mp4v"), ("avi", "MJPG"), ("mov", "MJPG"), ("ts", "mpg2")],  # VP8 has no check
)
def test_damage_in_the_middle_is_said_and_no_frame_beside_it_is_taken_for_whole(
    extension: str, fourcc: str, where: float, kind: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"video.{extension}", fourcc)
    whole = {found.pixels.tobytes() for found in watched(path)[0]}
    data = path.read_bytes()
    if extension in ("mp4", "mov"):
        data = with_index_first(data)
    path.write_bytes(damaged(data, where, kind))
    frames, loss = watched(path)
    assert loss
    assert len(frames) >= int(COUNT * where) - 12  # what lies before the damage, but for the group of frames that it hits
    for found in frames:
        assert found.place
        assert found.doubtful or found.pixels.tobytes() in whole


def test_frames_after_a_damaged_one_are_read_and_known_by_their_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", "MJPG")
    whole = [found.pixels for found in watched(path)[0]]
    data = bytearray(with_index_first(path.read_bytes()))
    pictures = [at for at in range(len(data)) if data[at : at + 3] == b"\xff\xd8\xff"]
    assert len(pictures) == COUNT
    for number in (20, 21, 22, 40):
        data[pictures[number] : pictures[number + 1]] = bytes(pictures[number + 1] - pictures[number])
    path.write_bytes(data)
    frames, loss = watched(path)
    assert loss
    assert loss.startswith(f"4 of {COUNT} frames could not be read (21-23, 41)")
    assert numbers(frames) == [number for number in range(1, COUNT + 1) if number not in (21, 22, 23, 41)]
    assert all(found.place and np.array_equal(found.pixels, whole[found.place.frame - 1]) for found in frames)
    assert [found.place.frame for found in frames if found.place and found.doubtful] == [20, 40]  # beside the damage


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("extension", "fourcc"),
    [("mp4", "mp4v"), ("mkv", "mp4v"), ("avi", "mp4v"), ("avi", "MJPG"), ("webm", "VP90"), ("ts", "mpg2")],
)
def test_of_a_copy_that_was_cut_off_the_rest_is_answered_and_the_loss_said(
    extension: str, fourcc: str, part: float, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"video.{extension}", fourcc)
    whole = [found.pixels for found in watched(path)[0]]
    data = with_index_first(path.read_bytes()) if extension == "mp4" else path.read_bytes()
    path.write_bytes(data[: int(len(data) * part) // 100 * 100])
    frames, loss = watched(path)
    assert loss
    assert len(frames) >= int(COUNT * part) // 2  # the first frame of a group is the largest
    assert numbers(frames) == sorted(set(numbers(frames)))
    certain = [found for found in frames if not found.doubtful]
    assert len(certain) >= len(frames) - 3
    assert all(found.place and np.array_equal(found.pixels, whole[found.place.frame - 1]) for found in certain)


def test_the_videos_that_went_wrong_are_answered_as_far_as_they_are_whole(cases: Path) -> None:
    """H.264, which the encoders in OpenCV's wheels do not write."""
    whole, loss = watched(cases / "video/k6_whole.mp4")
    assert (len(whole), loss) == (100, None)
    for name, least in (("k6_bad_sectors.mp4", 93), ("k6_copy_cut_off.mp4", 52)):
        frames, loss = watched(cases / "video" / name)
        assert len(frames) >= least
        assert loss
        assert f"{100 - len(frames)} of 100 frames could not be read" in loss
        for found in frames:
            assert found.place
            assert found.doubtful or np.array_equal(found.pixels, whole[found.place.frame - 1].pixels)


def test_an_mp4_without_its_index_is_one_line_that_says_what_is_missing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", "mp4v")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"E-SOURCE-DAMAGED: .*video\.mp4 has no index \(moov\)"):
        watched(path)


def test_a_video_of_which_no_frame_is_left_is_an_error_and_not_an_empty_result(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", "MJPG")
    data = bytearray(with_index_first(path.read_bytes()))
    data[data.index(b"mdat") + 4 :] = bytes(len(data) - data.index(b"mdat") - 4)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"E-SOURCE-DAMAGED: .*60 of 60 frames could not be read"):
        watched(path)


def test_a_disk_that_fails_is_said_where_ffmpeg_takes_it_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = VideoContainer(str(write_video(tmp_path / "video.ts", "mpg2")), "video:video.ts")
    assert container.read_error() is None
    monkeypatch.setattr(container, "_path", "/proc/self/mem")  # which has no byte 0
    assert container.read_error() == "the file cannot be read from byte 0 on (Input/output error)"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", "mp4v")
    path.write_bytes(path.read_bytes().replace(b"vide", b"soun"))
    with pytest.raises(SourceError, match=r"E-SOURCE-OPEN: .*has no video track, only sound"):
        watched(path)


def test_frames_of_more_than_fifty_megapixels_are_refused_before_one_is_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.avi", "MJPG", count=1, size=(8192, 6144))
    with pytest.raises(SourceError, match=r"E-SOURCE-FRAME: .*8192x6144 pixels, the limit is 50 megapixels"):
        watched(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"this is no video", "does not begin like a video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "limiar scan"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "does not begin like a video"),
        (b"ID3\x03" + bytes(99), "does not begin like a video"),
        (bytes(5000), "does not begin like a video"),
    ],
)
def test_what_is_no_video_is_refused_by_what_it_is(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "file.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=f"E-SOURCE-OPEN: .*{what}"):
        watched(tmp_path / "file.mp4")


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n#EXT-X-ENDLIST\n",
    "list.m3u": "#EXTM3U\n{video}\n",
    "bare.m3u": "http://127.0.0.1/{video}\n",
    "list.pls": "[playlist]\nFile1={video}\nNumberOfEntries=1\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{video}'\n",
    "list.txt": "file '{video}'\nfile '{video}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{video}</BaseURL></MPD>',
    "list.asx": '<ASX version="3.0"><Entry><Ref href="{video}"/></Entry></ASX>',
}


@pytest.mark.parametrize("start", ["", "\n\n", "\ufeff"], ids=["", "after blank lines", "after a byte order mark"])
@pytest.mark.parametrize("extension", ["", ".mp4"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_not_followed_whatever_it_is_called(name: str, extension: str, start: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.avi", "MJPG", count=2)
    path = tmp_path / (name + extension)
    path.write_text(start + PLAYLISTS[name].format(video=video.name), encoding="utf-8")
    with pytest.raises(SourceError, match=r"E-SOURCE-PLAYLIST: .*: give the video itself"):
        watched(path)


def test_a_pattern_of_image_names_is_no_video(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"img{number:03}.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SourceError, match=r"E-SOURCE-OPEN: .* is not a file"):
        watched(tmp_path / "img%03d.png")


# Which frames are missing


def place_all(account: Account, events: list[float | str]) -> list[tuple[int, bool]]:
    """Of each frame its number and whether it is doubtful. An event is its time, or "bad" for one that cannot be read."""
    found = []
    for event in events:
        if isinstance(event, str):
            account.failed(loudly=True)
        else:
            place = account.placed(event, complained=False, key=True, kind="I")
            found.append((place.frame, account.doubt.now))
    return found


def test_a_variable_frame_rate_is_counted_and_not_taken_for_a_loss() -> None:
    account = Account(10, 50, timed=True, met_at_start=False)
    assert place_all(account, [0, 0.1, 0.9, 1.0, 4.0]) == [(number, False) for number in range(1, 6)]
    assert account.loss(0) is None


def test_with_a_variable_frame_rate_a_loss_is_counted_by_what_failed() -> None:
    account = Account(10, 0, timed=True, met_at_start=False)
    assert place_all(account, [0, 0.1, 0.9, "bad", "bad", 1.5, "bad"]) == [(1, False), (2, False), (3, False), (6, False)]
    assert account.loss(0) == "3 frames could not be read"


def test_frames_that_the_decoder_swallowed_are_found_by_the_times_of_the_others() -> None:
    account = Account(10, 8, timed=True, met_at_start=False)
    assert [number for number, _ in place_all(account, [0, 0.1, "bad", 0.5, 0.4, 0.7])] == [1, 2, 6, 5, 8]
    assert account.loss(0) == "3 of 8 frames could not be read (3-4, 7)"


def test_where_frames_have_no_times_of_their_own_no_number_is_named_as_missing() -> None:
    account = Account(10, 5, timed=False, met_at_start=False)
    place_all(account, [0, 0.1, "bad", 0.2])
    assert account.loss(0) == "2 of 5 frames could not be read"


def test_doubt_lasts_until_a_frame_that_builds_on_no_other_and_was_decoded_after_the_damage() -> None:
    account = Account(10, 0, timed=True, met_at_start=False)
    steps = [  # complained, the packet starts anew, the frame's kind, in doubt
        (False, True, "I", False),
        (True, False, "P", True),
        (False, False, "I", True),  # a decoder that reorders frames had this one before the damage
        (False, True, "P", True),
        (False, False, "I", False),
        (True, True, "I", True),
    ]
    for number, (complained, key, kind, doubtful) in enumerate(steps):
        account.placed(number / 10, complained, key, kind)
        assert account.doubt.now == doubtful


# The command


def test_the_command_answers_what_is_whole_refers_what_is_doubtful_and_ends_with_4(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "video.mp4", "mp4v")
    path.write_bytes(damaged(with_index_first(path.read_bytes()), 0.5, "noise"))
    done = limiar("camera", tiny_path, f"video:{path}", "--refer-below", "0")
    assert done.returncode == 4, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    doubtful = [line for line in lines if line["doubtful"]]
    assert {line["decision"] for line in doubtful} == {"refer"}
    assert len(doubtful) < len(lines) / 2
    assert all(line["decision"] == line["label"] for line in lines if not line["doubtful"])
    assert [line["video_s"] for line in lines] == [round((line["frame"] - 1) / 25, 3) for line in lines]
    summary, loss = done.stderr.decode().splitlines()
    assert summary.startswith(f"{len(lines)} frames, ")
    assert loss.startswith(f"E-SOURCE-DAMAGED: video:{path}: ")


def test_of_a_whole_video_the_command_says_nothing_more_and_ends_with_0(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    done = limiar("camera", tiny_path, f"video:{write_video(tmp_path / 'video.avi', 'MJPG')}")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == COUNT
    assert len(done.stderr.splitlines()) == 1


def test_a_spreadsheet_and_pictures_hold_what_the_lines_hold(limiar: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "ward.avi", "MJPG", count=5)
    sheet, pictures = tmp_path / "frames.csv", tmp_path / "pictures"
    done = limiar("camera", tiny_path, f"video:{path}", "--csv", sheet, "--annotate", pictures)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for line, row in zip(lines, rows, strict=True):
        plain = (
            "source",
            "sequence",
            "taken",
            "decision",
            "label",
            "confidence",
            "file",
            "runtime",
            "time",
            "frame",
            "video_s",
        )
        assert [row[column] for column in plain] == [str(line[column]) for column in plain]
        assert row["probability_neg"] == str(line["probabilities"]["neg"])
    names = sorted(file.name for file in pictures.iterdir())
    assert names == [f"ward.avi-{line['taken'].translate(NO_MARKS)}-{line['sequence']:06}.png" for line in lines]
    with Image.open(pictures / names[0]) as image:
        assert image.width == 400


def test_a_spreadsheet_on_stdout_and_settings_for_a_video_are_usage_errors(limiar: Limiar, tiny_path: Path) -> None:
    for options in (["--csv", "-"], ["--size", "640x480"], ["--fps", "15"], ["--format", "MJPG"], ["--size", "12"]):
        assert limiar("camera", tiny_path, "video:ward.avi", *options).returncode == 2


def test_a_video_with_far_fewer_frames_than_its_header_announces_ends_with_0_and_a_remark(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "video.mkv", "mp4v")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", data, at, 2 * struct.unpack_from(">d", data, at)[0])
    path.write_bytes(data)
    done = limiar("camera", tiny_path, f"video:{path}")
    assert done.returncode == 0
    assert f"{COUNT} frames, though its header announces {2 * COUNT}; no damage was met" in done.stderr.decode()
    assert limiar("camera", tiny_path, f"video:{path}", "--quiet").stderr == b""


def test_quiet_says_of_a_whole_video_nothing_but_the_lines_and_of_damage_what_is_missing(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "video.avi", "MJPG", count=5)
    done = limiar("camera", tiny_path, f"video:{path}", "--quiet")
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 5, b"")
    path.write_bytes(path.read_bytes()[:-3000])
    done = limiar("camera", tiny_path, f"video:{path}", "-q")
    assert done.returncode == 4
    assert done.stderr.startswith(b"E-SOURCE-DAMAGED: ")
    assert len(done.stderr.splitlines()) == 1


def test_verbose_says_what_answers(limiar: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.avi", "MJPG", count=2)
    done = limiar("camera", tiny_path, f"video:{path}", "-v", "--file", "tflite_fp32")
    assert done.stderr.startswith(b"tiny 0.1.0, tflite_fp32 on ")
    assert limiar("camera", tiny_path, f"video:{path}", "-v", "-q").returncode == 2


# What FFmpeg passes over without a word, and the container tells


def of(data: bytes, kind: str) -> str | None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return fault(file, kind)


def gif(path: Path) -> Path:
    noise = np.random.default_rng(5).integers(0, 256, (COUNT, 64, 96), np.uint8)
    first, *others = (Image.fromarray(cv2.GaussianBlur(frame, (0, 0), 2)) for frame in noise)
    first.save(path, save_all=True, append_images=others, duration=40)
    return path


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("extension", "fourcc"), [("avi", "MJPG"), ("ts", "mpg2"), ("gif", ""), ("webm", "VP80"), ("mkv", "mp4v")]
)
def test_of_a_copy_whose_end_is_nul_the_rest_is_answered_and_the_loss_said(
    extension: str, fourcc: str, part: float, tmp_path: Path
) -> None:
    path = tmp_path / f"video.{extension}"
    whole, loss = watched(write_video(path, fourcc) if fourcc else gif(path))
    assert (len(whole), loss) == (COUNT, None)
    data = path.read_bytes()
    at = int(len(data) * part)
    path.write_bytes(data[:at] + bytes(len(data) - at))
    frames, loss = watched(path)
    assert loss
    known = {found.pixels.tobytes() for found in whole}
    assert all(found.place and (found.doubtful or found.pixels.tobytes() in known) for found in frames)


@pytest.mark.parametrize("part", [0.4, 0.6, 0.8])
@pytest.mark.parametrize(("extension", "fourcc"), [("webm", "VP80"), ("webm", "VP90"), ("mkv", "VP80")])
def test_a_sector_that_vp8_or_vp9_lost_is_said(extension: str, fourcc: str, part: float, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"video.{extension}", fourcc)
    assert VideoContainer(str(path), "video").fault is None
    data = path.read_bytes()
    at = int(len(data) * part)
    path.write_bytes(data[:at] + bytes(512) + data[at + 512 :])
    assert watched(path)[1]


def test_a_packet_that_fell_out_of_a_transport_stream_is_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.ts", "mpg2")
    data = path.read_bytes()
    assert VideoContainer(str(path), "video").fault is None
    for number in range(40, 60):
        path.write_bytes(data[: 188 * number] + data[188 * (number + 1) :])
        if data[188 * number + 3] & 0x10:  # one that carries something
            assert VideoContainer(str(path), "video").fault == "packets are missing in 1 places"
    path.write_bytes(data[: 188 * 40] + bytes(512) + data[188 * 40 + 512 :])
    assert "of its packets are overwritten" in (VideoContainer(str(path), "video").fault or "")


def test_a_void_element_and_the_padding_behind_a_picture_are_no_lost_sectors() -> None:
    head = b"\x1a\x45\xdf\xa3" + b"V_VP8" + b"\x1f\x43\xb6\x75"
    picture = b"\xff\xd8\xff" + b"x" * 900 + b"\xff\xd9"
    assert of(head + b"y" * 99 + b"\xec\x10\x02" + bytes(2000), "Matroska or WebM") is None
    assert of(head + b"y" * 99 + bytes(2000), "Matroska or WebM")
    assert of(head.replace(b"V_VP8", b"A_PCM") + bytes(2000), "Matroska or WebM") is None
    assert of((picture + bytes(3_000_000)) * 2, "JPEG") is None
    assert of(picture[:500] + bytes(600) + picture[500:], "JPEG")
    assert of(b"\0\0\0\1" + b"z" * 99 + bytes(512) + b"z", "H.264, H.265 or MPEG-4")


def test_an_ogg_ends_with_the_page_that_says_so() -> None:
    page, last = (b"OggS\0" + kind + bytes(20) + b"\x01\x05hello" for kind in (b"\0", b"\4"))
    assert of(page + page + last, "Ogg") is None
    assert of(page + page, "Ogg") == "its last page is missing"
