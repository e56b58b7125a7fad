"""BMP as careless writers leave it is read; one that is damaged is refused, not filled with black."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode

Levels = NDArray[np.uint8]


class Bmp(Struct, frozen=True):
    """How a BMP is written."""

    bits: int = 24
    header: int = 40
    top_down: bool = False
    compression: int = 0
    colours: tuple[tuple[int, int, int], ...] = ()  # RGB
    used: int | None = None  # biClrUsed, else as many as there are
    masks: tuple[int, ...] = ()
    size: int | None = None  # bfSize, else the true one
    offset: int | None = None  # bfOffBits, else the true one


def bmp(pixels: bytes, width: int, height: int, how: Bmp) -> bytes:
    """The bytes of a BMP whose rows, padded and in the file's order, are `pixels`."""
    if how.header == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, how.bits)
    else:
        used = len(how.colours) if how.used is None else how.used
        numbers = (40, width, -height if how.top_down else height, 1, how.bits, how.compression, len(pixels), 0, 0, used, 0)
        header = struct.pack("<IiiHHIIiiII", how.header, *numbers[1:])
        header += b"".join(struct.pack("<I", mask) for mask in how.masks)
        header += bytes(max(0, how.header - len(header)))
    filler = () if how.header == 12 else (0,)
    palette = b"".join(bytes((blue, green, red, *filler)) for red, green, blue in how.colours)
    at = 14 + len(header) + len(palette)
    size = at + len(pixels) if how.size is None else how.size
    start = b"BM" + struct.pack("<IHHI", size, 0, 0, at if how.offset is None else how.offset)
    return start + header + palette + pixels


def rows(samples: Levels, top_down: bool = False) -> bytes:
    """uint8 [H, bytes] -> the rows of a BMP."""
    padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % 4)))
    return (padded if top_down else padded[::-1]).tobytes()


def packed(indices: Levels, bits: int) -> Levels:
    if bits == 8:
        return indices
    parts = indices[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(parts.reshape(len(indices), -1).astype(np.uint8), axis=1)


def shown(data: bytes) -> Pixels:
    return decode(data).pixels()


def code(data: bytes) -> str:
    with pytest.raises(ImageError) as refused:
        decode(data)
    assert refused.value.message.isprintable()
    return refused.value.code


HEIGHT, WIDTH = 23, 21
RGB: Levels = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
BGR = rows(RGB[:, :, ::-1].reshape(HEIGHT, -1))
COLOURS = tuple((7 * k % 256, (90 + 3 * k) % 256, 255 - k) for k in range(256))
GREYS = tuple((k, k, k) for k in range(256))


@pytest.mark.parametrize("size", [0, 1, HEIGHT * 64, 14 + 40, 14 + HEIGHT * 64, 40 + HEIGHT * 64])
def test_a_size_that_is_0_or_leaves_out_a_header_does_not_matter(size: int) -> None:
    assert np.array_equal(shown(bmp(BGR, WIDTH, HEIGHT, Bmp(size=size))), RGB)


@pytest.mark.parametrize("size", [0, 14 + HEIGHT * 64, None])
def test_a_bmp_cut_anywhere_is_refused_whatever_its_size_says(size: int | None) -> None:
    data = bmp(BGR, WIDTH, HEIGHT, Bmp(size=size))
    assert {code(data[:kept]) for kept in range(2, len(data))} <= {"E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"}


def test_a_size_that_is_larger_than_the_file_means_that_it_was_cut() -> None:
    assert code(bmp(BGR, WIDTH, HEIGHT, Bmp(size=9_999))) == "E-IMAGE-TRUNCATED"


def test_what_follows_the_pixels_is_refused_whatever_the_size_says() -> None:
    for size in (0, None):
        assert code(bmp(BGR, WIDTH, HEIGHT, Bmp(size=size)) + b"PK\3\4 and more") == "E-IMAGE-TRAILING"


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", [12, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes_of_every_header_and_depth_are_their_colours(top_down: bool, header: int, bits: int, grey: bool) -> None:
    top_down = top_down and header > 12
    colours = (GREYS if grey else COLOURS)[: 1 << bits]  # greys 0 to 15 are what Pillow takes for 8 bits
    indices = np.random.default_rng(5).integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=np.uint8)
    how = Bmp(bits, header, top_down, colours=colours)
    found = shown(bmp(rows(packed(indices, bits), top_down), WIDTH, HEIGHT, how))
    assert np.array_equal(found, np.array(colours, np.uint8)[indices])


