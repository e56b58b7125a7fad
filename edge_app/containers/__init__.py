"""Is an image file whole, of one declared format, one image, and nothing more?

Decoders are lenient: Pillow passes a PNG without IEND and does not check the CRC of its pixels, libjpeg paints what is
missing grey. So each container is walked here before a decoder sees it. Formats: PNG, JPEG, BMP, WebP, TIFF, PGM/PPM.
"""

from pathlib import PurePosixPath

from edge_app.containers import bmp, jpeg, png, pnm, tiff, webp
from edge_app.containers.container import Container
from edge_app.containers.foreign import FOREIGN_EXTENSIONS, RAW, recognise, refusal
from edge_app.errors import ImageError

__all__ = ["EXTENSIONS", "FOREIGN_EXTENSIONS", "IMAGE_EXTENSIONS", "inspect", "inspect_named"]

EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif"),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm", ".pnm"),
}
_TIFF = (b"II*\0", b"MM\0*")
IMAGE_EXTENSIONS = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)  # lower case


def inspect_named(data: bytes, name: str) -> Container:
    """The same where the file has a name: an extension of pictures must say what it holds. Raises ImageError."""
    extension = PurePosixPath(name).suffix.lower()
    if extension in RAW.extensions and data.startswith(_TIFF):  # what Pillow would show is a thumbnail
        raise refusal(RAW)
    container = inspect(data)
    if extension in IMAGE_EXTENSIONS | FOREIGN_EXTENSIONS and extension not in EXTENSIONS[container.format]:
        raise ImageError("E-IMAGE-EXTENSION", f"named {extension} and holds {container.format}: name it for what it is")
    return container


def inspect(data: bytes) -> Container:
    """Walks the container of an image file. Raises ImageError: off the list, truncated, broken, more than one image."""
    if not data:
        raise ImageError("E-IMAGE-EMPTY", "the file has 0 bytes: write it again")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return png.inspect(data)
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg.inspect(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp.inspect(data)
    if data.startswith(_TIFF):
        if recognise(data) is RAW:
            raise refusal(RAW)
        return tiff.inspect(data)
    if data.startswith((b"P2", b"P3", b"P5", b"P6")):
        return pnm.inspect(data)
    if data.startswith(b"BM"):
        return bmp.inspect(data)
    foreign = recognise(data)
    if foreign:
        raise refusal(foreign)
    met = f"starts with {data[:8]!r}: not PNG, JPEG, BMP, WebP, TIFF, PGM or PPM"
    raise ImageError("E-IMAGE-FORMAT", f"{met}: save it as one of these")
