"""What follows the end of a whole picture: boards' padding and phones' videos are named, the rest is refused by its name."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode

DATA = Path(__file__).parent / "data" / "images"
JPEG = (DATA / "rgb-420.jpeg").read_bytes()
OTHER = (DATA / "grey.jpg").read_bytes()
FTYP = struct.pack(">I4s4sI", 16, b"ftyp", b"mp42", 0)
VIDEO = FTYP + struct.pack(">I4s", 108, b"mdat") + bytes(range(100)) + struct.pack(">I4s", 16, b"moov") + bytes(8)
LARGE_VIDEO = FTYP + struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(range(100)) + struct.pack(">I4s", 0, b"free") + b"to the end"


def saved(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(2500, dtype=np.uint8).reshape(50, 50)).save(file, format, **options)
    return file.getvalue()


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def samsung(name: bytes, content: bytes) -> bytes:
    """A part and the table of parts, as Samsung's phones write them behind EOI."""
    part = struct.pack("<HHI", 0, 0x0A30, len(name)) + name + content
    table = b"SEFH" + struct.pack("<IIHHII", 106, 1, 0, 0x0A30, len(part), len(part))
    return part + table + struct.pack("<I", len(table)) + b"SEFT"


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("run.sh", "echo")
    return file.getvalue()