def test_two_greys_of_8_bits_are_8_bits() -> None:
    indices = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3 == 0).astype(np.uint8)
    data = bmp(rows(indices), WIDTH, HEIGHT, Bmp(8, colours=((0, 0, 0), (255, 255, 255))))
    assert np.array_equal(shown(data)[:, :, 0], indices * 255)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_an_index_that_its_palette_lacks_is_refused(bits: int) -> None:
    have = (1 << bits) - 1 if bits > 1 else 1
    indices = np.zeros((HEIGHT, WIDTH), np.uint8)
    indices[11, 20] = have
    how = Bmp(bits, colours=COLOURS[:have])
    data = bmp(rows(packed(indices, bits)), WIDTH, HEIGHT, how)
    with pytest.raises(ImageError, match=f"colour {have} of a palette of {have}"):
        decode(data)


def test_a_palette_that_runs_into_the_pixels_has_the_colours_before_them() -> None:
    indices = np.full((HEIGHT, WIDTH), 200, np.uint8)
    data = bmp(rows(indices), WIDTH, HEIGHT, Bmp(8, colours=COLOURS[:100], used=256))
    assert code(data) == "E-IMAGE-BROKEN"


@pytest.mark.parametrize(("bits", "compression"), [(7, 0), (0, 0), (2, 0), (8, 2), (4, 1), (24, 1), (8, 7), (8, 3)])
def test_depths_that_no_bmp_has_are_refused(bits: int, compression: int) -> None:
    assert code(bmp(BGR, WIDTH, HEIGHT, Bmp(bits, compression=compression, colours=COLOURS))) == "E-IMAGE-BROKEN"


@pytest.mark.parametrize(("compression", "name"), [(4, "JPEG"), (5, "PNG")])
def test_a_bmp_that_holds_another_picture_is_refused_by_its_name(compression: int, name: str) -> None:
    with pytest.raises(ImageError, match=name) as refused:
        decode(bmp(BGR, WIDTH, HEIGHT, Bmp(compression=compression)))
    assert refused.value.code == "E-IMAGE-FORMAT"


def test_a_header_nobody_knows_or_pixels_inside_it_are_refused() -> None:
    assert code(bmp(BGR, WIDTH, HEIGHT, Bmp(header=77))) == "E-IMAGE-BROKEN"
    assert code(bmp(BGR, WIDTH, HEIGHT, Bmp(offset=30))) == "E-IMAGE-BROKEN"


# Alpha


ALPHA_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def with_alpha(alpha: Levels, header: int = 124) -> bytes:
    samples = np.concatenate([RGB[:, :, ::-1], alpha[:, :, None]], axis=2).reshape(HEIGHT, -1)
    how = Bmp(32, header, compression=3, masks=ALPHA_MASKS)
    return bmp(rows(samples), WIDTH, HEIGHT, how)


@pytest.mark.parametrize("header", [56, 108, 124])
def test_alpha_that_is_0_everywhere_hides_nothing(header: int) -> None:
    assert np.array_equal(shown(with_alpha(np.zeros((HEIGHT, WIDTH), np.uint8), header)), RGB)


def test_alpha_that_is_anywhere_goes_over_black() -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[5:9] = 255
    found = shown(with_alpha(alpha))
    assert np.array_equal(found[5:9], RGB[5:9])
    assert not found[9:].any()


def test_the_fourth_byte_of_32_bits_without_masks_is_nothing() -> None:
    samples = np.concatenate([RGB[:, :, ::-1], np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=2).reshape(HEIGHT, -1)
    assert np.array_equal(shown(bmp(rows(samples), WIDTH, HEIGHT, Bmp(32))), RGB)


# Run lengths

INDICES: Levels = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 3 * 5 % 16).astype(np.uint8)


