"""TIFF 6.0: directories that point anywhere in the file, and strips or tiles of pixels."""

import math
import zlib
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import (
    PIXELS_MP_PADDED,
    PIXELS_MP_TWICE,
    SIDE_PX,
    Container,
    check_end,
    check_pixels,
    truncated,
    unread_depth,
)

# TIFF 6.0, section 2: type -> bytes of a value
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WHOLE = (1, 3, 4, 13)  # those types that are unsigned integers
_PIXELS = {273: 279, 324: 325}  # offsets of strips or tiles -> their byte counts
_IMAGES = 330  # directories of further images
_DIRECTORIES = (34665, 34853, 40965)  # directories of EXIF, GPS, interoperability
_HEADER_BYTES = 8
_VALUES = 4 * SIDE_PX  # at most, of one tag: a strip for every row of every channel
_ONE = {"width": 256, "height": 257, "compression": 259, "photometric": 262, "fill": 266, "samples": 277, "planar": 284}
_LAYOUT = (258, 274, 278, 281, 317, 322, 323, 338, 339, 341, 530, *_ONE.values())

RAW, GROUP4, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 1, 4, 5, 7, 8, 32773, 32946, 34925, 50000
_READ = {RAW, GROUP4, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD}
_OTHERS = {2: "CCITT", 3: "CCITT group 3", 6: "JPEG of the old kind", 50001: "WebP", 34676: "SGILog", 34712: "JPEG 2000"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, _PALETTE, YCBCR = 0, 1, 2, 3, 6
_SAMPLES = 8  # per pixel, at most; real images have up to four
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_EXTRA_MOST = 2  # times the bytes that a strip needs: the last strip may be padded to its full height


class Segments(Struct, frozen=True):
    """The places of the pixels, in strips as wide as the image or in tiles."""

    tiled: bool
    width: int  # of one, in pixels
    height: int
    across: int  # how many in a row
    down: int
    offsets: tuple[int, ...]  # plane by plane, row by row
    counts: tuple[int, ...]  # bytes


class Tiff(Container, frozen=True, kw_only=True):
    """What a TIFF's first directory says about its pixels."""

    order: Literal["little", "big"]
    width: int  # as stored, before orientation
    height: int
    depth: int  # bits a sample
    stored: int  # bits that a sample takes up: 16 for 12 or 14 bits that are not packed
    samples: int  # of a pixel
    extra: tuple[int, ...]  # for each sample beyond grey or RGB: 0 anything, 1 alpha that is multiplied in, 2 alpha
    photometric: int
    compression: int
    planes: int  # 1, or one for each sample
    reversed_bits: bool  # FillOrder 2
    predictor: int
    orientation: int  # 1..8
    declared: int | None  # the largest value that a sample may have, if the file says so
    subsampling: tuple[int, ...]  # of YCbCr, across and down
    segments: Segments

    def bytes(self, index: int) -> int:
        """The size of strip or tile `index` once it is decompressed, in bytes."""
        segments = self.segments
        row = index // segments.across % segments.down
        return self.bytes_of(segments.height if segments.tiled else min(segments.height, self.height - row * segments.height))

    def bytes_of(self, high: int) -> int:
        """The size of so many rows of a strip or tile, in bytes."""
        segments = self.segments
        if self.photometric == YCBCR and self.samples == 3:
            across, down = self.subsampling
            return math.ceil(segments.width / across) * math.ceil(high / down) * (across * down + 2)
        return high * ((segments.width * (self.samples // self.planes) * self.stored + 7) // 8)


def inspect(data: bytes) -> Tiff:
    """Checks that the file has all directories, values and pixels, and nothing more (TIFF 6.0, section 2). Raises ImageError.

    They may be anywhere in the file. Sizes are computed from the tags, and strips are checked as far as possible, before a
    decoder runs.
    """
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    directories = [int.from_bytes(data[4:8], order)]
    ends = [8]
    tags: dict[int, tuple[int, ...]] = {}
    for number, at in enumerate(directories):
        if number > len(_DIRECTORIES):
            raise ImageError("E-IMAGE-BROKEN", "a TIFF whose directories point to each other: write it again")
        values, (end, *others) = _directory(data, at, order)
        following = int.from_bytes(data[end - 4 : end], order)
        if number == 0 and (following or _IMAGES in values):
            raise ImageError("E-IMAGE-FRAMES", "a TIFF with more than one image: save one")
        ends += [end, *others]
        for offsets, counts in _PIXELS.items():
            ends += [offset + count for offset, count in zip(values.get(offsets, ()), values.get(counts, ()), strict=False)]
        directories += [values[tag][0] for tag in _DIRECTORIES if values.get(tag)]
        tags = tags or values
    end = max(ends)
    end += len(data) == end + 1 and end % 2  # parts begin at even bytes: one byte may be padding
    behind = check_end(data, end, "TIFF")
    tiff = msgspec.structs.replace(_layout(tags, order), trailing=behind)
    _check_segments(data, tiff)
    return tiff


def _directory(data: bytes, at: int, order: Literal["little", "big"]) -> tuple[dict[int, tuple[int, ...]], list[int]]:
    """The values of the tags that are needed, and the ends of the directory and of each tag's values. Raises ImageError."""
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], order) + 4
    if end > len(data):
        raise truncated("a TIFF directory")
    leading = {_IMAGES, *_PIXELS, *_PIXELS.values(), *_DIRECTORIES}
    places: dict[int, range] = {}
    ends = [end]
    for entry in range(at + 2, end - 4, 12):
        tag, kind, count, first = (
            int.from_bytes(data[entry + start : entry + stop], order) for start, stop in ((0, 2), (2, 4), (4, 8), (8, 12))
        )
        size = _SIZES.get(kind, 1)
        if size * count <= 4:
            first = entry + 8
        ends.append(first + size * count)
        if tag in leading and (count > _VALUES or size > 4):
            raise ImageError("E-IMAGE-BROKEN", f"TIFF tag {tag} with {count} values: write it again")
        if tag in leading or (tag in _LAYOUT and kind in _WHOLE and count <= _VALUES):
            places[tag] = range(first, first + size * count, size)
    # Read once each: an entry of a tag that repeats is 12 bytes, and may name 262,140 values.
    read = {tag: tuple(int.from_bytes(data[i : i + p.step], order) for i in p) for tag, p in places.items()}
    return read, ends


def _layout(tags: dict[int, tuple[int, ...]], order: Literal["little", "big"]) -> Tiff:
    """What the tags say about the pixels. Raises ImageError: limiar does not read it, or it is too large for memory."""
    one = {name: tags[tag][0] for name, tag in _ONE.items() if tags.get(tag)}
    missing = [tag for name, tag in _ONE.items() if name in ("width", "height", "photometric") and name not in one]
    if missing:  # without PhotometricInterpretation, some decoders take 0 for white and others for black
        raise ImageError("E-IMAGE-BROKEN", f"a TIFF without tag {missing[0]}: write it again")
    width, height, samples = one["width"], one["height"], one.get("samples", 1)
    if width < 1 or height < 1:
        raise ImageError("E-IMAGE-BROKEN", f"{width}x{height} pixels: write it again")
    check_pixels("TIFF", width, height, PIXELS_MP_TWICE)
    depths, formats = tags.get(258) or (1,), tags.get(339) or (1,)
    if len(set(depths)) > 1:
        met = f"a TIFF whose samples have {', '.join(map(str, depths[:_SAMPLES]))} bits"
        raise ImageError("E-IMAGE-DEPTH", f"{met}: save it with 8 bits for each")
    if set(formats) != {1} or depths[0] not in range(1, 17):
        kind = {2: "signed", 3: "floating-point"}.get(formats[0], "")
        raise unread_depth(f"a TIFF with {max(depths)} {kind} bits a sample".replace("  ", " "))
    if not 1 <= samples <= _SAMPLES:
        raise ImageError("E-IMAGE-COLOUR", f"a TIFF with {samples} samples a pixel: save it as grey or RGB")
    compression = one.get("compression", RAW)
    if compression not in _READ:
        name = _OTHERS.get(compression, f"compression {compression}")
        met = f"a TIFF in {name}, which is not in the image rules"
        raise ImageError("E-IMAGE-FORMAT", f"{met}: save it uncompressed, or in deflate")
    predictor = (tags.get(317) or (1,))[0]
    if predictor != 1 and compression in (RAW, PACKBITS):  # libtiff ignores it there, others do not
        met = f"a TIFF with predictor {predictor} and compression {compression}, which decoders read differently"
        raise ImageError("E-IMAGE-FORMAT", f"{met}: save it without a predictor, or in deflate")
    if one["photometric"] == _PALETTE and one.get("fill") == 2 and compression == RAW:  # Pillow does not support it
        raise ImageError("E-IMAGE-FORMAT", "a TIFF with a palette whose bits are stored in reverse: save it in LZW or deflate")
    planes = samples if one.get("planar", 1) == 2 else 1
    segments = _segments(tags, width, height, planes)
    tiff = Tiff(
        "TIFF",
        depths[0],
        PIXELS_MP_TWICE,
        order=order,
        width=width,
        height=height,
        depth=depths[0],
        stored=depths[0],
        samples=samples,
        extra=tags.get(338, ()),
        photometric=one["photometric"],
        compression=compression,
        planes=planes,
        reversed_bits=one.get("fill") == 2,
        predictor=predictor,
        orientation=turn if (turn := (tags.get(274) or (1,))[0]) in range(1, 9) else 1,
        declared=_declared(depths[0], tags),
        subsampling=sub if len(sub := tags.get(530, ())) == 2 and min(sub) > 0 else (2, 2),
        segments=segments,
    )
    # Some writers say 12 or 14 bits and use 16 for each sample: only the lengths tell.
    loose = msgspec.structs.replace(tiff, stored=16)
    if tiff.depth > 8 and tiff.compression == RAW and segments.counts == tuple(map(loose.bytes, range(len(segments.counts)))):
        return loose
    return tiff


def _declared(depth: int, tags: dict[int, tuple[int, ...]]) -> int | None:
    """The largest value of a sample: by BitsPerSample, or by MaxSampleValue or SMaxSampleValue if that is 2^n - 1.

    Other values declare nothing: many writers put the image's own largest value there (TIFF 6.0, section 8: "no effect on the
    visual appearance").
    """
    named = [max(tags[tag]) for tag in (281, 341) if tags.get(tag)]
    ranges = [most for most in named if 8 <= most.bit_length() < depth and most + 1 == 1 << most.bit_length()]
    return min(ranges) if ranges else (1 << depth) - 1 if depth < 16 else None


def _segments(tags: dict[int, tuple[int, ...]], width: int, height: int, planes: int) -> Segments:
    tiled = 324 in tags
    if tiled:
        wide, high = ((tags.get(tag) or (0,))[0] for tag in (322, 323))
    else:
        wide, high = width, min(height, (tags.get(278) or (height,))[0])
    if wide < 1 or high < 1:
        raise ImageError("E-IMAGE-BROKEN", f"a TIFF with strips or tiles of {wide}x{high} pixels: write it again")
    across, down = math.ceil(width / wide), math.ceil(height / high)
    if tiled:  # a decoder allocates whole tiles
        check_pixels("TIFF's tile", wide, high, PIXELS_MP_TWICE)
        check_pixels("TIFF with its tiles", across * wide, down * high, PIXELS_MP_PADDED)
    offsets, counts = (tags.get(tag, ()) for tag in ((324, 325) if tiled else (273, 279)))
    needed = across * down * planes
    if not offsets:
        raise ImageError("E-IMAGE-BROKEN", "a TIFF without pixels: write it again")
    if len(offsets) < needed or len(counts) not in (0, len(offsets)):
        met = f"a TIFF with {len(offsets)} offsets and {len(counts)} byte counts for {needed} strips or tiles"
        raise ImageError("E-IMAGE-TRUNCATED", f"{met}: copy or record it again")
    return Segments(tiled, wide, high, across, down, offsets[:needed], counts[:needed])


def _check_segments(data: bytes, tiff: Tiff) -> None:
    """Checks that all strips and tiles are as long as their pixels: libtiff leaves missing rows black. Raises ImageError.

    For LZMA and zstd, libtiff itself says if one is short; for JPEG, image/decoders/jpeg.py does.
    """
    segments = tiff.segments
    for index, offset in enumerate(segments.offsets):
        needed = tiff.bytes(index)
        if offset < _HEADER_BYTES:  # in a sparse file, whose missing pixels have offset 0
            met = f"strip or tile {index + 1} of the TIFF has no place in the file"
            raise ImageError("E-IMAGE-TRUNCATED", f"{met}: copy or record it again")
        if tiff.compression == RAW:
            count = segments.counts[index] if segments.counts else needed
            if count < needed or offset + needed > len(data):
                raise truncated(f"strip or tile {index + 1} of the TIFF")
            continue
        if not segments.counts or not 0 < segments.counts[index] <= len(data) - offset:
            raise truncated(f"strip or tile {index + 1} of the TIFF")
        if tiff.compression in (JPEG, ZSTD):
            continue
        packed = memoryview(data)[offset : offset + segments.counts[index]]
        if tiff.reversed_bits:
            packed = memoryview(bytes(packed).translate(_REVERSED))
        if tiff.compression in (DEFLATE, OLD_DEFLATE):
            _check_deflated(packed, needed, index)
        elif tiff.compression == PACKBITS:
            _check_packbits(packed, (needed, tiff.bytes_of(tiff.segments.height)), index)
        elif not _WHOLE_END[tiff.compression](packed):
            raise truncated(f"strip or tile {index + 1} of the TIFF")


def _check_deflated(packed: memoryview, needed: int, index: int) -> None:
    """Inflates it piece by piece: libtiff stops at the last row and ignores the checksum. Raises ImageError."""
    inflate = zlib.decompressobj()
    found = 0
    rest: memoryview | bytes = packed
    try:
        while rest and not inflate.eof and found <= _EXTRA_MOST * needed + 65_536:
            found += len(inflate.decompress(rest, 1 << 20))
            rest = inflate.unconsumed_tail
    except zlib.error as error:
        met = f"strip or tile {index + 1} of the TIFF does not inflate ({error})"
        raise ImageError("E-IMAGE-BROKEN", f"{met}: copy or record it again") from None
    if found < needed or not inflate.eof:
        raise truncated(f"strip or tile {index + 1} of the TIFF")


def _check_packbits(packed: memoryview, lengths: tuple[int, int], index: int) -> None:
    """TIFF 6.0, section 9: runs up to the last pixel of the image, or of a padded strip. Raises ImageError.

    libtiff discards surplus bytes, which are a sign of damage: a literal byte was taken for the length of a run.
    """
    at = found = 0
    for wanted in lengths:
        while at < len(packed) and found < wanted:
            length = packed[at]
            if length < _NO_RUN:
                found += length + 1
                at += length + 2
            elif length > _NO_RUN:
                found += 257 - length
                at += 2
            else:
                at += 1
        if found == wanted and 0 <= len(packed) - at <= _FILLED:
            return
    if found < lengths[0] or at > len(packed):
        raise truncated(f"strip or tile {index + 1} of the TIFF")
    met = f"strip or tile {index + 1} of the TIFF does not unpack to its {lengths[0]} bytes"
    raise ImageError("E-IMAGE-BROKEN", f"{met}: copy or record it again")


_NO_RUN = 128  # a byte without meaning
_FILLED = 3  # bytes of padding after the last run, up to a word

# Codes that end a strip, and the bits that they may have. libtiff leaves rows without codes as they are.
_FAX_END = (0x001001, (24,))  # ITU-T T.6, 2.4.1.1: two ends of line, 000000000001
_LZW_END = (257, (9, 10, 11, 12))  # TIFF 6.0, section 13: EndOfInformation


_LZMA_END = b"YZ"  # The .xz File Format, 2.1.2.4
_FAX_LOST = bytes(3)  # not in whole data: no code has more than 11 zero bits in a row, none ends with more than 4


def _ends_with(packed: memoryview, code: int, widths: tuple[int, ...]) -> bool:
    """Whether the code is at the end, followed by at most 15 bits of padding."""
    last = int.from_bytes(packed[-5:], "big")
    return any(last >> fill & ((1 << width) - 1) == code for width in widths for fill in range(16))


_WHOLE_END: dict[int, Callable[[memoryview], bool]] = {
    GROUP4: lambda packed: _ends_with(packed, *_FAX_END) and _FAX_LOST not in bytes(packed),
    LZW: lambda packed: _ends_with(packed, *_LZW_END),
    LZMA: lambda packed: bytes(packed).rstrip(b"\0").endswith(_LZMA_END),
}
