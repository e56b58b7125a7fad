"""Checks that a WebP's pixels need all of its coded data: through overwritten data a decoder goes on, and ends too early.

The coded data end with the pixels, to within two bytes (RFC 6386, 7.3; RFC 9649, 3.2). So a whole picture does not decode
without its last bytes. One that does is damaged: a lost sector reads as NUL, which codes more pixels in fewer bits.
"""

import io
from collections.abc import Iterator

from PIL.WebPImagePlugin import WebPImageFile

from limiar.edge_app.image.containers import webp
from limiar.edge_app.image.containers.container import truncated

_LAST = 16  # bytes
_SMALL = 64  # bytes: data of this size may be a plain surface


def check_pixels(data: bytes) -> None:
    """data: a WebP that webp.inspect has found whole. Raises ImageError: the pixels end before their data."""
    for shorter in _without_ends(data):
        if _decodes(shorter):
            raise truncated("the WebP's pixels")


def _decodes(data: bytes) -> bool:
    try:
        WebPImageFile(io.BytesIO(data)).load()
    except Exception:  # a decoder that lacks bytes raises OSError, SyntaxError, …
        return False
    return True


def _without_ends(data: bytes) -> Iterator[bytes]:
    """The picture, each time without the last bytes of one part: its pixels, its alpha, a lossy one's data about blocks."""
    for kind, start, end in webp.chunks(data):
        if kind in (b"VP8 ", b"VP8L", b"ALPH") and end - start > _SMALL:
            yield _with(data, kind, start, end, data[start : end - _LAST])
        if kind == b"VP8 ":
            tag = int.from_bytes(data[start : start + 3], "little")  # RFC 6386, 9.1: five bits, and the first part's length
            blocks = start + 10 + (tag >> 5)  # the end of these data
            if _SMALL < tag >> 5 < end - start:
                shorter = (tag - (_LAST << 5)).to_bytes(3, "little") + data[start + 3 : blocks - _LAST] + data[blocks:end]
                yield _with(data, kind, start, end, shorter)


def _with(data: bytes, kind: bytes, start: int, end: int, content: bytes) -> bytes:
    """The file with new content in the chunk from byte `start` to `end`."""
    chunk = kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
    body = data[8 : start - 8] + chunk + data[end + (end - start) % 2 : 8 + int.from_bytes(data[4:8], "little")]
    return b"RIFF" + len(body).to_bytes(4, "little") + body
