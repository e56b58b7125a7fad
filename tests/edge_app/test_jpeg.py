"""A JPEG whose pixels are cut, damaged or partly lost is refused, though its end is there; every whole one is answered."""

import io
import itertools
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import jpeg
from limiar.edge_app.image.decoders.jpeg import check_strip
from limiar.edge_app.image.read import decode

DATA = Path(__file__).parent / "data"
EOI = b"\xff\xd9"
DAMAGED = {"E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"}


def texture(height: int = 90, width: int = 110) -> np.ndarray[Any, np.dtype[np.uint8]]:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload,no-any-return]


def saved(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **{"quality": 80, **options})
    return file.getvalue()


WHOLE = {
    "baseline 4:2:0": saved(texture()),
    "baseline 4:4:4": saved(texture(), subsampling=0),
    "baseline 4:2:2": saved(texture(), subsampling=1),
    "low quality": saved(texture(), quality=10),
    "optimised": saved(texture(), optimize=True),
    "grey": saved(texture()[:, :, 0]),
    "grey progressive": saved(texture()[:, :, 0], progressive=True),
    "progressive": saved(texture(), progressive=True),
    "restarts": saved(texture(), restart_marker_blocks=3),
    "restarts by row": saved(texture(), restart_marker_rows=1),
    "progressive with restarts": saved(texture(), progressive=True, restart_marker_blocks=3),
    "kept as RGB": saved(texture(), keep_rgb=True),
    "progressive, kept as RGB": saved(texture(), keep_rgb=True, progressive=True),
    "progressive 4:4:4": saved(texture(), subsampling=0, progressive=True),
    "progressive 4:2:2": saved(texture(), subsampling=1, progressive=True),
    **{path.stem: path.read_bytes() for path in sorted((DATA / "jpeg").iterdir()) if path.stem != "arithmetic"},
}
SEVERAL = [what for what, data in WHOLE.items() if data.count(b"\xff\xda") > 1]
RARE = [what for what in WHOLE if what.startswith("sampling-410")]  # no decoder tells what it met there


def refusal(data: bytes) -> str | None:
    try:
        decode(data)
    except ImageError as error:
        return error.code
    return None


def scan_start(data: bytes, number: int = 0) -> int:
    """The first byte of entropy-coded data of a scan."""
    walked = jpeg.walk(data, 0)
    start = [start for start, _ in walked.pieces if data[start + 1] == jpeg.SOS][number]
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


@pytest.mark.parametrize("what", WHOLE)
def test_a_whole_jpeg_is_answered_with_pillows_pixels(what: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(WHOLE[what])).convert("RGB"))
    assert np.array_equal(decode(WHOLE[what]).pixels(), expected)


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_pixels_are_pillows_at_every_edge_of_a_block(sampling: str) -> None:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
    for height, width in itertools.product((1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 34), repeat=2):
        data = cv2.imencode(".jpg", texture(40, 40)[:height, :width], options)[1].tobytes()
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(decode(data).pixels(), expected), (height, width)


@pytest.mark.parametrize("what", WHOLE)
def test_a_jpeg_that_was_cut_and_closed_again_is_refused(what: str) -> None:
    data = WHOLE[what]
    for at in random.Random(1).sample(range(scan_start(data) + 1, len(data) - 3), 60):
        assert refusal(data[:at] + EOI) in DAMAGED, at


@pytest.mark.parametrize("what", WHOLE)
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(what: str) -> None:
    data = WHOLE[what]
    whole = decode(data).pixels()
    for lost in range(2, 24):
        cut = data[: -2 - lost] + EOI
        assert refusal(cut) in DAMAGED or np.array_equal(decode(cut).pixels(), whole), lost


@pytest.mark.parametrize("what", SEVERAL)
def test_a_jpeg_whose_last_scans_are_missing_is_refused(what: str) -> None:
    data = WHOLE[what]
    starts = [start for start, _ in jpeg.walk(data, 0).pieces if data[start + 1] == jpeg.SOS]
    assert len(starts) > 1
    for start in starts[1:]:
        assert refusal(data[:start] + EOI) == "E-IMAGE-TRUNCATED"


_OPENCV = """
import struct, sys
import cv2, numpy as np
data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    length, = struct.unpack_from(">I", data, at)
    sys.stderr.write("\\n#")
    sys.stderr.flush()
    if cv2.imdecode(np.frombuffer(data, np.uint8, length, at + 4), cv2.IMREAD_UNCHANGED) is None:
        sys.stderr.write("nothing")
        sys.stderr.flush()
    at += 4 + length
"""