MPF = with_segment(JPEG, 0xE2, b"MPF\0II*\0" + bytes(60))
ULTRA_HDR = with_segment(MPF, 0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf hdrgm:Version="1.0"/>')
GAIN_MAP = with_segment(OTHER, 0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf hdrgm:GainMapMax="2"/>')
MP_VIDEO = with_segment(MPF, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta MicroVideo/>")

UNDERSTOOD = {
    "3 NUL bytes, as a Raspberry Pi writes": (JPEG + bytes(3), "padding"),
    "160 NUL bytes, as an ESP32 writes": (JPEG + bytes(160), "padding"),
    "a block of erased flash": (JPEG + b"\xff" * 4096, "padding"),
    "NUL, then erased flash": (JPEG + bytes(100) + b"\xff" * 512, "padding"),
    "a megabyte of NUL": (JPEG + bytes(1 << 20), "padding"),
    "a motion photo": (JPEG + VIDEO, "a video (motion photo)"),
    "a second end": (JPEG + b"\xff\xd9\xff\xd9" + bytes(5), "padding"),
    "a motion photo of large boxes": (JPEG + LARGE_VIDEO, "a video (motion photo)"),
    "a motion photo behind NUL": (JPEG + bytes(24) + VIDEO, "a video (motion photo)"),
    "a motion photo with NUL behind": (JPEG + VIDEO + bytes(24), "a video (motion photo)"),
    "a motion photo whose video is cut": (JPEG + VIDEO[:60], "a video (motion photo)"),
    "MPO": (MPF + OTHER, "a second picture (MPO)"),
    "MPO of three pictures with NUL between them": (MPF + bytes(30) + OTHER + bytes(7) + JPEG, "a second picture (MPO)"),
    "MPO whose second picture is cut": (MPF + OTHER[:-200], "a second picture (MPO), cut"),
    "UltraHDR": (ULTRA_HDR + GAIN_MAP, "a gain map (UltraHDR)"),
    "UltraHDR with a video": (ULTRA_HDR + GAIN_MAP + VIDEO, "a gain map (UltraHDR) and a video (motion photo)"),
    "Samsung's notes": (JPEG + samsung(b"Image_UTC_Data", b"1700000000000"), "a camera's notes (Samsung)"),
    "Samsung's motion photo": (JPEG + samsung(b"MotionPhoto_Data", VIDEO), "a video (motion photo)"),
    "Samsung's UltraHDR": (
        ULTRA_HDR + GAIN_MAP + samsung(b"MotionPhoto_Data", VIDEO),
        "a gain map (UltraHDR) and a video (motion photo)",
    ),
    "MPO as Pillow writes it": (
        saved("MPO", save_all=True, append_images=[Image.new("L", (40, 30), 90)]),
        "a second picture (MPO)",
    ),
}


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_the_first_picture_is_answered_and_what_follows_is_named(what: str) -> None:
    data, trailing = UNDERSTOOD[what]
    picture = decode(data, "photo.jpg")
    assert picture.trailing == trailing
    if "Pillow" not in what:
        assert np.array_equal(picture.pixels(), decode(JPEG, "photo.jpg").pixels())


def test_a_picture_with_nothing_behind_it_names_nothing() -> None:
    assert decode(JPEG, "photo.jpg").trailing == ""


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("padding", [bytes(3), bytes(4096), b"\xff" * 512])
def test_padding_behind_any_format_is_named(format: str, padding: bytes) -> None:
    whole = saved(format, **({"lossless": True} if format == "WEBP" else {}))
    picture = decode(whole + padding)
    assert picture.trailing == "padding"
    assert np.array_equal(picture.pixels(), decode(whole).pixels())


HIDDEN = {
    "a ZIP archive": archive(),
    "a page of HTML": b"<!DOCTYPE html><html>",
    "a page of HTML ": b"<script>alert(1)</script>",
    "a script": b"#!/bin/sh\nrm -rf /\n",
    "a script ": b"<?php system($_GET['c']); ?>",
    "an executable": b"\x7fELF" + bytes(60),
    "an executable ": b"MZ\x90\0" + bytes(60),
    "a PDF document": b"%PDF-1.7\n",
    "a compressed archive": b"Rar!\x1a\x07\0",
    "a second PNG": saved("PNG"),
    "a second JPEG": JPEG,  # the first does not declare it
    "a second TIFF": saved("TIFF"),
    "a GIF": saved("GIF"),
    "a second PPM": b"P6\n1 1\n255\nred",
    "a second PNG ": bytes(20) + saved("PNG"),
    "a DICOM file": bytes(128) + b"DICM" + bytes(60),
    "something unknown (b'\\r\\n--fram')": b"\r\n--frame\r\n",
    "something unknown (b'SEFT')": b"SEFT",
}


@pytest.mark.parametrize("what", HIDDEN)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF"])
def test_anything_else_behind_a_picture_is_refused_by_its_name(what: str, format: str) -> None:
    with pytest.raises(ImageError) as refused:
        decode(saved(format) + HIDDEN[what])
    assert refused.value.code == "E-IMAGE-TRAILING"
    assert refused.value.message.startswith(what.strip())


@pytest.mark.parametrize("start", [MPF + OTHER, JPEG + VIDEO, JPEG + bytes(20)], ids=["MPO", "motion photo", "padding"])
def test_an_archive_behind_what_is_understood_is_still_refused(start: bytes) -> None:
    with pytest.raises(ImageError, match="a ZIP archive follows the end of the JPEG") as refused:
        decode(start + archive())
    assert refused.value.code == "E-IMAGE-TRAILING"


def test_a_broken_second_picture_is_refused() -> None:
    with pytest.raises(ImageError) as refused:
        decode(MPF + b"\xff\xd8\xff\xe0\0\x04abnonsense")
    assert refused.value.code == "E-IMAGE-TRAILING"


@pytest.mark.parametrize(
    ("name", "trailing"),
    [
        ("k3_pi_pad3.jpg", "padding"),
        ("k3_esp32_pad160.jpg", "padding"),
        ("k3_motion_photo.jpg", "a video (motion photo)"),
        ("k3_mpo.jpg", "a second picture (MPO)"),
    ],
)
def test_the_cases_that_went_wrong_are_answered(cases: Path, name: str, trailing: str) -> None:
    picture = decode((cases / "images" / name).read_bytes(), name)
    assert picture.trailing == trailing
    reference = decode((cases / "images" / "k3_reference.jpg").read_bytes()).pixels()
    levels = np.abs(picture.pixels().astype(int) - reference).mean()
    assert levels <= (4 if name == "k3_mpo.jpg" else 0)  # that one was saved with a lower quality
