"""The same image bytes give the same model input everywhere: every kind of image, with the sha256 of its tensor.

The table is data/golden_tensors.json; scripts/test holds it against the lowest and the newest Pillow, OpenCV and numpy. PNG,
BMP, TIFF, PGM, PPM and lossless WebP are made here: their encoders' bytes vary, the pixels do not. What a lossy encoder makes
does vary, so those files are committed (data/images, made by make_lossy_images.py). How lossy pixels come back is up to the
decoder: libjpeg-turbo 3.0.4 and 3.2.0, libwebp 1.4.0 and 1.6.0, which are in the wheels of Pillow 11.0 and 13.0, give the
same; a Pillow built against another JPEG library (the first libjpeg) need not, and this test is where it would show.
"""

import io
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.read import Picture, decode
from limiar.edge_app.image.resize import _box_mean, model_input, tensor_sha256

DATA = Path(__file__).parent / "data"
GOLDENS = DATA / "golden_tensors.json"
SQUARE = InputSpec(height=40, width=40, channels=3)
GREY = InputSpec(height=40, width=40, channels=1)
WIDE = InputSpec(height=24, width=56, channels=3)
EXTENSIONS = {"PNG": "png", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm", "WEBP": "webp"}


def noise(height: int, width: int, samples: int, bits: int = 8) -> NDArray[Any]:
    """Smooth shapes and noise, [height, width, samples]: from integer arithmetic alone, so that no library can change it."""
    y, x, c = np.mgrid[:height, :width, :samples].astype(np.uint32)
    mixed = (y * 2654435761 + x * 2246822519 + c * 3266489917 + (y * x ^ c)).astype(np.uint32)
    mixed ^= mixed >> 15
    mixed *= np.uint32(2654435761)
    ramp = (x * 150 // max(width - 1, 1) + y * (40 + c * 20) // max(height - 1, 1)) << (bits - 8)
    return (ramp + (mixed >> (32 - bits + 2))).astype(np.uint8 if bits == 8 else np.uint16)


def grey(height: int = 50, width: int = 50, bits: int = 8) -> Image.Image:
    return Image.fromarray(noise(height, width, 1, bits)[:, :, 0])


def rgb(height: int = 50, width: int = 50) -> Image.Image:
    return Image.fromarray(noise(height, width, 3))


def alpha(mode: str, height: int = 50, width: int = 50) -> Image.Image:
    samples = {"LA": 2, "RGBA": 4}[mode]
    pixels = noise(height, width, samples)
    pixels[: height // 3, :, -1] = 255
    pixels[-height // 3 :, :, -1] = 0
    return Image.fromarray(pixels, mode=None if mode == "RGBA" else mode)


def palette(colours: int) -> Image.Image:
    image = Image.fromarray((noise(50, 50, 1, 16)[:, :, 0] % colours).astype(np.uint8))
    image.putpalette(noise(1, colours, 3).tobytes())  # it is of mode P from now on
    return image


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def pgm(height: int, width: int) -> bytes:
    """16-bit PGM, written here: most significant byte first."""
    return b"P5\n# sixteen bits\n%d %d\n65535\n" % (width, height) + noise(height, width, 1, 16).astype(">u2").tobytes()


def tiff16(order: str) -> bytes:
    """A 16-bit grey TIFF in one strip, written here: TIFF 6.0, section 2."""
    height, width = 50, 50
    data = noise(height, width, 1, 16).astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack(f"{order}HHI", tag, 4, 1) + struct.pack(f"{order}I", value) for tag, value in tags)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return header + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def committed(name: str) -> bytes:
    return (DATA / "images" / name).read_bytes()


# name -> the file's bytes; the part after the last dot is the extension that the file has.
IMAGES: dict[str, Callable[[], bytes]] = {
    "grey.png": lambda: saved(grey()),
    "grey-16-bit.png": lambda: saved(grey(bits=16)),
    "rgb.png": lambda: saved(rgb()),
    "rgba.png": lambda: saved(alpha("RGBA")),
    "la.png": lambda: saved(alpha("LA")),
    "palette-256.png": lambda: saved(palette(256)),
    "palette-16.png": lambda: saved(palette(16), bits=4),
    "palette-2.png": lambda: saved(palette(2), bits=1),
    "palette-one-transparent.png": lambda: saved(palette(16), transparency=3),
    "palette-alpha.png": lambda: saved(palette(16), transparency=bytes(range(0, 256, 16))),
    "grey-one-transparent.png": lambda: saved(grey(), transparency=100),
    "rgb-one-transparent.png": lambda: saved(rgb(), transparency=rgb().getpixel((25, 25))),
    "1-bit.png": lambda: saved(Image.fromarray(noise(50, 50, 1)[:, :, 0] > 90)),
    "1x1.png": lambda: saved(rgb(1, 1)),
    "1x7.png": lambda: saved(grey(1, 7)),
    "exact.png": lambda: saved(rgb(40, 40)),
    "odd-41x39.png": lambda: saved(rgb(41, 39)),
    "odd-79x81.png": lambda: saved(rgb(79, 81)),
    "odd-121x203.png": lambda: saved(rgb(121, 203)),
    "grey-odd-133x87.png": lambda: saved(grey(133, 87)),
    "grey-16-bit-odd-90x171.png": lambda: saved(grey(90, 171, bits=16)),
    "up-7x5.png": lambda: saved(rgb(7, 5)),
    "up-39x40.png": lambda: saved(rgb(39, 40)),
    "down-80x80.png": lambda: saved(rgb(80, 80)),
    "down-500x400.png": lambda: saved(rgb(500, 400)),
    "up-and-down-10x400.png": lambda: saved(rgb(10, 400)),
    "very-wide-6x3000.png": lambda: saved(rgb(6, 3000)),
    "very-high-3000x6.png": lambda: saved(grey(3000, 6)),
    "several-bands-2100x2500.png": lambda: saved(rgb(2100, 2500), compress_level=1),
    "interlaced.png": lambda: committed("interlaced.png"),
    "grey.bmp": lambda: saved(grey(), "BMP"),
    "rgb.bmp": lambda: saved(rgb(47, 53), "BMP"),
    "palette.bmp": lambda: saved(palette(16), "BMP"),
    "1-bit.bmp": lambda: saved(Image.fromarray(noise(50, 50, 1)[:, :, 0] > 90), "BMP"),
    "grey.pgm": lambda: saved(grey(51, 49), "PPM"),
    "grey-16-bit.pgm": lambda: pgm(49, 51),
    "rgb.ppm": lambda: saved(rgb(51, 49), "PPM"),
    "grey.tif": lambda: saved(grey(), "TIFF"),
    "grey-16-bit-little.tif": lambda: tiff16("<"),
    "grey-16-bit-big.tiff": lambda: tiff16(">"),
    "rgb.tif": lambda: saved(rgb(), "TIFF"),
    "rgb-lzw.tif": lambda: saved(rgb(), "TIFF", compression="tiff_lzw"),
    "rgb-deflate.tif": lambda: saved(rgb(), "TIFF", compression="tiff_adobe_deflate"),
    "rgba.tif": lambda: saved(alpha("RGBA"), "TIFF"),
    "palette.tif": lambda: saved(palette(256), "TIFF"),
    "1-bit.tif": lambda: saved(Image.fromarray(noise(50, 50, 1)[:, :, 0] > 90), "TIFF"),
    "turned.tif": lambda: saved(rgb(50, 30), "TIFF", exif=exif(6)),
    "lossless.webp": lambda: saved(rgb(), "WEBP", lossless=True),
    "lossless-rgba.webp": lambda: saved(alpha("RGBA"), "WEBP", lossless=True, exact=True),
    "lossy.webp": lambda: committed("lossy.webp"),
    "grey.jpg": lambda: committed("grey.jpg"),
    "rgb-444.jpg": lambda: committed("rgb-444.jpg"),
    "rgb-420.jpeg": lambda: committed("rgb-420.jpeg"),
    "progressive.jpg": lambda: committed("progressive.jpg"),
    "restarts.jpg": lambda: committed("restarts.jpg"),
    "turned.jpg": lambda: committed("turned.jpg"),
    **{f"exif-{turn}.png": partial(lambda turn: saved(rgb(50, 30), exif=exif(turn)), turn) for turn in range(1, 9)},
}
CASES = [
    *((name, "40x40x3", SQUARE) for name in IMAGES),
    *((name, "40x40x1", GREY) for name in ("rgb.png", "grey.png", "rgba.png", "la.png", "palette-16.png", "rgb-420.jpeg")),
    *((name, "24x56x3", WIDE) for name in ("rgb.png", "grey.png", "odd-121x203.png", "down-500x400.png", "exif-6.png")),
]


def goldens() -> dict[str, str]:
    found: dict[str, str] = json.loads(GOLDENS.read_text())
    return found


@pytest.mark.parametrize(("name", "size", "spec"), CASES, ids=[f"{name}-{size}" for name, size, _ in CASES])
def test_an_image_gives_the_recorded_tensor(name: str, size: str, spec: InputSpec, request: pytest.FixtureRequest) -> None:
    tensor = model_input(decode(IMAGES[name](), name), spec)
    assert (tensor.shape, tensor.dtype) == ((1, spec.height, spec.width, spec.channels), np.uint8)
    assert tensor.flags.c_contiguous
    key = f"{name} {size}"
    if request.config.getoption("--update-goldens"):
        GOLDENS.write_text(json.dumps(dict(sorted({**goldens(), key: tensor_sha256(tensor)}.items())), indent=1) + "\n")
    assert tensor_sha256(tensor) == goldens()[key]


def test_the_table_has_no_row_without_an_image() -> None:
    assert sorted(goldens()) == sorted(f"{name} {size}" for name, size, _ in CASES)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("make", [grey, rgb])
def test_an_image_stored_turned_gives_the_tensor_of_the_upright_one(turn: int, make: Callable[..., Image.Image]) -> None:
    upright = make(50, 31)
    # How the upright image has to be stored so that a viewer that follows EXIF 2.32, tag 274, shows it upright again.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[turn]) if turn > 1 else upright
    picture = decode(saved(stored, exif=exif(turn)), "turned.png")
    whole = np.asarray(upright)
    assert picture.shape == whole.shape
    assert np.array_equal(picture[0 : whole.shape[0]], whole)
    assert np.array_equal(picture[7:23], whole[7:23])
    assert np.array_equal(model_input(picture, SQUARE), model_input(whole, SQUARE))


@pytest.mark.parametrize("turn", [0, 9, 255])
def test_an_orientation_that_exif_does_not_have_leaves_the_image_as_it_is(turn: int) -> None:
    assert np.array_equal(decode(saved(rgb(50, 31), exif=exif(turn))).pixels(), np.asarray(rgb(50, 31)))


def test_the_same_picture_gives_the_same_tensor_from_every_lossless_format() -> None:
    files = [saved(rgb(), format) for format in ("PNG", "BMP", "TIFF", "PPM")] + [saved(rgb(), "WEBP", lossless=True)]
    assert len({tensor_sha256(model_input(decode(file), SQUARE)) for file in files}) == 1


def test_sixteen_bits_become_eight_by_dropping_the_low_byte_in_every_format() -> None:
    values = noise(50, 50, 1, 16)[:, :, 0]
    expected = (values >> 8).astype(np.uint8)
    pnm = b"P5 50 50 65535\n" + values.astype(">u2").tobytes()
    for file in (saved(Image.fromarray(values)), tiff16("<"), tiff16(">"), pnm):
        assert np.array_equal(decode(file)[0:50], expected)


def test_alpha_goes_over_black() -> None:
    pixels = noise(50, 50, 4)
    expected = np.floor(pixels[:, :, :3] * (pixels[:, :, 3:] / 255.0) + 0.5).astype(np.uint8)
    assert np.array_equal(decode(saved(Image.fromarray(pixels))).pixels(), expected)


def slow_box_mean(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The rule of edge_app/image/resize.py, one box at a time, in Python's integers."""
    rows, columns = pixels.shape[:2]
    ky, kx = max(1, rows // height), max(1, columns // width)
    top, left = (rows % ky) // 2, (columns % kx) // 2
    n = ky * kx
    means = [
        [
            [(sum(int(v) for v in pixels[y : y + ky, x : x + kx, c].flat) + n // 2) // n for c in range(pixels.shape[2])]
            for x in range(left, left + columns // kx * kx, kx)
        ]
        for y in range(top, top + rows // ky * ky, ky)
    ]
    return np.array(means, np.uint8)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.randoms())
def test_the_box_mean_is_what_the_rule_says(
    rows: int, columns: int, height: int, width: int, samples: int, chance: Any
) -> None:
    values = [chance.choice([0, 1, 127, 128, 254, 255, chance.randrange(256)]) for _ in range(rows * columns * samples)]
    pixels = np.array(values, np.uint8).reshape(rows, columns, samples)
    found = _box_mean(pixels[:, :, 0] if samples == 1 else pixels, height, width)
    assert np.array_equal(found.reshape(*found.shape[:2], samples), slow_box_mean(pixels, height, width))


@given(st.integers(1, 8), st.integers(1, 30), st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_rows_of_a_picture_are_the_rows_of_the_whole(turn: int, height: int, width: int, one: int, other: int) -> None:
    picture = Picture(rgb(height, width), turn)
    whole = picture[0 : picture.shape[0]]
    assert whole.shape == picture.shape
    top, bottom = sorted((min(one, picture.shape[0]), min(other, picture.shape[0])))
    if top < bottom:
        assert np.array_equal(picture[top:bottom], whole[top:bottom])


def test_bands_of_a_large_image_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    large: Pixels = noise(2100, 700, 3)
    at_once = model_input(large, SQUARE)
    monkeypatch.setattr("limiar.edge_app.image.resize._BAND_BYTES", 1 << 16)
    assert np.array_equal(model_input(large, SQUARE), at_once)


def test_colour_becomes_grey_by_bt_601() -> None:
    pixels = noise(40, 40, 3)
    red, green, blue = (pixels[:, :, c].astype(np.float64) for c in range(3))
    grey_levels = model_input(pixels, GREY)[0, :, :, 0]
    assert np.abs(grey_levels - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.51
