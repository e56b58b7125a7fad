"""Is an image file whole, of one declared format, one image, and nothing more?

Decoders are lenient: Pillow passes a PNG without IEND and does not check the CRC of its pixels, libjpeg paints what is
missing grey. So each container is walked here before a decoder sees it. Formats: PNG, JPEG, BMP, WebP, TIFF, PGM/PPM.
"""

from edge_app.containers import bmp, jpeg, png, pnm, tiff, webp
from edge_app.containers.container import Container
from edge_app.containers.foreign import FOREIGN_EXTENSIONS
from edge_app.errors import ImageError

__all__ = ["EXTENSIONS", "FOREIGN_EXTENSIONS", "IMAGE_EXTENSIONS", "inspect"]

EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif"),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm", ".pnm"),
}
IMAGE_EXTENSIONS = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)  # lower case


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
    if data.startswith((b"II*\0", b"MM\0*")):
        return tiff.inspect(data)
    if data.startswith((b"P5", b"P6")):
        return pnm.inspect(data)
    if data.startswith(b"BM"):
        return bmp.inspect(data)
    raise ImageError(
        "E-IMAGE-FORMAT",
        f"starts with {data[:8]!r}: not PNG, JPEG, BMP, WebP, TIFF, PGM or PPM: save it as one of these",
    )
