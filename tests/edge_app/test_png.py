"""Mistakes that other PNG test suites found."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import decoders
from limiar.edge_app.image.read import Picture, decode
from refusals import refusal


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(samples: np.ndarray, bits: int, transparent: int) -> bytes:
    """Grey of 1, 2, 4 or 8 bits with one sample that is transparent (ISO/IEC 15948, 11.3.2.1)."""
    height, width = samples.shape
    bands = np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bands, axis=1))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", transparent)) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_grey_that_is_transparent_becomes_black_and_no_other(bits: int) -> None:
    most = (1 << bits) - 1
    samples = (np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 7 % (most + 1)).astype(np.uint8)
    for transparent in {0, 1, most, most // 2, most * 3 // 4}:
        expected = np.where(samples == transparent, 0, samples.astype(int) * 255 // most)
        assert np.array_equal(decode(grey_png(samples, bits, transparent))[:], expected), transparent


def test_of_a_transparent_sample_that_is_too_large_the_lowest_bits_count() -> None:
    samples = np.tile(np.arange(4, dtype=np.uint8), (8, 4))
    assert np.array_equal(decode(grey_png(samples, 2, 0xFFFE))[:], np.where(samples == 2, 0, samples * 85))


LONG_TEXT = b"k\0\0" + zlib.compress(bytes(1_500_000))
NOTES = [(b"zTXt", LONG_TEXT), (b"iCCP", LONG_TEXT), (b"tEXt", b"k\0" + bytes(1_500_000)), (b"pHYs", b"\0"), (b"iCCP", b"")]


@pytest.mark.parametrize(("kind", "content"), NOTES)
@pytest.mark.parametrize("before", [b"tRNS", b"IDAT", b"IEND"])
def test_good_pixels_are_shown_whatever_a_note_beside_them_holds(kind: bytes, content: bytes, before: bytes) -> None:
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = grey_png(samples, 8, 9)
    at = data.index(before) - 4
    assert np.array_equal(decode(data[:at] + chunk(kind, content) + data[at:])[:], np.where(samples == 9, 0, samples))


KINDS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]
# Pillow keeps texts beside what other chunks say, under these names.
KEYWORDS = ["transparency", "exif", "gamma", "dpi", "icc_profile", "interlace", "aspect", "loop", "bbox", "xmp"]
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)  # EXIF: orientation 6


def parts_of(bits: int, colour: int) -> list[bytes]:
    """8x8 in 1 to 16 bits; colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(bits)
    rows = b"".join(b"\0" + rng.integers(0, 256, samples * bits, dtype=np.uint8).tobytes() for _ in range(8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, colour, 0, 0, 0))
    palette = chunk(b"PLTE", rng.integers(0, 256, 3 << bits, dtype=np.uint8).tobytes()) if colour == 3 else b""
    seen = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\x80\0"}.get(colour) if bits <= 8 else None
    transparent = chunk(b"tRNS", seen) if seen else b""
    return [b"\x89PNG\r\n\x1a\n" + header, palette + transparent, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]


@pytest.mark.parametrize(("bits", "colour"), KINDS)
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_text_is_not_taken_for_what_its_keyword_names(bits: int, colour: int, keyword: str) -> None:
    parts, name = parts_of(bits, colour), keyword.encode()
    without = decode(b"".join(parts))[:]
    for text in (b"x", b"255", TURNED):
        for kind, content in (
            (b"tEXt", name + b"\0" + text),
            (b"zTXt", name + b"\0\0" + zlib.compress(text)),
            (b"iTXt", name + bytes(5) + text),
        ):
            for place in (1, 2, 3):
                data = b"".join([*parts[:place], chunk(kind, content), *parts[place:]])
                assert np.array_equal(decode(data)[:], without), (kind, text, place)


@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("JPEG", {"comment": b"transparency"}),
        ("TIFF", {"description": "transparency", "software": "exif"}),
        ("WEBP", {"lossless": True, "xmp": b"transparency"}),
    ],
)
def test_other_formats_keep_a_text_under_names_of_their_own(container: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    plain, noted = io.BytesIO(), io.BytesIO()
    image.save(plain, container, **{name: value for name, value in options.items() if name == "lossless"})
    image.save(noted, container, **options)
    assert len(noted.getvalue()) > len(plain.getvalue())
    assert np.array_equal(decode(noted.getvalue())[:], decode(plain.getvalue())[:])


def test_transparency_for_more_colours_than_a_palette_can_have_is_refused() -> None:
    start, palette, *rest = parts_of(8, 3)
    for count, met in ((256, "answered"), (257, "E-IMAGE-BROKEN"), (1000, "E-IMAGE-BROKEN")):
        colours = palette[: palette.index(b"tRNS") - 4] + chunk(b"tRNS", bytes(count))
        assert refusal(b"".join([start, colours, *rest])) == met


@pytest.mark.parametrize("bits", [8, 16])
def test_a_header_that_is_not_the_first_chunk_or_not_as_long_as_it_must_be_is_refused(bits: int) -> None:
    """Pillow takes it: what was checked and what is decoded would be two things."""
    start, _, *rest = parts_of(bits, 0)
    header, text = start[8:], chunk(b"tEXt", b"k\0x")
    fields = header[8:-4]
    for chunks, met in (
        ([header], "answered"),
        ([header, text], "answered"),
        ([text, header], "E-IMAGE-BROKEN"),
        ([header, header], "E-IMAGE-BROKEN"),
        ([chunk(b"IHDR", fields + b"\0")], "E-IMAGE-BROKEN"),
        ([chunk(b"IHDR", fields[:12])], "E-IMAGE-BROKEN"),
        ([], "E-IMAGE-BROKEN"),
    ):
        assert refusal(b"".join([start[:8], *chunks, *rest])) == met


def rgb_png(raw: bytes, deflated: bytes | None = None, behind: bytes = b"") -> bytes:
    """40x40, RGB; every CRC is right, whatever the deflated pixels are."""
    header = struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)
    pixels = zlib.compress(raw) if deflated is None else deflated
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels[:99]) + chunk(b"IDAT", pixels[99:]) + behind
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


