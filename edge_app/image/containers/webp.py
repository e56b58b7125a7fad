"""WebP (RFC 9649): RIFF chunks."""

from collections.abc import Iterator

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import PIXELS_MP_WEBP, Container, check_end, check_pixels, truncated

_CHUNKS = 1_000  # a still picture has seven kinds


def inspect(data: bytes) -> Container:
    """Walks the RIFF chunks (2.3), each padded to an even length; the header's length counts from byte 8. Raises ImageError."""
    end = 8 + int.from_bytes(data[4:8], "little")
    behind = check_end(data, end, "WebP")
    for kind, start, _ in chunks(data):
        if kind in (b"ANIM", b"ANMF"):
            raise ImageError("E-IMAGE-FRAMES", "an animated WebP: save one frame")
        if kind.startswith(b"VP8"):
            _check_pixels(kind, data[start : start + 10])
    return Container("WEBP", 8, PIXELS_MP_WEBP, trailing=behind)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's kind, and the first byte and end of its content. Raises ImageError."""
    at, count, end = 12, 0, 8 + int.from_bytes(data[4:8], "little")
    while at < end:
        count += 1
        if count > _CHUNKS:
            raise ImageError("E-IMAGE-BROKEN", f"a WebP of over {_CHUNKS} chunks: write it again")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, at + 8 + length
        at += 8 + length + length % 2
    if at != end:
        raise truncated("a WebP chunk")


def _check_pixels(kind: bytes, start: bytes) -> None:
    """Reads the size (RFC 9649, 2.5 to 2.7): Pillow allocates the pixels before it says how many there are."""
    sides = {
        b"VP8X": [int.from_bytes(start[4:7], "little") + 1, int.from_bytes(start[7:10], "little") + 1],
        b"VP8 ": [int.from_bytes(start[i : i + 2], "little") & 0x3FFF for i in (6, 8)],
        b"VP8L": [(int.from_bytes(start[1:5], "little") >> i & 0x3FFF) + 1 for i in (0, 14)],
    }
    width, height = sides.get(kind, (0, 0))
    check_pixels("WEBP", width, height, PIXELS_MP_WEBP)
