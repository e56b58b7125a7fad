"""A picture in an unsupported format, and a file that is not a picture, are refused by their true name, with a way out."""

import struct
from pathlib import Path

import pytest

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import EXTENSIONS, FOREIGN_EXTENSIONS, IMAGE_EXTENSIONS
from limiar.edge_app.image.containers.foreign import PICTURES
from limiar.edge_app.image.read import decode

TIFF = b"II*\0" + struct.pack("<I", 8)
JPEG_LS = b"\xff\xd8\xff\xf7\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\0\0\x00\xff\xd9"
FOREIGN = {
    "iphone.heic": (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "E-IMAGE-HEIC", "heif-convert"),
    "burst.heic": (b"\0\0\0\x1cftypmsf1\0\0\0\0msf1hevc", "E-IMAGE-HEIC", "heif-convert"),
    "ten-bit.heif": (b"\0\0\0\x1cftypheix\0\0\0\0mif1heix", "E-IMAGE-HEIC", "heif-convert"),
    "renamed.jpg": (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "E-IMAGE-HEIC", "HEIC"),
    "slice.dcm": (bytes(128) + b"DICM\2\0\0\0UL\4\0", "E-IMAGE-DICOM", "dcm2img"),
    "slice": (bytes(128) + b"DICM\2\0\0\0UL\4\0", "E-IMAGE-DICOM", "DICOM"),
    "slice.png": (b"preamble".ljust(128, b"x") + b"DICM", "E-IMAGE-DICOM", "DICOM"),
    "x.avif": (b"\0\0\0\x1cftypavif\0\0\0\0", "E-IMAGE-FORMAT", "an AVIF picture"),
    "x.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", "E-IMAGE-FORMAT", "a JPEG XL picture"),
    "bare.jxl": (b"\xff\x0a\xfa\x7f", "E-IMAGE-FORMAT", "a JPEG XL picture"),
    "x.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "E-IMAGE-FORMAT", "a JPEG 2000 picture"),
    "x.j2k": (b"\xff\x4f\xff\x51\0\x29", "E-IMAGE-FORMAT", "a JPEG 2000 picture"),
    "x.jls": (JPEG_LS, "E-IMAGE-FORMAT", "a JPEG-LS picture"),
    "x.jxr": (b"II\xbc\x01\x08\0\0\0", "E-IMAGE-FORMAT", "a JPEG XR picture"),
    "x.gif": (b"GIF89a\1\0\1\0", "E-IMAGE-FORMAT", "a GIF"),
    "x.psd": (b"8BPS\0\1", "E-IMAGE-FORMAT", "a Photoshop document"),
    "x.exr": (b"\x76\x2f\x31\x01\2\0\0\0", "E-IMAGE-FORMAT", "an OpenEXR picture"),
    "x.hdr": (b"#?RADIANCE\n", "E-IMAGE-FORMAT", "a Radiance HDR picture"),
    "x.cr2": (TIFF + b"CR\2\0" + bytes(20), "E-IMAGE-FORMAT", "a camera's raw file"),
    "canon-called.tif": (TIFF + b"CR\2\0" + bytes(20), "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1", "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.nef": (b"MM\0*\0\0\0\x08" + bytes(20), "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.DNG": (TIFF + bytes(20), "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.raf": (b"FUJIFILMCCD-RAW 0201", "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.orf": (b"IIRO\x08\0\0\0", "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.rw2": (b"IIU\0\x18\0\0\0", "E-IMAGE-FORMAT", "a camera's raw file"),
    "x.ico": (b"\0\0\1\0\1\0 ", "E-IMAGE-FORMAT", "an icon"),
    "x.qoi": (b"qoif\0\0\0\1", "E-IMAGE-FORMAT", "a picture of an old format"),
    "x.pbm": (b"P4 8 2\n\x0f\xf0", "E-IMAGE-FORMAT", "a Netpbm picture"),
    "x.pfm": (b"Pf\n1 1\n-1.0\n", "E-IMAGE-FORMAT", "a Netpbm picture"),
    "x.nii": (b"\x5c\x01\0\0" + bytes(344), "E-IMAGE-FORMAT", "a medical volume"),
    "x.mhd": (b"ObjectType = Image\n", "E-IMAGE-FORMAT", "a medical volume"),
    "slide.svs": (TIFF + bytes(20), "E-IMAGE-FORMAT", "a microscope's or slide scanner's file"),
    "x.czi": (b"ZISRAWFILE\0\0", "E-IMAGE-FORMAT", "a microscope's or slide scanner's file"),
    "x.nd2": (b"\xda\xce\xbe\x0a\x10\0", "E-IMAGE-FORMAT", "a microscope's or slide scanner's file"),
    "x.lif": (b"\x70\0\0\0\x10\0\0\0\x2a", "E-IMAGE-FORMAT", "a microscope's or slide scanner's file"),
    "x.fits": (b"SIMPLE  =                    T", "E-IMAGE-FORMAT", "a FITS file"),
    "x.mng": (b"\x8aMNG\r\n\x1a\n", "E-IMAGE-FORMAT", "an MNG or JNG picture"),
    "x.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "E-IMAGE-FORMAT", "an SVG drawing"),
    "page.png": (b"\n<!DOCTYPE html>", "E-IMAGE-FORMAT", "a page of HTML or XML"),
    "x.pdf": (b"%PDF-1.7\n", "E-IMAGE-FORMAT", "a PDF document"),
    "x.zip": (b"PK\3\4", "E-IMAGE-FORMAT", "a ZIP archive"),
    "packed.tif": (b"\x1f\x8b\x08", "E-IMAGE-FORMAT", "a compressed archive"),
    "big.tif": (b"II+\0\x08\0\0\0", "E-IMAGE-FORMAT", "a BigTIFF"),
    "video.jpg": (b"\0\0\0\x18ftypmp42", "E-IMAGE-FORMAT", "a video"),
    "program.png": (b"\x7fELF\2\1", "E-IMAGE-FORMAT", "an executable"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_read_is_refused_by_its_true_name(name: str) -> None:
    data, code, named = FOREIGN[name]
    with pytest.raises(ImageError) as refused:
        decode(data, name)
    assert refused.value.code == code
    assert named in refused.value.message
    assert ": " in refused.value.message  # what to do


def test_extensions_are_either_read_or_refused_by_name() -> None:
    assert not IMAGE_EXTENSIONS & FOREIGN_EXTENSIONS
    assert {".jfif", ".jpe", ".jif", ".mpo", ".pjpeg", ".tif", ".tiff", ".dib", ".dcm"} <= IMAGE_EXTENSIONS
    assert {".svs", ".czi", ".fits", ".raw"} <= FOREIGN_EXTENSIONS
    assert {".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif"} <= FOREIGN_EXTENSIONS
    every = [extension for foreign in PICTURES for extension in foreign.extensions]
    assert len(every) == len(set(every))
    assert all(extension == extension.lower() and extension.startswith(".") for extension in [*every, *IMAGE_EXTENSIONS])


@pytest.mark.parametrize("extension", [*EXTENSIONS["JPEG"], ".JPG", ".JFIF", ".Jpe"])
def test_every_name_of_a_jpeg_is_taken_in_any_case(extension: str) -> None:
    data = (Path(__file__).parent / "data" / "images" / "grey.jpg").read_bytes()
    assert decode(data, f"photo{extension}").shape == (61, 83)


@pytest.mark.parametrize("name", ["photo.heic", "photo.dcm", "photo.png", "photo.gif"])
def test_a_jpeg_under_the_name_of_another_picture_is_refused(name: str) -> None:
    data = (Path(__file__).parent / "data" / "images" / "grey.jpg").read_bytes()
    with pytest.raises(ImageError) as refused:
        decode(data, name)
    assert refused.value.code == "E-IMAGE-EXTENSION"


def test_the_heic_of_the_cases_names_its_converter(cases: Path) -> None:
    heic = cases / "folders" / "left_out" / "data" / "IMG_0001.HEIC"
    with pytest.raises(ImageError, match="heif-convert") as refused:
        decode(heic.read_bytes(), heic.name)
    assert refused.value.code == "E-IMAGE-HEIC"


@pytest.mark.parametrize(
    ("data", "met"),
    [(bytes(5000), "nothing but NUL bytes: copy or record"), (b"\x89PNG\n\x1a\n\0\0", "in text mode: copy it again")],
)
def test_what_a_copy_has_spoilt_is_to_be_copied_again(data: bytes, met: str) -> None:
    with pytest.raises(ImageError, match=met) as refused:
        decode(data)
    assert refused.value.code == "E-IMAGE-FORMAT"
