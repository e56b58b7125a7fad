"""Data after the end of a whole picture: known data gets a name and is ignored, anything else is refused."""

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.foreign import recognise

_PADDING = b"\0\xff"  # up to a full block, or from erased flash: board cameras write their whole buffer
_READ = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"RIFF": "WebP"}
_READ |= {b"P%d%c" % (kind, space): "PGM" if kind in (2, 5) else "PPM" for kind in (2, 3, 5, 6) for space in b" \t\n\r"}


def after_end(data: bytes, end: int, what: str) -> str:
    """A name for the padding from byte `end` on, or "" if there is none. Raises ImageError if anything else follows."""
    if end >= len(data):
        return ""
    if is_padding(data, end):
        return "padding"
    raise refused(data, end, what)


def is_padding(data: bytes, at: int) -> bool:
    return not data[at:].strip(_PADDING)


def refused(data: bytes, at: int, what: str) -> ImageError:
    """The error for data after the end of the picture, with its name if it is known."""
    after_nul = len(data) - len(data[at:].lstrip(b"\0"))
    foreign = recognise(data, at) or recognise(data, after_nul)
    read = next(
        (name for start, name in _READ.items() if data.startswith(start, at) or data.startswith(start, after_nul)), None
    )
    name = foreign.name if foreign else f"a second {read}" if read else f"something unknown ({data[at : at + 8]!r})"
    met = f"{name} follows the end of the {what}, {len(data) - at} bytes"
    return ImageError("E-IMAGE-TRAILING", f"{met}: save it as a plain image")


def video_end(data: bytes, at: int) -> int | None:
    """The end of the MP4 whose first byte other than NUL is at `at`; None if there is none.

    ISO/IEC 14496-12, 4.2: boxes with a length and a name, "ftyp" first. A cut one ends with the data.
    """
    at = data.find(b"ftyp", at, at + 8) - 4  # the length before it starts with NUL
    if at < 0:
        return None
    while data[at + 4 : at + 8].isalnum():
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:
            return len(data) if length == 0 else at
        at += length
    return min(at, len(data))


def is_samsung(data: bytes) -> bool:
    """Whether the file ends with Samsung's table of parts: "SEFH", the content, its length in 4 bytes, "SEFT"."""
    length = int.from_bytes(data[-8:-4], "little")
    return data.endswith(b"SEFT") and data[-8 - length : -4 - length] == b"SEFH"
