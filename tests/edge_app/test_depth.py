"""Images of more than 8 bits become the picture that they show, or are refused; they never become a few grey levels."""

import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec, manifest_json, parse_manifest
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import BundleError, DataError, ImageError
from limiar.edge_app.image import depth
from limiar.edge_app.image.read import decode
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.splits import Shares
from tiff_writer import DEFLATE, LZW, PACKBITS, RAW, Layout, of_depth, tiff

DEPTHS = (9, 10, 12, 14, 15, 16)
COMPRESSIONS = {"raw": RAW, "lzw": LZW, "deflate": DEFLATE, "packbits": PACKBITS}


def picture(height: int = 53, width: int = 45, samples: int = 1) -> NDArray[np.uint8]:
    """A soft background with a bright blob, [H, W] or [H, W, 3]; its darkest and brightest levels are 0 and 255."""
    y, x, c = np.mgrid[:height, :width, :samples]
    blob = 150 * np.exp(-((y - 20) ** 2 + (x - 25 - 3 * c) ** 2) / 60)
    levels = np.clip(40 + 30 * np.sin(x / 7 + c) + 20 * np.cos(y / 5) + blob, 0, 255).astype(np.uint8)
    levels[0, 0], levels[0, 1] = 0, 255
    return levels if samples > 1 else levels[:, :, 0]


def shown(data: bytes, name: str = "", **rules: Any) -> Pixels:
    found = decode(data, name, InputSpec(height=40, width=40, channels=3, **rules))
    return found[0 : found.shape[0]]


def code(data: bytes, **rules: Any) -> str:
    with pytest.raises(ImageError) as refused:
        shown(data, **rules)
    assert refused.value.message.isprintable()
    return refused.value.code


def largest_difference(found: Pixels, wanted: Pixels) -> int:
    assert found.shape == wanted.shape
    return int(np.abs(found.astype(int) - wanted).max())


def png16(samples: NDArray[np.uint16], significant: int | None = None, colour: int = 0) -> bytes:
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    chunks += [(b"sBIT", bytes([significant] * samples.shape[2]))] if significant else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return png_of(chunks)


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    made = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


# TIFF


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("tile", [None, (16, 16), (32, 64)])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_deep_grey_tiff_is_within_a_level_of_its_8_bits(
    bits: int, order: str, photometric: int, tile: tuple[int, int] | None, compression: str
) -> None:
    samples = of_depth(picture(), bits)
    stored = ((1 << bits) - 1 - samples) if photometric == 0 else samples
    layout = Layout(bits, order, photometric, COMPRESSIONS[compression], tile)
    assert largest_difference(shown(tiff(stored, layout)), picture()) <= 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tiff_of_8_or_16_bits_is_exactly_its_upper_8(
    bits: int, order: str, photometric: int, tile: tuple[int, int] | None, compression: str
) -> None:
    samples = of_depth(picture(), bits)
    stored = ((1 << bits) - 1 - samples) if photometric == 0 else samples
    layout = Layout(bits, order, photometric, COMPRESSIONS[compression], tile)
    assert np.array_equal(shown(tiff(stored, layout)), picture())