def run_lengths(bits: int) -> list[bytes]:
    """INDICES from the bottom up, a row a piece: its left in runs, its right in literal bytes."""
    pieces = []
    for row in INDICES[::-1]:
        if bits == 8:
            left = b"".join(bytes((1, value)) for value in row[:8])
            right = bytes((0, 13)) + row[8:].tobytes() + b"\0"
        else:
            left = b"".join(bytes((2, row[k] << 4 | row[k + 1])) for k in range(0, 8, 2))
            nibbles = np.append(row[8:], 0).astype(np.uint8)
            right = bytes((0, 13)) + (nibbles[::2] << 4 | nibbles[1::2]).tobytes() + b"\0"
        pieces.append(left + right)
    return pieces


def coded(body: bytes, bits: int, **more: Any) -> bytes:
    return bmp(body, WIDTH, HEIGHT, Bmp(bits, compression=1 if bits == 8 else 2, colours=COLOURS[:16], **more))


LINE, END = b"\0\0", b"\0\1"


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_are_read_with_or_without_a_last_line_end(bits: int) -> None:
    wanted = np.array(COLOURS, np.uint8)[INDICES]
    for last in (LINE + END, END):
        assert np.array_equal(shown(coded(LINE.join(run_lengths(bits)) + last, bits)), wanted)
    assert np.array_equal(shown(coded(LINE.join(run_lengths(bits)) + END, bits, top_down=True)), wanted[::-1])


def test_run_lengths_that_go_on_to_the_end_of_4_bytes_are_read_as_imagemagick_writes_them() -> None:
    padded = np.pad(INDICES[::-1], ((0, 0), (0, 3)))
    body = b"".join(b"".join(bytes((1, value)) for value in row) + LINE for row in padded) + END
    assert np.array_equal(shown(coded(body, 8)), np.array(COLOURS, np.uint8)[INDICES])


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_that_leave_a_pixel_without_a_colour_are_refused(bits: int) -> None:
    pieces = run_lengths(bits)
    cases = {
        "no end": LINE.join(pieces),
        "an end after half": LINE.join(pieces[: HEIGHT // 2]) + END,
        "a line that ends early": LINE.join([*pieces[:9], pieces[9][:4], *pieces[10:]]) + END,
        "an end within a line": LINE.join(pieces)[:-8] + END,
        "a move": LINE.join([*pieces[:9], b"\0\2\1\1" + pieces[9], *pieces[10:]]) + END,
        "a line too many": LINE.join([*pieces, pieces[0]]) + END,
        "a run over the edge": LINE.join([*pieces[:9], pieces[9] + b"\5\0", *pieces[10:]]) + END,
        "literal bytes over the edge": LINE.join([*pieces[:9], pieces[9][:-1], *pieces[10:]]) + END,
        "an early end and zeros": LINE.join(pieces[: HEIGHT // 2]) + END + bytes(200),
        "zeros": LINE.join(pieces[: HEIGHT // 2]) + bytes(400),
        "nothing": b"",
    }
    for what, body in cases.items():
        assert code(coded(body, bits)) in ("E-IMAGE-BROKEN", "E-IMAGE-TRUNCATED"), what


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_cut_and_closed_again_are_refused_wherever_they_are_cut(bits: int) -> None:
    body = LINE.join(run_lengths(bits)) + END
    for kept in range(len(body) - 2):
        assert code(coded(body[:kept] + END, bits)) in ("E-IMAGE-BROKEN", "E-IMAGE-TRUNCATED"), kept


def test_a_colour_of_a_run_that_the_palette_lacks_is_refused() -> None:
    body = LINE.join([bytes((WIDTH, 99))] * HEIGHT) + END
    assert code(coded(body, 8)) == "E-IMAGE-BROKEN"


def test_the_bmps_that_went_wrong_are_read(cases: Path) -> None:
    names = ("size0", "size_without_header", "v5_alpha0")
    first, *others = (shown((cases / "images" / f"k4_{name}.bmp").read_bytes()) for name in names)
    assert first.std() > 10
    for other in others:
        assert np.array_equal(other, first)