RAW = b"".join(b"\0" + np.random.default_rng(row).integers(0, 60, 120, dtype=np.uint8).tobytes() for row in range(40))
PLAIN_END = RAW[: 30 * 121] + bytes(10 * 121)
DEFLATED = zlib.compress(RAW)


@pytest.mark.parametrize("raw", [RAW, PLAIN_END])
def test_pixels_that_are_damaged_are_refused_though_every_crc_is_right(raw: bytes) -> None:
    whole = zlib.compress(raw)
    assert refusal(rgb_png(raw)) == "answered"
    for at in range(2, len(whole), 23):
        for damaged in (
            whole[:at] + bytes(len(whole) - at),
            whole[:at] + bytes(min(512, len(whole) - at)) + whole[at + 512 :],
            whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :],
            whole[:at],
        ):
            assert refusal(rgb_png(raw, damaged)) in ("E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"), at


@pytest.mark.parametrize("damaged", [zlib.compress(RAW[:-1]), zlib.compress(PLAIN_END[:-1]), DEFLATED[:-4]])
def test_rows_or_a_checksum_that_are_missing_are_refused(damaged: bytes) -> None:
    assert refusal(rgb_png(RAW, damaged)) == "E-IMAGE-TRUNCATED"


def test_rows_that_follow_the_last_one_do_no_harm_and_an_endless_number_is_refused() -> None:
    assert refusal(rgb_png(RAW, zlib.compress(RAW + bytes(500)))) == "answered"
    assert refusal(rgb_png(RAW, DEFLATED + b"behind the end")) == "answered"
    assert refusal(rgb_png(RAW, zlib.compress(RAW + bytes(40_000_000)))) == "E-IMAGE-TRUNCATED"


@pytest.mark.parametrize("place", ["before", "behind"])
def test_an_orientation_before_or_behind_the_pixels_turns_them(place: str) -> None:
    stored = np.frombuffer(b"".join(RAW[row * 121 + 1 : row * 121 + 121] for row in range(40)), np.uint8).reshape(40, 40, 3)
    note = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    data = rgb_png(RAW, behind=note if place == "behind" else b"")
    if place == "before":
        data = data[:33] + note + data[33:]
    assert np.array_equal(decode(data)[:], np.rot90(stored, -1))


def test_a_png_of_endless_chunks_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = grey_png(np.zeros((8, 8), np.uint8), 8, 1)
    endless = data[:33] + chunk(b"tEXt", b"") * 60_000 + data[33:]
    monkeypatch.setattr("limiar.edge_app.image.read._decoded", lambda *_: pytest.fail("it came as far as the decoder"))
    with pytest.raises(ImageError) as refused:
        decode(endless)
    assert refused.value.code == "E-IMAGE-BROKEN"


def filtered_png(colour: int, rng: np.random.Generator) -> bytes:
    """30x20, 8 bits, grey (0) or RGB (2), random rows with each of the five filters."""
    header = struct.pack(">IIBBBBB", 30, 20, 8, colour, 0, 0, 0)
    rows = b"".join(bytes([row % 5]) + rng.bytes(30 * (1 + colour)) for row in range(20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [0, 2])
def test_a_small_plain_png_has_the_same_pixels_on_the_short_way_and_the_long_one(
    colour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_ways = []

    def small(data: bytes, png: decoders.png.Png) -> Image.Image | None:
        short_ways.append(original(data, png))
        return short_ways[-1]

    def whole(picture: Picture) -> bytes:
        return picture[: picture.shape[0]].tobytes()

    original = decoders.png.small
    data = filtered_png(colour, np.random.default_rng(0))
    monkeypatch.setattr(decoders.png, "small", small)
    short = whole(decode(data))
    assert short_ways[0] is not None
    monkeypatch.setattr(decoders.png, "small", lambda _data, _png: None)
    assert whole(decode(data)) == short


@pytest.mark.parametrize("place", [slice(-4, None), slice(-9, -4)])  # of the deflated pixels: the checksum, the last rows
def test_a_small_plain_png_with_damaged_pixels_is_refused(place: slice) -> None:
    deflated = bytearray(zlib.compress(bytes(20 * 31), 0))
    deflated[place] = bytes(byte ^ 1 for byte in deflated[place])
    header = struct.pack(">IIBBBBB", 30, 20, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", bytes(deflated)) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="E-IMAGE-BROKEN"):
        decode(b"\x89PNG\r\n\x1a\n" + parts)