@pytest.mark.parametrize("what", [what for what in WHOLE if what not in RARE])
def test_bit_errors_are_refused_if_another_libjpeg_warns_of_them(what: str) -> None:
    data, rng = WHOLE[what], random.Random(2)
    damaged = []
    for _ in range(80):
        at = rng.randrange(scan_start(data), len(data) - 2)
        damaged.append(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
    files = b"".join(struct.pack(">I", len(file)) + file for file in damaged)
    done = subprocess.run([sys.executable, "-P", "-c", _OPENCV], input=files, capture_output=True, check=True, timeout=120)
    told = [bool(lines.strip()) for lines in done.stderr.split(b"\n#")[1:]]
    found = [refusal(file) is not None for file in damaged]
    # Refused here alone: a marker where none may be.
    assert [number for number, (here, there) in enumerate(zip(found, told, strict=True)) if there and not here] == []
    assert any(found)


@pytest.mark.parametrize("what", WHOLE)
def test_a_lost_sector_within_the_pixels_is_refused(what: str) -> None:
    data = WHOLE[what]
    start, found = scan_start(data), set()
    for at in range(start + 64, len(data) - 514, 97):
        found.add(refusal(data[:at] + bytes(512) + data[at + 512 :]))
    if what == "sampling-410-progressive":  # its decoder tells less than others
        found.discard(None)
    assert found <= DAMAGED


@pytest.mark.parametrize("grey", [False, True])
def test_a_sector_that_the_last_and_finest_scan_of_a_progressive_jpeg_lost_is_refused(grey: bool) -> None:
    pixels = texture(300, 300)
    data = saved(pixels[:, :, 0] if grey else pixels, progressive=True, quality=95)
    start = scan_start(data, -1)
    assert len(data) - start > 4096
    for at in range(start, len(data) - 514, 211):
        assert refusal(data[:at] + bytes(512) + data[at + 512 :]) in DAMAGED, at


def test_a_plain_surface_is_answered_though_its_codes_are_nul() -> None:
    plain = np.full((800, 800, 3), 90, np.uint8)
    plain[:50, :50] = texture(50, 50)
    data = saved(plain, optimize=True)
    assert bytes(128) in data
    assert refusal(data) is None


@pytest.mark.parametrize(
    ("change", "kind"),
    [((b"\xff\xc0", b"\xff\xc3"), "lossless"), ((b"\xff\xc0", b"\xff\xc5"), "hierarchical"), (None, "arithmetic-coded")],
)
def test_a_jpeg_of_a_kind_that_is_not_read_is_refused_by_its_name(change: tuple[bytes, bytes] | None, kind: str) -> None:
    data = WHOLE["baseline 4:2:0"].replace(*change) if change else (DATA / "jpeg" / "arithmetic.jpg").read_bytes()
    with pytest.raises(ImageError, match=f"a JPEG that is {kind}") as refused:
        decode(data)
    assert refused.value.code == "E-IMAGE-FORMAT"


def test_an_arithmetic_coded_jpeg_that_was_cut_is_not_answered() -> None:
    data = (DATA / "jpeg" / "arithmetic.jpg").read_bytes()
    assert refusal(data[: len(data) // 2] + EOI) == "E-IMAGE-FORMAT"


def test_a_12_bit_jpeg_is_refused_for_its_depth() -> None:
    data = WHOLE["baseline 4:2:0"]
    at = data.index(b"\xff\xc0") + 4
    assert refusal(data[:at] + b"\x0c" + data[at + 1 :]) == "E-IMAGE-DEPTH"


HARMLESS = {
    "fill bytes before the end": lambda data: data[:-2] + b"\xff" * 20 + EOI,
    "fill bytes before a table": lambda data: data.replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "a version of JFIF that nobody knows": lambda data: data.replace(b"JFIF\0\x01", b"JFIF\0\x07", 1),
    "a colour transform that nobody knows": lambda data: (
        data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x09" + data[2:]
    ),
    "a profile that is cut": lambda data: data[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\x02\x09" + data[2:],
    "a note": lambda data: data[:2] + b"\xff\xfe\0\x06\xff\xd8\xff\xd9" + data[2:],
    "Photoshop's part, cut": lambda data: data[:2] + b"\xff\xed\0\x16Photoshop 3.0\x008BIM\x04\x04" + data[2:],
    "an empty APP1": lambda data: data[:2] + b"\xff\xe1\0\x02" + data[2:],
}  # fmt: skip


@pytest.mark.parametrize("change", HARMLESS)
def test_what_does_not_touch_the_pixels_does_not_refuse_them(change: str) -> None:
    data = WHOLE["baseline 4:2:0"]
    changed = HARMLESS[change](data)
    assert changed != data
    assert np.array_equal(decode(changed).pixels(), decode(data).pixels())


def tiff_of_strips(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(texture(256, 150)).save(file, "TIFF", compression="jpeg", **options)
    return file.getvalue()


def strips(data: bytes) -> list[tuple[int, int]]:
    tags = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    return list(zip(tags[273], tags[279], strict=True))


@pytest.mark.parametrize("rows", [64, 256])
def test_a_jpeg_strip_that_was_cut_and_closed_again_is_refused(rows: int) -> None:
    data = tiff_of_strips(tiffinfo={278: rows})
    assert refusal(data) is None
    for start, count in strips(data):
        for kept in (count // 4, count // 2, count - 40):
            strip = data[start : start + kept] + EOI
            cut = data[:start] + strip.ljust(count, b"\0") + data[start + count :]
            assert refusal(cut) in DAMAGED, (start, kept)


def test_a_strip_is_checked_with_the_tables_of_its_tiff() -> None:
    data = tiff_of_strips()
    tables = Image.open(io.BytesIO(data)).tag_v2[347]  # type: ignore[attr-defined]
    for start, count in strips(data):
        check_strip(tables, data[start : start + count])
        with pytest.raises(ImageError):
            check_strip(tables, data[start : start + count // 2] + EOI)
        with pytest.raises(ImageError):
            check_strip(tables, b"nonsense")


def with_exif(content: bytes) -> bytes:
    data = WHOLE["baseline 4:2:0"]
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def turned() -> bytes:
    """EXIF that turns the picture, with a few more tags."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "a maker", {0x9003: "2026:01:01 00:00:00", 0x927C: b"notes" * 9}
    return b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")


def test_damaged_exif_refuses_no_picture() -> None:
    good, rng = turned(), random.Random(4)
    stored = decode(WHOLE["baseline 4:2:0"]).pixels()
    assert np.array_equal(decode(with_exif(good)).pixels(), np.rot90(stored, -1))
    ways = {np.ascontiguousarray(np.rot90(side, turns)).tobytes() for side in (stored, stored[:, ::-1]) for turns in range(4)}
    damaged = [good[:kept] for kept in range(6, len(good), 3)]
    for _ in range(150):
        at = rng.randrange(6, len(good))
        damaged.append(good[:at] + rng.randbytes(rng.randrange(1, 5)) + good[at + rng.randrange(5) :])
    damaged += [b"Exif\0\0" + rng.randbytes(80) for _ in range(50)]
    damaged += [b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65_535) + b"\xff" * 60, b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\0"]
    for content in damaged:
        assert decode(with_exif(content)).pixels().tobytes() in ways


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_progressive_jpeg_is_turned_like_any_other(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    picture, expected = Image.fromarray(texture()), np.asarray(Image.open(io.BytesIO(saved(texture(), progressive=True))))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80, progressive=True, exif=exif)
    steps = {1: (0, 1), 2: (0, -1), 3: (2, 1), 4: (2, -1), 5: (1, -1), 6: (-1, 1), 7: (-1, -1), 8: (1, 1)}[turn]
    turned = np.rot90(expected[:, :: steps[1]], steps[0])
    assert np.array_equal(decode(file.getvalue()).pixels(), turned)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_that_of_the_stored_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    assert np.array_equal(decode(with_exif(content)).pixels(), decode(WHOLE["baseline 4:2:0"]).pixels())


def test_a_picture_is_still_turned_if_another_of_its_notes_is_damaged() -> None:
    photoshop = b"\xff\xed\0\x16Photoshop 3.0\x008BIM\x04\x04"
    data = with_exif(turned())
    changed = data[:2] + photoshop + data[2:]
    assert np.array_equal(decode(changed).pixels(), decode(data).pixels())


ENDLESS = {
    "fill bytes": lambda data: data[:-2] + b"\xff" * 3_000_000 + EOI,
    "fill bytes, stuffed in between": lambda data: data[:-2] + (b"\xff" * 300 + b"\0") * 10_000 + EOI,
    "notes": lambda data: data[:2] + b"\xff\xfe\0\x02" * 1_000_000 + data[2:],
    "scans": lambda data: data[:-2] + data[data.index(b"\xff\xda") : -2] * 200 + EOI,
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_jpeg_of_endless_parts_is_refused_before_it_is_decoded(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ENDLESS[what](WHOLE["progressive"])
    monkeypatch.setattr("limiar.edge_app.image.read._decoded", lambda *_: pytest.fail("it came as far as the decoder"))
    assert refusal(data) == "E-IMAGE-BROKEN"
