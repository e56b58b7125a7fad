"""PNG (ISO/IEC 15948): chunks with a CRC, and as many pixels as the header says."""

import zlib
from collections.abc import Iterator

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import PIXELS_MP, PIXELS_MP_TWICE, Container, check_end, truncated, unread_depth

_CHUNKS = 50_000  # Pillow takes 15 us for each; libpng writes 8 KB per chunk, so 64 MB have 8,000
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
# Chunks that are needed, and those that do not change the pixels.
_PLAIN = _TEXTS | {b"IHDR", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME"}
_HEADER_BYTES = 13
_MOST_COLOURS = 256  # in a palette

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types


class Png(Container, frozen=True, kw_only=True):
    """The contents of a PNG's header chunks."""

    colour: int  # colour type
    colours: int  # in its palette
    transparent: int | None  # the transparent grey level, in 1, 2 or 4 bits
    significant: int | None  # bits per sample of the original, if sBIT says so
    has_text: bool  # which Pillow must not see: it takes one with the keyword "transparency" for a colour, and "exif" for EXIF
    pixels: tuple[int, int] | None  # first byte and end of its only IDAT, if all other chunks are known not to change them


def inspect(data: bytes) -> Png:
    """Walks the chunks (5.3): length, type, data, CRC-32 of type and data. Raises ImageError."""
    at, count, kinds, bits, colour, colours = 8, 0, set[bytes](), 0, 0, 0
    significant = transparent = idat = None
    view = memoryview(data)  # no copies: a chunk may be nearly the whole file
    while b"IEND" not in kinds:
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise truncated("a PNG chunk")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError("E-IMAGE-BROKEN", f"the CRC of PNG chunk {kind!r} is wrong: copy or record it again")
        if (kind == b"IHDR") != (at == 8) or (at == 8 and length != _HEADER_BYTES):  # Pillow takes others: 11.2.2
            raise ImageError("E-IMAGE-BROKEN", "the PNG does not begin with its header, or has two: write it again")
        if kind == b"IHDR":
            bits, colour = data[at + 16], data[at + 17]
        elif kind == b"IDAT":
            idat = at + 8, end - 4
        elif kind == b"PLTE":
            colours = length // 3
        elif kind == b"sBIT" and length and colour != PALETTE:
            significant = max(data[at + 8 : at + 8 + min(length, 3 if colour in (RGB, RGBA) else 1)])
        elif kind == b"tRNS" and length >= 2 and colour == 0 and bits < 8:
            transparent = data[at + 9] & ((1 << bits) - 1)  # 11.3.1.1: the lowest bits of 16
        elif kind == b"tRNS" and colour == PALETTE and length > _MOST_COLOURS:
            met = f"transparency for {length} colours, a palette has at most {_MOST_COLOURS}"
            raise ImageError("E-IMAGE-BROKEN", f"the PNG has {met}: write it again")
        kinds.add(kind)
        at, count = end, count + 1
        if count > _CHUNKS:
            raise ImageError("E-IMAGE-BROKEN", f"a PNG of over {_CHUNKS} chunks: write it again")
    behind = check_end(data, at, "PNG")
    if b"acTL" in kinds:
        raise ImageError("E-IMAGE-FRAMES", "an animated PNG: save one frame")
    if bits == 16 and b"tRNS" in kinds:
        raise unread_depth("16-bit colour with a transparent one")
    return Png(
        "PNG",
        bits,
        PIXELS_MP_TWICE if bits == 16 and colour != GREY else PIXELS_MP,
        colour=colour,
        colours=colours,
        transparent=transparent,
        significant=significant,
        has_text=bool(kinds & _TEXTS),
        pixels=idat if kinds <= _PLAIN and len(kinds) == count else None,
        trailing=behind,
    )


def pixels(data: bytes) -> Iterator[tuple[int, int]]:
    """First byte and end of each piece of the deflated pixels: IDAT chunks follow each other (5.6)."""
    at, met = 8, False
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if data.startswith(b"IDAT", at + 4):
            yield at + 8, end
            met = True
        elif met:
            return
        at = end + 4


def without_notes(data: bytes) -> bytes:
    """A PNG that `inspect` has found whole, without the chunks that are not needed to show it (5.4: a capital means critical).

    Pillow fails on texts and profiles of over 1 MB, and on some damaged ones.
    """
    pieces, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind[:1].isupper() or kind in _SHOWN:
            pieces.append(data[at:end])
        at = end
    return b"".join(pieces)


_SHOWN = (b"tRNS", b"eXIf")
