"""Checks that an image file is whole, of one format, one image, and nothing more.

Decoders are lenient: Pillow accepts a PNG without IEND and does not check the CRC of its pixels, and libjpeg fills in grey for
what is missing. So each container is walked here before a decoder sees it. Formats: PNG, JPEG, BMP, WebP, TIFF, PGM/PPM, DICOM.
"""

import importlib
import os.path
from typing import TYPE_CHECKING

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import bmp, jpeg, png, pnm, tiff, webp
from limiar.edge_app.image.containers.container import Container
from limiar.edge_app.image.containers.foreign import AVIF, DICOM, FOREIGN_EXTENSIONS, GIF, HEIC, RAW, SLIDE, recognise, refusal

if TYPE_CHECKING:
    from limiar.edge_app.image.containers.dicom import Dicom

__all__ = [
    "DICOM",
    "EXTENSIONS",
    "FOREIGN_EXTENSIONS",
    "IMAGE_EXTENSIONS",
    "check_name",
    "holds_picture",
    "inspect",
    "inspect_named",
    "is_dicom",
    "refusal",
]

EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm", ".pnm"),
    "DICOM": (".dcm", ".dicom", ".dic"),
}
_TIFF = (b"II*\0", b"MM\0*")
_PREAMBLE = 128  # bytes
_HEAD_BYTES = 512  # a sector
_STARTS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "WEBP": (b"RIFF",),
    "TIFF": _TIFF,
    "PPM": (b"P2", b"P3", b"P5", b"P6"),
    "BMP": (b"BM",),
}
_CERTAIN = ("PNG", "JPEG", "WEBP", "TIFF", "DICOM")
_INSPECT = {
    "PNG": png.inspect,
    "JPEG": jpeg.inspect,
    "WEBP": webp.inspect,
    "TIFF": tiff.inspect,
    "PPM": pnm.inspect,
    "BMP": bmp.inspect,
}
IMAGE_EXTENSIONS = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)  # lower case
_PICTURES = IMAGE_EXTENSIONS | FOREIGN_EXTENSIONS


def inspect_named(data: bytes, name: str) -> Container:
    """`inspect` for a file with a name: if it has the extension of a picture, that must fit the content. Raises ImageError."""
    _check_raw(data, name)
    if _extension(name) in EXTENSIONS["DICOM"] and data[:_HEAD_BYTES].strip(b"\0") and not (_format(data) or recognise(data)):
        met = f"named {_extension(name)}, but without the mark DICM of a DICOM file"
        raise ImageError("E-IMAGE-FORMAT", f"{met}: write it again as a file, for instance `dcmconv IN.dcm OUT.dcm`")
    container = inspect(data)
    check_name(data, name)
    return container


def check_name(data: bytes, name: str) -> None:
    """Checks the name of an image that was read before, perhaps under another name. Raises ImageError."""
    _check_raw(data, name)
    extension, held = _extension(name), _format(data)
    if held and extension in _PICTURES and extension not in EXTENSIONS[held]:
        raise ImageError("E-IMAGE-EXTENSION", f"named {extension}, but it is {held}: name it for what it is")


def holds_picture(head: bytes) -> bool:
    """Whether a file is a picture by its first bytes. BMP and PGM do not count: text can begin with their two letters."""
    return _format(head) in _CERTAIN or recognise(head) in (HEIC, AVIF, GIF)


def _check_raw(data: bytes, name: str) -> None:
    if data.startswith(_TIFF):  # Pillow would read the thumbnail of a raw file
        for foreign in (RAW, SLIDE):
            if _extension(name) in foreign.extensions:
                raise refusal(foreign)


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # pathlib takes ten times as long


def _format(data: bytes) -> str | None:
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":  # first: a preamble may be the head of a TIFF (PS3.10, 7.1)
        return "DICOM"
    for held, starts in _STARTS.items():
        if data.startswith(starts):
            return None if held == "WEBP" and data[8:12] != b"WEBP" else held
    return None


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM, by its mark."""
    return _format(data) == "DICOM"


def _dicom(data: bytes) -> "Dicom":
    """Its walk is imported when needed: 5 ms that most devices can spare."""
    found: Dicom = importlib.import_module("limiar.edge_app.image.containers.dicom").inspect(data)
    return found


def inspect(data: bytes) -> Container:
    """Walks the container of an image file. Raises ImageError: another format, truncated, broken, more than one image."""
    if not data:
        raise ImageError("E-IMAGE-EMPTY", "the file has 0 bytes: write it again")
    if held := _format(data):
        if held == "TIFF" and recognise(data) is RAW:
            raise refusal(RAW)
        return _dicom(data) if held == "DICOM" else _INSPECT[held](data)
    foreign = recognise(data)
    if foreign:
        raise refusal(foreign)
    if not data[:_HEAD_BYTES].strip(b"\0"):  # what a card returns for a file that it has lost
        raise ImageError("E-IMAGE-FORMAT", "starts with nothing but NUL bytes: copy or record it again")
    if data.startswith(b"\x89PNG"):  # PNG 5.2: the signature was designed to show this
        raise ImageError("E-IMAGE-FORMAT", "a PNG whose first bytes were changed, as by a transfer in text mode: copy it again")
    met = f"starts with {data[:8]!r}: not PNG, JPEG, BMP, WebP, TIFF, PGM or PPM"
    raise ImageError("E-IMAGE-FORMAT", f"{met}: save it as one of these")
