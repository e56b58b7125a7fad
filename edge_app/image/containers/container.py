"""What all containers have in common: their description, the limits of size, and some refusals."""

import msgspec

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.trailing import after_end

MEGAPIXEL = 1_000_000
BYTES_LIMIT = 64_000_000  # of a file

# Every image takes under 300 MB: a decoder that holds more than one copy has a lower limit.
PIXELS_MP = 50
PIXELS_MP_TWICE = 16  # TIFF, and JPEG with several scans; measured by studies/decode_memory.py, like the others
PIXELS_MP_PADDED = 20  # of a TIFF's tiles, which reach beyond its edges
PIXELS_MP_WEBP = 12  # lossless with alpha: 22 bytes a pixel

SIDE_PX = 65_535  # JPEG's limit; copies of a longer row during a resize would exceed the 300 MB


class Container(msgspec.Struct, frozen=True):
    """The contents of an image file's header."""

    format: str  # a key of EXTENSIONS: "PNG"
    bits: int | None  # of a sample, if the container's header says it
    decoder_mp: int  # megapixels: the largest image that its decoder can decode in bounded memory
    trailing: str = ""  # the understood data after the picture's end, such as "padding"
    frames: int = 1  # more only in DICOM


def truncated(what: str) -> ImageError:
    return ImageError("E-IMAGE-TRUNCATED", f"ends inside {what}: copy or record it again")


def check_end(data: bytes, end: int, what: str) -> str:
    """A name for the padding after the end, or "". Raises ImageError: the end is missing, or something else follows."""
    if len(data) < end:
        raise truncated(what)
    return after_end(data, end, what)


def unread_depth(what: str) -> ImageError:
    return ImageError("E-IMAGE-DEPTH", f"{what} is not in the image rules: save it with 8 bits a channel (or 16-bit grey)")


def check_pixels(kind: str, width: int, height: int, limit_mp: int) -> None:
    """Raises ImageError if an image is too large for its decoder to decode in bounded memory."""
    if width * height > limit_mp * MEGAPIXEL:
        met = f"{width}x{height} pixels, the limit for this kind of {kind} is {limit_mp} megapixels"
        raise ImageError("E-IMAGE-PIXELS", f"{met}: make it smaller")
    if max(width, height) > SIDE_PX:
        raise ImageError("E-IMAGE-PIXELS", f"{width}x{height} pixels, the limit of a side is {SIDE_PX}: make it smaller")
