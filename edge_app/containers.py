"""Is an image file whole, of one declared format, one image, and nothing more?

Decoders are lenient: Pillow passes a PNG without IEND and does not check the CRC of its pixels, libjpeg paints what is
missing grey. So each container is walked here before a decoder sees it. Formats: PNG, JPEG, BMP, WebP, TIFF, PGM/PPM.
"""

import re
import struct
import zlib
from typing import Literal

import msgspec

from edge_app.errors import ImageError

MEGAPIXEL = 1_000_000


class Container(msgspec.Struct, frozen=True):
    """What the header of an image file says."""

    format: str  # as in FORMATS
    bits: int | None  # per sample, where the container tells it in its header
    decoder_mp: int  # the largest image that the decoder holds in bounded memory, megapixels


# A decoder that keeps the image more than once gets a lower limit, so that any image stays under 300 MB (reliability.md P7).
PIXELS_MP = 50
PIXELS_MP_TWICE = 16  # TIFF, and JPEG with several scans; measured by scripts/decode_memory, like the others
PIXELS_MP_WEBP = 12  # lossless with alpha: 22 bytes a pixel

SIDE_PX = 65_535  # as in JPEG: one row of a longer one, in every form that it takes in a resize, would pass the 300 MB

EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm"),
}
IMAGE_EXTENSIONS = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)


