"""TIFF of every layout has the desktop's pixels on the phone, or is refused by the name of what only the desktop reads."""

import io
import itertools
import random
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_decoders import File, differences, here, open_codecs, there
from image_corpus import material
from phone_modules import Kept, Modules
from tiff_writer import DEFLATE, LZW, PACKBITS, RAW, Layout, of_depth, tiff

damage = material("test_damaged_tiff")
texture = material("test_jpeg").texture
COMPRESSIONS = (RAW, LZW, DEFLATE, PACKBITS)
TILES = (None, (16, 32))


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return open_codecs(modules)


def noise(samples: int, height: int = 37, width: int = 45) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(samples).integers(0, 256, (height, width, samples), dtype=np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8, 10, 12, 15, 16])
def test_grey_and_rgb_of_every_depth_and_layout_are_equal(modules: Modules, codecs: Kept, bits: int) -> None:
    rng, files = random.Random(bits), []
    ways = itertools.product("<>", (0, 1, 2), COMPRESSIONS, TILES, (1, 2, 3, 4), (1, 2), (1, 2), (1, 2))
    for order, photometric, compression, tile, samples, planes, fill, predictor in ways:
        if (predictor == 2 and compression in (RAW, PACKBITS)) or rng.random() > 0.15:
            continue
        more = {338: rng.choice((0, 1, 2, 2))} if samples in (2, 4) and rng.random() < 0.8 else {}
        more |= {274: rng.randrange(10)} if rng.random() < 0.3 else {}
        layout = Layout(bits, order, photometric, compression, tile, 17, planes, fill, predictor, False, more)
        files.append(File(f"{layout} {samples}", "a.tif", tiff(of_depth(noise(samples), bits), layout)))
    assert differences(modules, codecs, files) == []
    assert any(not isinstance(found, str) for found in there(modules, codecs, files))


def test_a_range_that_the_file_or_the_bundle_declares_is_kept(modules: Modules, codecs: Kept) -> None:
    files = []
    for bits, order in itertools.product((9, 10, 12, 14), "<>"):
        samples = of_depth(noise(1), bits)
        files.append(File(f"{bits} bits in words", "a.tif", tiff(samples, Layout(bits, order, words=True))))
        for tag in (281, 341):
            more = {tag: (1 << bits) - 1}
            files.append(File(f"{bits} bits by tag {tag}", "a.tif", tiff(samples, Layout(16, order, more=more))))
        whole = tiff(samples, Layout(16, order))
        files += [File(f"{bits} bits, at most {most}", "a.tif", whole, most) for most in (None, (1 << bits) - 1, 300)]
    assert differences(modules, codecs, files) == []


def with_colours(data: bytes, order: str, colours: list[int]) -> bytes:
    """The TIFF with a colour map of 16 bits, in a new directory at its end."""
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[at + 2 + 12 * index : at + 14 + 12 * index] for index in range(count)]
    data += bytes(len(data) % 2)
    entries.append(struct.pack(f"{order}HHII", 320, 3, len(colours), len(data)))
    data += struct.pack(f"{order}{len(colours)}H", *colours)
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + directory


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_are_equal_whether_their_colours_have_8_or_16_bits(modules: Modules, codecs: Kept, bits: int) -> None:
    rng, files = np.random.default_rng(1), []
    for order, compression, tile, fill, predictor in itertools.product("<>", COMPRESSIONS, TILES, (1, 2), (1, 2)):
        if predictor == 2 and compression in (RAW, PACKBITS):
            continue
        layout = Layout(bits, order, 3, compression, tile, 17, 1, fill, predictor)
        data = tiff(rng.integers(0, 1 << bits, (37, 45, 1)).astype(np.uint16), layout)
        for most in (255, 65_535):
            colours = [int(colour) for colour in rng.integers(0, most + 1, 3 << bits)]
            files.append(File(f"{layout} {most}", "a.tif", with_colours(data, order, colours)))
    assert differences(modules, codecs, files) == []
    assert any(not isinstance(found, str) for found in there(modules, codecs, files))


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
def test_what_pillow_writes_is_equal(modules: Modules, codecs: Kept, compression: str | None) -> None:
    colour = Image.fromarray(texture(256, 300))
    made = {mode: colour.convert(mode) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "LAB")}
    made |= {"few colours": colour.quantize(7), "deep": Image.fromarray(np.asarray(colour)[:, :, 0].astype(np.uint16) * 257)}
    files = []
    for (what, image), rows in itertools.product(made.items(), (19, 256)):
        data = saved(image, compression=compression, tiffinfo={278: rows})
        files.append(File(f"{what}, {rows} rows", "a.tif", data))
    assert differences(modules, codecs, files) == []


ONLY_DESKTOP = [("jpeg", "RGB"), ("jpeg", "L"), ("group4", "1"), ("zstd", "RGB"), ("zstd", "P"), ("tiff_lzw", "YCbCr")]


@pytest.mark.parametrize(("compression", "mode"), ONLY_DESKTOP)
def test_what_only_the_desktop_reads_is_refused_by_its_name(
    modules: Modules, codecs: Kept, compression: str, mode: str
) -> None:
    file = File(compression, "a.tif", saved(Image.fromarray(texture(64, 80)).convert(mode), compression=compression))
    assert not isinstance(here(file), str)
    assert there(modules, codecs, [file]) == ["E-IMAGE-PHONE"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_and_overwritten_strips_are_refused_as_on_the_desktop(modules: Modules, codecs: Kept, compression: int) -> None:
    rng, files = random.Random(5), []
    for bits, order, tile in itertools.product((8, 12, 16), "<>", TILES):
        whole = tiff(of_depth(noise(1, 53), bits), Layout(bits, order, 1, compression, tile))
        tag = 325 if tile else 279
        for index, count in enumerate(damage.numbers(whole, tag)):
            for kept in (0, 1, count // 2, count - 3):
                cut = damage.with_number(whole, tag, index, kept)
                files.append(File(f"{bits} {order} {tile}, part {index} is {kept}", "a.tif", cut))
        for _ in range(20):
            at = rng.randrange(8, len(whole))
            flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            files.append(File(f"{bits} {order} {tile}, byte {at}", "a.tif", flipped))
        for _ in range(4):
            at = rng.randrange(8, len(whole) - 64)
            zeroed = whole[:at] + bytes(64) + whole[at + 64 :]
            files.append(File(f"{bits} {order} {tile}, zeros at {at}", "a.tif", zeroed))
    assert differences(modules, codecs, files) == []