@pytest.mark.parametrize(("photometric", "samples"), [(0, 1), (1, 1), (1, 2), (2, 3), (2, 4)])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_8_bits_are_themselves_in_every_layout(photometric: int, samples: int, compression: str) -> None:
    levels = picture(samples=4)[:, :, :samples] if samples > 1 else picture()[:, :, None]
    alpha = levels[:, :, -1:].astype(int) if samples in (2, 4) else 255
    wanted = ((levels[:, :, : 3 if samples > 2 else 1].astype(int) * alpha + 127) // 255).squeeze()
    stored = (255 - levels if photometric == 0 else levels).astype(np.uint16)
    more = {338: 2} if samples in (2, 4) else {}
    predictors = (1, 2) if compression in ("lzw", "deflate") else (1,)
    for order, tile, planar, fill, predictor in itertools.product("<>", (None, (16, 32)), (1, 2), (1, 2), predictors):
        layout = Layout(8, order, photometric, COMPRESSIONS[compression], tile, 17, planar, fill, predictor, more=more)
        assert np.array_equal(shown(tiff(stored, layout)), wanted), layout


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_shallow_grey_tiff_is_stretched_to_255(bits: int, order: str, photometric: int, compression: str) -> None:
    samples = of_depth(picture(), bits)
    most = (1 << bits) - 1
    stored = (most - samples) if photometric == 0 else samples
    layout = Layout(bits, order, photometric, COMPRESSIONS[compression])
    assert np.array_equal(shown(tiff(stored, layout)), samples[:, :, 0] * (255 // most))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", ["raw", "deflate"])
def test_deep_colour_is_within_a_level_of_its_8_bits(
    bits: int, order: str, planar: int, tile: tuple[int, int] | None, compression: str
) -> None:
    samples = of_depth(picture(samples=3), bits)
    layout = Layout(bits, order, 2, COMPRESSIONS[compression], tile, planar=planar)
    assert largest_difference(shown(tiff(samples, layout)), picture(samples=3)) <= 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bits_that_are_filled_from_the_low_end_are_turned(bits: int, order: str, compression: str) -> None:
    layout = Layout(bits, order, 1, COMPRESSIONS[compression], fill=2)
    assert largest_difference(shown(tiff(of_depth(picture(), bits), layout)), picture()) <= 1


@pytest.mark.parametrize(("order", "samples", "tile"), list(itertools.product("<>", (1, 3), (None, (16, 32)))))
def test_differences_to_the_left_are_added_up(order: str, samples: int, tile: tuple[int, int] | None) -> None:
    layout = Layout(16, order, 1 if samples == 1 else 2, LZW, tile, predictor=2)
    assert np.array_equal(shown(tiff(of_depth(picture(samples=samples), 16), layout)), picture(samples=samples))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_samples_that_are_declared_as_12_bits_and_fill_16_are_scaled_by_12(bits: int, order: str) -> None:
    layout = Layout(bits, order, words=True)
    assert largest_difference(shown(tiff(of_depth(picture(), bits), layout)), picture()) <= 1


@pytest.mark.parametrize("tag", [281, 341])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_the_largest_sample_that_a_tiff_names_is_its_range(tag: int, bits: int) -> None:
    layout = Layout(16, more={tag: (1 << bits) - 1})
    assert largest_difference(shown(tiff(of_depth(picture(), bits), layout)), picture()) <= 1


def test_the_largest_sample_that_was_met_is_no_range() -> None:
    samples = of_depth(picture(), 12)
    assert code(tiff(samples, Layout(16, more={281: 3017}))) == "E-IMAGE-DEPTH"


def test_alpha_of_16_bits_goes_over_black() -> None:
    grey = of_depth(picture(), 16)
    half = np.full_like(grey, 0x8000)
    made = tiff(np.concatenate([grey, half], axis=2), Layout(16, more={338: 2}))
    assert largest_difference(shown(made), picture() * 128.0 / 255) <= 1
    assert np.array_equal(shown(tiff(np.concatenate([grey, half], axis=2), Layout(16, more={338: 0}))), picture())


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_deep_tiff_is_turned_as_a_shallow_one(turn: int) -> None:
    deep, shallow = (tiff(of_depth(picture(), bits), Layout(bits, more={274: turn})) for bits in (16, 8))
    assert np.array_equal(shown(deep), shown(shallow))


@pytest.mark.parametrize(("bits", "kind"), [(16, 2), (16, 3), (8, 2), (32, 1), (24, 1)])
def test_signed_floating_or_deeper_samples_are_refused(bits: int, kind: int) -> None:
    made = tiff(np.zeros((9, 9, 4), np.uint16), Layout(16, more={339: kind, 258: bits, 277: 1}))
    assert code(made) == "E-IMAGE-DEPTH"


def test_a_tiff_that_does_not_say_what_0_is_is_refused() -> None:
    made = tiff(of_depth(picture(), 8), Layout(8)).replace(struct.pack("<HHI", 262, 4, 1), struct.pack("<HHI", 65000, 4, 1))
    assert code(made) == "E-IMAGE-BROKEN"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_colour_map_of_8_bits_is_no_black_one(order: str) -> None:
    colours = [(k * 7 + 30 * c) % 256 for c in range(3) for k in range(256)]
    indices = picture()
    wanted = np.array(colours, np.uint8).reshape(3, 256).T[indices]
    for factor in (1, 256, 257):
        made = _with_map(indices, [colour * factor for colour in colours], order)
        assert np.array_equal(shown(made), wanted)


def _with_map(indices: NDArray[np.uint8], colours: list[int], order: str) -> bytes:
    entries = {256: indices.shape[1], 257: indices.shape[0], 258: 8, 259: 1, 262: 3, 277: 1, 278: indices.shape[0]}
    at = 8 + 2 + 12 * 10 + 4
    entries |= {273: at + 2 * len(colours), 279: indices.size}
    body = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted({**entries}.items()) if tag < 320)
    body += struct.pack(f"{order}HHII", 320, 3, len(colours), at)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 10)
    return start + body + bytes(4) + struct.pack(f"{order}{len(colours)}H", *colours) + indices.tobytes()


# What is not declared


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_fewer_bits_in_16_that_nothing_declares_are_refused(bits: int, order: str, photometric: int) -> None:
    samples = of_depth(picture(), bits)
    assert code(tiff(samples, Layout(16, order, photometric))) == "E-IMAGE-DEPTH"
    assert code(png16(samples)) == "E-IMAGE-DEPTH"
    assert code(b"P5 45 53 65535\n" + samples.astype(">u2").tobytes()) == "E-IMAGE-DEPTH"
    colour = np.repeat(samples, 3, axis=2)
    assert code(tiff(colour, Layout(16, order, 2))) == "E-IMAGE-DEPTH"
    assert code(png16(colour, colour=2)) == "E-IMAGE-DEPTH"
    assert code(png16(np.concatenate([samples, np.full_like(samples, 65535)], axis=2), colour=4)) == "E-IMAGE-DEPTH"
    assert code(png16(np.concatenate([colour, np.full_like(samples, 65535)], axis=2), colour=6)) == "E-IMAGE-DEPTH"
    assert code(b"P6 45 53 65535\n" + colour.astype(">u2").tobytes()) == "E-IMAGE-DEPTH"


def test_the_refusal_says_the_largest_value_and_what_to_do() -> None:
    with pytest.raises(ImageError, match=r"the largest 4088: the image's depth is not declared: .*--grey-max"):
        decode(png16(of_depth(picture(), 12)))


@pytest.mark.parametrize("offset", [31_744, 20_000])
def test_12_bits_above_an_offset_are_refused(offset: int) -> None:
    assert code(png16(of_depth(picture(), 12) + np.uint16(offset))) == "E-IMAGE-DEPTH"


def test_12_bits_with_white_text_burnt_in_are_refused() -> None:
    samples = of_depth(picture(), 12)
    samples[48:50, 2:12] = 65_535  # one pixel in 120
    assert code(png16(samples)) == "E-IMAGE-DEPTH"


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_12_bits_of_colour_or_with_alpha_are_refused_beside_burnt_in_text_and_scaled_by_the_bundle_s_range(
    colour: int, samples: int
) -> None:
    colours = samples - (colour != 2)
    deep = of_depth(picture(samples=colours), 12)
    for opaque in (4095, 65_535):
        alpha = np.full((53, 45, samples - colours), opaque, np.uint16)
        data = png16(np.concatenate([deep, alpha], axis=2), colour=colour)
        wanted = np.squeeze(picture(samples=colours))
        assert largest_difference(shown(data, grey_max=4095), wanted) <= 1
        declared = png16(np.concatenate([deep, alpha], axis=2), 12, colour)
        assert largest_difference(shown(declared), wanted) <= 1
    with_text = deep.copy()
    with_text[48:50, 2:12] = 65_535
    assert code(png16(np.concatenate([with_text, alpha], axis=2), colour=colour)) == "E-IMAGE-DEPTH"


@pytest.mark.parametrize("photometric", [1, 2])
def test_alpha_that_ends_where_the_bundle_s_range_does_is_opaque(photometric: int) -> None:
    deep = of_depth(picture(samples=1 if photometric == 1 else 3), 12)
    data = tiff(np.concatenate([deep, np.full((53, 45, 1), 4095, np.uint16)], axis=2), Layout(16, photometric=photometric))
    assert largest_difference(shown(data, grey_max=4095), np.squeeze(picture(samples=deep.shape[2]))) <= 1


def test_negative_values_that_wrapped_round_are_refused() -> None:
    samples = of_depth(picture(), 12).astype(np.int32) - 1000
    assert code(png16((samples % 65_536).astype(np.uint16))) == "E-IMAGE-DEPTH"


def test_full_16_bits_are_shown_as_before() -> None:
    samples = of_depth(picture(), 16)
    assert np.array_equal(shown(png16(samples)), picture())
    assert np.array_equal(shown(png16(of_depth(picture(samples=3), 16), colour=2)), picture(samples=3))
    assert np.array_equal(shown(b"P5 45 53 65535\n" + samples.astype(">u2").tobytes()), picture())
    assert np.array_equal(shown(png16(samples // 16 * 16)), picture())  # 12 bits at the upper end


def test_an_8_bit_drawing_of_few_levels_in_16_bits_is_shown() -> None:
    drawing = picture() // 64 * 85
    assert np.array_equal(shown(png16(drawing.astype(np.uint16)[:, :, None] * 257)), drawing)


def test_one_flat_colour_is_left_to_the_rule_for_flat_colours() -> None:
    assert set(shown(png16(np.full((9, 9, 1), 700, np.uint16))).ravel()) == {2}


def test_the_patches_of_ct_scans_taken_as_16_bits_are_shown_and_as_fewer_refused(lung: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted(lung.rglob("*.png"))[::50]:
        deep = of_depth(shown(path.read_bytes()), 16, rng)
        depth.levels(depth.count(deep), None)
        for bits in (10, 12, 14):
            with pytest.raises(ImageError):
                depth.levels(depth.count(deep >> (16 - bits)), None)


# What is declared elsewhere


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_significant_bits_of_a_png_are_its_range_where_its_samples_are_not_scaled_up(bits: int) -> None:
    samples = of_depth(picture(), bits)
    assert largest_difference(shown(png16(samples, bits)), picture()) <= 1
    scaled = samples << (16 - bits)  # as the standard asks
    assert np.array_equal(shown(png16(scaled, bits)), scaled[:, :, 0] >> 8)


@pytest.mark.parametrize("most", [1, 7, 100, 127, 200, 254, 256, 999, 1023, 4000, 4095, 16_383, 65_534])
def test_the_maximum_of_a_pgm_or_ppm_is_its_range(most: int) -> None:
    for kind, levels in ((5, picture()), (6, picture(samples=3))):
        samples = np.rint(levels / 255 * most).astype(np.uint16)
        wanted = np.rint(samples / most * 255).astype(np.uint8)
        raw = b"P%d 45 53 %d\n" % (kind, most) + samples.astype(">u2" if most > 255 else "u1").tobytes()
        words = b"P%d\n# made\n45 53\n%d\n" % (kind - 3, most) + words_of(samples)
        assert largest_difference(shown(raw), wanted) <= 1
        assert np.array_equal(shown(words), shown(raw))
        assert {0, 255} <= set(shown(raw).ravel())


def words_of(samples: NDArray[Any]) -> bytes:
    return b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in samples) + b"\n"


@pytest.mark.parametrize("most", [255, 4095])
def test_a_header_that_ends_as_windows_ends_a_line_shifts_nothing(most: int) -> None:
    samples = np.random.default_rng(5).integers(0, most + 1, (9, 7)).astype(">u2" if most > 255 else "u1")
    unix = b"P5\n7 9\n%d\n" % most + samples.tobytes()
    windows = b"P5\r\n7 9\r\n%d\r\n" % most + samples.tobytes()
    assert np.array_equal(decode(windows)[:], decode(unix)[:])
    assert decode(windows).trailing == ""


def test_a_dark_png_that_declares_its_bits_is_refused_with_another_cure() -> None:
    dark = (np.random.default_rng(5).integers(0, 200, (20, 20, 1)) << 4).astype(np.uint16)
    with pytest.raises(ImageError, match=r"very dark, or .* not the 12 bits of its sBIT: save it with 8 bits, or") as refused:
        decode(png16(dark, 12))
    assert refused.value.code == "E-IMAGE-DEPTH"
    assert "declare its depth" not in refused.value.message


def test_plain_pgm_and_ppm_are_the_pixels_that_they_spell() -> None:
    for kind, levels in ((2, picture()), (3, picture(samples=3))):
        assert np.array_equal(shown(b"P%d 45 53 255\r\n" % kind + words_of(levels).replace(b" ", b"\t "), "x.pnm"), levels)


def test_a_large_plain_file_is_read_in_pieces() -> None:
    levels = picture(1500, 1000)
    assert np.array_equal(shown(b"P2 1000 1500 255\n" + words_of(levels)), levels)


@pytest.mark.parametrize("kind", [2, 3])
def test_a_plain_file_cut_anywhere_is_refused_but_for_its_last_line_end(kind: int) -> None:
    levels = picture(9, 8, samples=1 if kind == 2 else 3)
    levels[-1, -1] = 25
    data = b"P%d\n8 9\n255\n" % kind + words_of(levels)
    assert [kept for kept in range(len(data)) if _passes(data[:kept])] == []
    levels[-1, -1] = 77  # no digit can follow
    whole = b"P%d\n8 9\n255\n" % kind + words_of(levels)
    assert np.array_equal(shown(whole[:-1]), levels)


def _passes(data: bytes) -> bool:
    try:
        decode(data)
    except ImageError:
        return False
    return True


@pytest.mark.parametrize("tail", [b"0\n", b"P2 2 2 255 1 1 1 1\n", b"# more\n", b"\0"])
def test_what_follows_a_plain_file_is_refused(tail: bytes) -> None:
    assert code(b"P2 45 53 255\n" + words_of(picture()) + tail) in ("E-IMAGE-TRAILING", "E-IMAGE-BROKEN")


@pytest.mark.parametrize("kind", [1, 4])
def test_a_bitmap_is_refused_by_its_name(kind: int) -> None:
    with pytest.raises(ImageError, match="Netpbm") as refused:
        decode(b"P%d 8 2\n" % kind + b"\x0f\xf0")
    assert refused.value.code == "E-IMAGE-FORMAT"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_colour_that_a_png_s_palette_lacks_is_refused(bits: int) -> None:
    have = max(1, (1 << bits) - 1)
    for used, refused in ((have - 1, False), (have, True)):
        row = bytes([0, *[0] * 8]) if bits < 8 else bytes([0, *[0] * 64])
        last = bytes([0, used << (8 - bits), *row[2:]])
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", 64 // bits if bits < 8 else 64, 64, bits, 3, 0, 0, 0))]
        chunks += [(b"PLTE", bytes(range(3)) * have), (b"IDAT", zlib.compress(row * 63 + last)), (b"IEND", b"")]
        assert _passes(png_of(chunks)) != refused


# What a bundle declares


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_bundle_s_range_scales_what_declares_none(bits: int) -> None:
    samples, most = of_depth(picture(), bits), (1 << bits) - 1
    for data in (png16(samples), tiff(samples), b"P5 45 53 65535\n" + samples.astype(">u2").tobytes()):
        assert largest_difference(shown(data, grey_max=most), picture()) <= 1
    assert largest_difference(shown(tiff(most - samples, Layout(photometric=0)), grey_max=most), picture()) <= 1


def test_a_bundle_s_range_leaves_what_is_declared_alone() -> None:
    for bits in (8, 10, 12):
        data = tiff(of_depth(picture(), bits), Layout(bits))
        assert np.array_equal(shown(data, grey_max=2000), shown(data))


def test_a_value_over_the_bundle_s_range_is_refused() -> None:
    with pytest.raises(ImageError, match=r"largest value is 4088, .* at most 4000"):
        shown(png16(of_depth(picture(), 12)), grey_max=4000)


# The rule itself


@pytest.mark.parametrize("most", [1, 2, 3, 15, 100, 255, 256, 1000, 4095, 16_383, 65_535])
def test_levels_rise_from_0_to_255_over_any_range(most: int) -> None:
    table = depth.scale(most)[: most + 1].astype(int)
    assert (table[0], table[-1]) == (0, 255)
    assert (np.diff(table) >= 0).all()
    assert np.abs(table - np.arange(most + 1) / most * 255).max() < 1


def test_full_16_bits_are_shifted_and_8_bits_are_themselves() -> None:
    assert np.array_equal(depth.scale(65_535), np.arange(65_536) >> 8)
    assert np.array_equal(depth.scale(255)[:256], np.arange(256))


# From the training to the device


def twelve_bits(folder: Path, count: int) -> Path:
    """Undeclared 12-bit PNGs of two classes, and in `folder`-8 the same of 8 bits."""
    rng = np.random.default_rng(3)
    for number in range(count):
        label = "neg" if number % 2 else "pos"
        levels = np.roll(picture(), int(rng.integers(40)), axis=1) // (1 + number % 2)
        samples = of_depth(levels, 12, rng)
        for place, data in ((folder, png16(samples)), (folder.with_name(f"{folder.name}-8"), png16(samples << 4))):
            (place / label).mkdir(parents=True, exist_ok=True)
            (place / label / f"{number:03}.png").write_bytes(data)
    return folder


def test_a_folder_is_read_by_the_range_that_is_given_and_refused_without(tmp_path: Path) -> None:
    folder = twelve_bits(tmp_path / "images", 40)
    spec = InputSpec(height=40, width=40, channels=1)
    shares = Shares(seed=0, minimum=1)
    with pytest.raises(DataError, match=r"40 of 40 .*E-IMAGE-DEPTH.*the largest \d+: .*--grey-max"):
        load(folder, None, spec, shares, lambda done, total: None)
    deep, _ = load(folder, None, msgspec.structs.replace(spec, grey_max=4095), shares, lambda done, total: None)
    shallow, _ = load(tmp_path / "images-8", None, spec, shares, lambda done, total: None)
    rows = np.arange(40)
    assert largest_difference(deep.images.take(rows), shallow.images.take(rows)) <= 1


def test_a_bundle_without_a_range_is_written_as_before(tiny_path: Path) -> None:
    raw = (tiny_path / "manifest.json").read_bytes()
    assert b"grey_max" not in raw
    assert manifest_json(parse_manifest(raw, "tiny")) == raw


@pytest.mark.parametrize("most", [255, 65_536, 4095.5, "4095", None])
def test_a_bundle_s_range_is_a_whole_number_of_more_than_8_and_at_most_16_bits(tiny_path: Path, most: Any) -> None:
    fields = json.loads((tiny_path / "manifest.json").read_bytes())
    fields["input"]["grey_max"] = most
    with pytest.raises(BundleError) as refused:
        parse_manifest(json.dumps(fields).encode(), "tiny")
    assert refused.value.code == "E-BUNDLE-MANIFEST"


def test_a_scan_reads_16_bits_by_its_bundle_s_range(tiny_path: Path, tiny_bundle: Bundle, tmp_path: Path, limiar: Any) -> None:
    folder = twelve_bits(tmp_path / "images", 6)
    manifest = tiny_bundle.manifest
    contents = {file.path: tiny_bundle.read(file.path) for file in manifest.files}
    ranged = msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, grey_max=4095))
    write_bundle(tmp_path / "ranged", ranged, contents)

    def scanned(bundle: Path, images: Path) -> list[tuple[str, str | None]]:
        done = limiar("scan", bundle, images, "--db", tmp_path / f"{bundle.name}-{images.name}.db")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [(Path(line["path"]).name, line.get("label") or line["code"]) for line in lines]

    assert {answer for _, answer in scanned(tiny_path, folder)} == {"E-IMAGE-DEPTH"}
    answers = scanned(tmp_path / "ranged", folder)
    assert {answer for _, answer in answers} <= {"neg", "pos"}
    assert answers == scanned(tiny_path, tmp_path / "images-8")


def test_the_pictures_that_went_wrong_are_their_references_or_refused_by_their_depth(cases: Path) -> None:
    paths = sorted((cases / "images").glob("k[12]_*"))
    assert len(paths) == 25
    for path in paths:
        data = path.read_bytes()
        if "14bit" in path.name:
            assert len(np.unique(shown(data))) > 64
            continue
        reference = shown((path.parent / f"{'_'.join(path.name.split('_')[:2])}_8bit_reference.png").read_bytes())
        if "12in16" in path.name:
            assert code(data) == "E-IMAGE-DEPTH"
            assert largest_difference(shown(data, grey_max=4095), reference) <= 1
        else:
            assert largest_difference(shown(data), reference) <= ("k1" in path.name), path


def test_the_shipped_bundle_decides_them_as_their_references(cases: Path, project: Path, tmp_path: Path, limiar: Any) -> None:
    folder = cases / "images"
    paths = sorted([*folder.glob("k[12]_*"), *folder.glob("k4_*")])
    done = limiar("scan", project / "models" / "lung-nodule", *paths, "--outside", "ignore", "--db", tmp_path / "results.db")
    answers = {Path(line["path"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert len(answers) == len(paths) == 28
    for name, line in answers.items():
        if "12in16" in name:
            assert line["code"] == "E-IMAGE-DEPTH"
        elif name.startswith("k1"):
            assert (line["decision"], line["label"]) == ("pos", "pos"), name
        elif name.startswith("k2"):
            reference = answers[f"{'_'.join(name.split('_')[:2])}_8bit_reference.png"]
            assert line["probabilities"] == reference["probabilities"], name
        else:
            assert line["probabilities"] == answers["k4_size0.bmp"]["probabilities"], name


def test_12_bits_in_16_are_answered_as_their_8_bit_references_by_a_bundle_that_declares_their_range(
    project: Path, cases: Path, tmp_path: Path, limiar: Any
) -> None:
    reference = open_bundle(project / "models" / "lung-nodule")
    spec = msgspec.structs.replace(reference.manifest.input, grey_max=4095)
    contents = {file.path: reference.read(file.path) for file in reference.manifest.files}
    write_bundle(tmp_path / "ranged", msgspec.structs.replace(reference.manifest, input=spec), contents)
    deep, shallow = (sorted((cases / "images").glob(f"k1_*_{kind}.*")) for kind in ("12in16", "8bit_reference"))
    assert (len(deep), len(shallow)) == (8, 4)

    def answered(bundle: Path, images: list[Path]) -> dict[str, Any]:
        done = limiar("scan", bundle, *images, "--db", tmp_path / f"{bundle.name}.db")
        return {Path(line["path"]).name: line for line in map(json.loads, done.stdout.splitlines())}

    wanted = answered(reference.path, shallow)
    assert {line["code"] for line in answered(reference.path, deep).values()} == {"E-IMAGE-DEPTH"}
    for name, found in answered(tmp_path / "ranged", deep).items():
        same = wanted[f"{name.rpartition('_')[0]}_8bit_reference.png"]
        assert (found["decision"], found["label"]) == (same["decision"], same["label"])
        assert found["confidence"] == pytest.approx(same["confidence"], abs=0.02), name  # a pixel in some is a level off