def inspect(data: bytes) -> Container:
    """Walks the container of an image file. Raises ImageError: off the list, truncated, broken, more than one image."""
    if not data:
        raise ImageError("E-IMAGE-EMPTY", "the file has 0 bytes: write it again")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tiff(data)
    if data.startswith((b"P5", b"P6")):
        return _pnm(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    raise ImageError(
        "E-IMAGE-FORMAT",
        f"starts with {data[:8]!r}: not PNG, JPEG, BMP, WebP, TIFF, PGM or PPM: save it as one of these",
    )


def _truncated(what: str) -> ImageError:
    return ImageError("E-IMAGE-TRUNCATED", f"ends inside {what}: copy or record it again")


def _check_end(data: bytes, end: int, what: str) -> None:
    if len(data) < end:
        raise _truncated(what)
    if len(data) > end:
        met = f"{len(data) - end} bytes follow the end of the {what}"
        raise ImageError("E-IMAGE-TRAILING", f"{met} (a second image, or something hidden): save it as a plain image")


def _png(data: bytes) -> Container:
    """PNG (ISO/IEC 15948) 5.3: length, type, data, CRC-32 of type and data."""
    at, kinds, bits, colour = 8, set(), 0, 0
    view = memoryview(data)  # a chunk may be the whole file: no copy
    while b"IEND" not in kinds:
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise _truncated("a PNG chunk")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError("E-IMAGE-BROKEN", f"the CRC of PNG chunk {kind!r} is wrong: copy or record it again")
        if kind == b"IHDR" and length == 13:
            bits, colour = data[at + 16], data[at + 17]
        kinds.add(kind)
        at = end
    _check_end(data, at, "PNG")
    if b"acTL" in kinds:
        raise ImageError("E-IMAGE-FRAMES", "an animated PNG: save one frame")
    if bits == 16 and (colour != 0 or b"tRNS" in kinds):
        raise _depth("16-bit colour or alpha")
    return Container("PNG", bits, PIXELS_MP)


_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PNG_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # 8.2


def check_png_rows(data: bytes) -> None:
    """Inflates a whole PNG: Pillow leaves rows black for which it has no pixels, without a word. Raises ImageError."""
    width, height, bits, colour, interlaced = struct.unpack(">IIBBxxB", data[16:29])
    wanted = 0
    for top, left, down, right in _PNG_ADAM7 if interlaced else ((0, 0, 1, 1),):
        rows, columns = -((top - height) // down), -((left - width) // right)
        wanted += rows * (1 + (columns * bits * _PNG_SAMPLES[colour] + 7) // 8) if rows > 0 and columns > 0 else 0
    inflate = zlib.decompressobj()
    at, found, view = 8, 0, memoryview(data)
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        for piece in range(at + 8, end if data[at + 4 : at + 8] == b"IDAT" else 0, 1 << 16):
            rest: memoryview | bytes = view[piece : min(piece + (1 << 16), end)]
            while rest and found < wanted:
                found += len(inflate.decompress(rest, 1 << 20))
                rest = inflate.unconsumed_tail
        at = end + 4
    if found < wanted:
        raise _truncated("the PNG's pixels")


def _depth(what: str) -> ImageError:
    return ImageError("E-IMAGE-DEPTH", f"{what} is not in the image rules: save it with 8 bits a channel (or 16-bit grey)")


_JPEG_MARKER = re.compile(rb"\xff{1,256}[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart
_JPEG_NOT_STUFFED = re.compile(rb"\xff[^\x00]")  # 17 times as quick as the one above, 3 times as find()
_JPEG_FILL = bytes([255]) * 257  # before a marker any number of them may stand, and libjpeg takes a second for 3 MB
_JPEG_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> Container:
    """JPEG (ITU-T T.81) B.1: segments FFxx with a length, entropy-coded data after each SOS, EOI at the end."""
    at, frames, scans = 2, 0, 0
    bits = None
    while True:
        match = _JPEG_MARKER.match(data, at)
        if match is None:
            if at + 2 > len(data):
                raise _truncated("the JPEG")
            raise ImageError("E-IMAGE-BROKEN", f"no JPEG marker where one must be, at byte {at}: copy or record it again")
        marker, at = data[match.end() - 1], match.end()
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise _truncated("a JPEG segment")
        if marker in _JPEG_FRAME:
            frames += 1
            bits = data[at + 2]
            if length >= 8 and data[at + 7] == 4:
                raise ImageError("E-IMAGE-COLOUR", "a CMYK JPEG: save it as RGB or grey")
        at += length
        if marker == 0xDA:
            scans += 1
            at = _after_scan(data, at)
    _check_end(data, at, "JPEG")
    if frames != 1 or not scans:
        raise ImageError("E-IMAGE-BROKEN", f"a JPEG with {frames} frame headers and {scans} scans: copy or record it again")
    if bits != 8:
        raise _depth(f"{bits}-bit JPEG")
    return Container("JPEG", bits, PIXELS_MP if scans == 1 else PIXELS_MP_TWICE)


def _after_scan(data: bytes, at: int) -> int:
    """Where the entropy-coded data from `at` ends: at the next marker."""
    while found := _JPEG_NOT_STUFFED.search(data, at):
        at = found.start()
        if _JPEG_MARKER.match(data, at) or data.startswith(_JPEG_FILL, at):
            return at
        at += 1
    raise _truncated("the JPEG's pixels")


def _bmp(data: bytes) -> Container:
    if len(data) < 18:
        raise _truncated("the BMP header")
    _check_end(data, int.from_bytes(data[2:6], "little"), "BMP")
    return Container("BMP", None, PIXELS_MP)


def _webp(data: bytes) -> Container:
    """WebP (RFC 9649) 2.3: RIFF chunks, each padded to an even length; the header's length counts from byte 8."""
    _check_end(data, 8 + int.from_bytes(data[4:8], "little"), "WebP")
    at = 12
    while at < len(data):
        if data[at : at + 4] in (b"ANIM", b"ANMF"):
            raise ImageError("E-IMAGE-FRAMES", "an animated WebP: save one frame")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data.startswith(b"VP8", at):
            _check_webp_pixels(data[at : at + 4], data[at + 8 : at + 18])
        at += 8 + length + length % 2
    if at != len(data):
        raise _truncated("a WebP chunk")
    return Container("WEBP", 8, PIXELS_MP_WEBP)


def _check_webp_pixels(kind: bytes, start: bytes) -> None:
    """RFC 9649, 2.5 to 2.7. Pillow's decoder makes room for the pixels before it says how many there are."""
    sides = {
        b"VP8X": [int.from_bytes(start[4:7], "little") + 1, int.from_bytes(start[7:10], "little") + 1],
        b"VP8 ": [int.from_bytes(start[i : i + 2], "little") & 0x3FFF for i in (6, 8)],
        b"VP8L": [(int.from_bytes(start[1:5], "little") >> i & 0x3FFF) + 1 for i in (0, 14)],
    }
    width, height = sides.get(kind, (0, 0))
    check_pixels("WEBP", width, height, PIXELS_MP_WEBP)


def check_pixels(kind: str, width: int, height: int, limit_mp: int) -> None:
    """Raises ImageError where an image is larger than what its decoder holds in bounded memory."""
    if width * height > limit_mp * MEGAPIXEL:
        met = f"{width}x{height} pixels, the limit for this kind of {kind} is {limit_mp} megapixels"
        raise ImageError("E-IMAGE-PIXELS", f"{met}: make it smaller")
    if max(width, height) > SIDE_PX:
        raise ImageError("E-IMAGE-PIXELS", f"{width}x{height} pixels, the limit of a side is {SIDE_PX}: make it smaller")


# TIFF 6.0, section 2: bytes of a value, by type
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_PIXELS = {273: 279, 324: 325}  # offsets of strips or tiles -> their byte counts
_TIFF_IMAGES = 330  # directories of further images
_TIFF_DIRECTORIES = (34665, 34853, 40965)  # of EXIF, GPS, interoperability
_TIFF_VALUES = 4 * SIDE_PX  # of one tag: a strip for every row of every channel


def _tiff(data: bytes) -> Container:
    """TIFF 6.0, section 2: entries in directories, their values and the pixels anywhere: all in the file, nothing more."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    directories = [int.from_bytes(data[4:8], order)]
    ends = [8]
    for number, at in enumerate(directories):
        if number > len(_TIFF_DIRECTORIES):
            raise ImageError("E-IMAGE-BROKEN", "a TIFF whose directories lead to each other: write it again")
        values, (end, *others) = _tiff_directory(data, at, order)
        following = int.from_bytes(data[end - 4 : end], order)
        if number == 0 and (following or _TIFF_IMAGES in values):
            raise ImageError("E-IMAGE-FRAMES", "a TIFF with more than one image: save one")
        ends += [end, *others]
        for offsets, counts in _TIFF_PIXELS.items():
            ends += [offset + count for offset, count in zip(values.get(offsets, ()), values.get(counts, ()), strict=False)]
        directories += [values[tag][0] for tag in _TIFF_DIRECTORIES if values.get(tag)]
    end = max(ends)
    _check_end(data, end + (len(data) == end + 1 and end % 2), "TIFF")  # parts begin at even bytes: one more may fill up
    return Container("TIFF", None, PIXELS_MP_TWICE)


def _tiff_directory(data: bytes, at: int, order: Literal["little", "big"]) -> tuple[dict[int, list[int]], list[int]]:
    """The values of the tags that lead on, and where the directory ends and each tag's values. Raises ImageError."""
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], order) + 4
    if end > len(data):
        raise _truncated("a TIFF directory")
    leading = {_TIFF_IMAGES, *_TIFF_PIXELS, *_TIFF_PIXELS.values(), *_TIFF_DIRECTORIES}
    found: dict[int, list[int]] = {}
    ends = [end]
    for entry in range(at + 2, end - 4, 12):
        tag, kind, count, first = (
            int.from_bytes(data[entry + start : entry + stop], order) for start, stop in ((0, 2), (2, 4), (4, 8), (8, 12))
        )
        size = _TIFF_SIZES.get(kind, 1)
        if size * count <= 4:
            first = entry + 8
        ends.append(first + size * count)
        if tag in leading:
            if count > _TIFF_VALUES or size > 4:
                raise ImageError("E-IMAGE-BROKEN", f"TIFF tag {tag} with {count} values: write it again")
            found[tag] = [int.from_bytes(data[i : i + size], order) for i in range(first, first + size * count, size)]
    return found, ends


_PNM_HEADER = re.compile(rb"P[56](?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,5})\s")


def _pnm(data: bytes) -> Container:
    header = _PNM_HEADER.match(data[:4096])
    if header is None:
        raise ImageError("E-IMAGE-BROKEN", "a PGM or PPM without a readable header: write it again")
    width, height, largest = map(int, header.groups())
    grey = data.startswith(b"P5")
    if largest != 255 and not (grey and largest == 65535):
        raise _depth(f"a {'PGM' if grey else 'PPM'} with maximum {largest}")
    samples = width * height * (1 if grey else 3)
    _check_end(data, header.end() + samples * (2 if largest > 255 else 1), "PGM" if grey else "PPM")
    return Container("PPM", 16 if largest > 255 else 8, PIXELS_MP)
