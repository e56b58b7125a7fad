"""Pictures of every kind that edge_app reads, small and made anew: what another decoder of the image rules is compared with."""

import importlib.util
import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from tiff_writer import DEFLATE, LZW, PACKBITS, RAW, Layout, of_depth, tiff

TESTS = Path(__file__).parents[1] / "edge_app"
SIZES = ((1, 1), (5, 7), (33, 21))  # height, width, px
ORIENTATIONS = range(1, 9)
Levels = NDArray[np.uint8]


class Made(Struct, frozen=True):
    """A whole picture."""

    kind: str  # its format and what is stored, "TIFF in JPEG": files of one kind are decoded in one way
    what: str  # the rest of it
    ending: str  # of its name
    data: bytes
    grey_max: int | None = None  # the bundle's

    @property
    def name(self) -> str:
        return f"picture{self.ending}"


def corpus() -> Iterator[Made]:
    """Over 1,100 pictures, of 1 to 30,000 pixels."""
    for make in (pngs, noted_pngs, jpegs, webps, bmps, pnms, tiffs, coloured_tiffs, tiffs_of_pillow):
        yield from make()


@cache
def material(name: str) -> ModuleType:
    """The module of a test of edge_app, for the files that it makes: `material("test_bad_images").BAD`."""
    spec = importlib.util.spec_from_file_location(f"material_{name}", TESTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def levels(height: int, width: int, channels: int = 3, seed: int = 0) -> Levels:
    """uint8 [H, W, channels]: a texture that is smooth in places, with all levels if it is large enough."""
    noise = np.random.default_rng((seed, height, width, channels)).integers(0, 256, (height, width, channels), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5).reshape(noise.shape)
    return np.where(np.arange(width)[None, :, None] < width // 2, noise, smooth).astype(np.uint8)


def saved(picture: Image.Image | Levels, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (
        picture if isinstance(picture, Image.Image) else Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    ).save(file, format, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# PNG (ISO/IEC 15948)

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # 8.2


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    samples: NDArray[np.uint16], bits: int, colour: int, adam7: bool = False, before: bytes = b"", pieces: int = 1
) -> bytes:
    """samples: [H, W, channels] of so many bits. before: chunks before the pixels, which lie in so many pieces."""
    height, width = samples.shape[:2]
    passes = [samples[top::down, left::right] for top, left, down, right in ADAM7] if adam7 else [samples]
    packed = zlib.compress(b"".join(filtered(one, bits) for one in passes if one.size))
    ends = [len(packed) * piece // pieces for piece in range(pieces + 1)]
    pixels = b"".join(chunk(b"IDAT", packed[start:end]) for start, end in pairwise(ends))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, adam7))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + chunk(b"IEND", b"")


def filtered(samples: NDArray[np.uint16], bits: int) -> bytes:
    """The rows of a pass, each in the next of the five filters (9.2)."""
    height, width, channels = samples.shape
    flat = samples.reshape(height, width * channels)
    if bits == 16:
        rows = flat.astype(">u2").view(np.uint8)
    else:
        parts = flat[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
        rows = np.packbits(parts.reshape(height, -1).astype(np.uint8), axis=1)
    step = max(1, bits * channels // 8)
    now = np.pad(rows, ((1, 0), (step, 0))).astype(int)
    up, left, corner = now[:-1, step:], now[1:, :-step], now[:-1, :-step]
    guess = left + up - corner
    distances = [abs(guess - near) for near in (left, up, corner)]
    paeth = np.where(
        (distances[0] <= distances[1]) & (distances[0] <= distances[2]),
        left,
        np.where(distances[1] <= distances[2], up, corner),
    )
    predicted = [np.zeros_like(up), left, up, (left + up) // 2, paeth]
    stored = [bytes([y % 5]) + ((rows[y] - predicted[y % 5][y]) % 256).astype(np.uint8).tobytes() for y in range(height)]
    return b"".join(stored)


def samples_of(height: int, width: int, bits: int, colour: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng((height, width, bits, colour))
    return rng.integers(0, 1 << bits, (height, width, CHANNELS[colour]), dtype=np.uint16)


def palette_of(bits: int) -> bytes:
    return chunk(b"PLTE", np.random.default_rng(bits).bytes(3 << bits))


def pngs() -> Iterator[Made]:
    for colour, depths in DEPTHS.items():
        for bits, adam7, (height, width) in product(depths, (False, True), (*SIZES, (3, 40))):
            samples = samples_of(height, width, bits, colour)
            before = palette_of(bits) if colour == PALETTE else b""
            what = f"colour type {colour}, {bits} bits, {width}x{height}{', Adam7' * adam7}"
            if bits == 16 and samples.size == 3:
                continue  # three values cannot span 16 bits: refused
            yield Made("PNG", what, ".png", png(samples, bits, colour, adam7, before))
            seen = {GREY: b"\0\1", RGB: b"\0\1\0\2\0\3", PALETTE: b"\x80\0"}.get(colour) if bits <= 8 else None
            if seen and height > 3:
                data = png(samples % 4, bits, colour, adam7, before + chunk(b"tRNS", seen))
                yield Made("PNG", f"{what}, one colour transparent", ".png", data)
    for pieces in (2, 7, 200):
        yield Made("PNG", f"in {pieces} pieces", ".png", png(samples_of(33, 21, 8, RGB), 8, RGB, pieces=pieces))
    for level in range(10):
        yield Made("PNG", f"of Pillow, level {level}", ".png", saved(levels(40, 50), "PNG", compress_level=level))
    for count in (2, 3, 9, 100, 256):
        yield Made("PNG", f"of Pillow, {count} colours", ".png", saved(Image.fromarray(levels(40, 50)).quantize(count), "PNG"))
    deep = (levels(40, 50, 3).astype(np.uint16) << 8) | levels(40, 50, 3, 1)
    for pixels in (levels(40, 50, 1), levels(40, 50, 3), levels(40, 50, 4), deep[:, :, 0], deep):
        yield Made("PNG", f"of OpenCV, {pixels.dtype}{list(pixels.shape)}", ".png", cv2.imencode(".png", pixels)[1].tobytes())


def noted_pngs() -> Iterator[Made]:
    grey, colours = samples_of(33, 21, 16, GREY), samples_of(33, 21, 16, RGB)
    for bits in range(8, 17):
        for colour in (GREY, RGB, GREY_ALPHA, RGBA):
            samples = samples_of(33, 21, bits, colour)
            sbit = chunk(b"sBIT", bytes([bits] * CHANNELS[colour]))
            if bits < 16:
                yield Made("PNG", f"colour type {colour}, sBIT {bits} in 16", ".png", png(samples, 16, colour, before=sbit))
            scaled = samples.astype(np.uint32) * 65535 // ((1 << bits) - 1)
            data = png(scaled.astype(np.uint16), 16, colour, before=sbit)
            yield Made("PNG", f"colour type {colour}, sBIT {bits}, scaled up", ".png", data)
    for bits in (9, 12, 15):
        for colour in (GREY, RGB, GREY_ALPHA, RGBA):
            data = png(samples_of(33, 21, bits, colour), 16, colour)
            yield Made("PNG", f"colour type {colour}, {bits} bits by the bundle", ".png", data, (1 << bits) - 1)
    yield Made("PNG", "16 bits by the bundle", ".png", png(grey, 16, GREY), 65535)
    for orientation in ORIENTATIONS:
        note = chunk(b"eXIf", turned(orientation).tobytes()[6:])
        whole = png((colours >> 8).astype(np.uint16), 8, RGB)
        for place, data in (("before", whole[:33] + note + whole[33:]), ("behind", whole[:-12] + note + whole[-12:])):
            yield Made("PNG", f"turned {orientation}, {place} its pixels", ".png", data)
    for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"pHYs", b"bKGD", b"hIST", b"tIME", b"prVt"):
        note = chunk(kind, b"transparency\0\0x" + zlib.compress(b"y"))
        yield Made("PNG", f"a damaged {kind.decode()}", ".png", png((grey >> 8).astype(np.uint16), 8, GREY, before=note))


# JPEG


def jpegs() -> Iterator[Made]:
    kinds: dict[str, dict[str, Any]] = {
        "baseline": {},
        "optimised": {"optimize": True},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 2},
        "progressive, restarts": {"progressive": True, "restart_marker_rows": 1},
    }
    for (kind, options), sampling, (height, width) in product(kinds.items(), (0, 1, 2), (*SIZES, (64, 48))):
        data = saved(levels(height, width), "JPEG", quality=85, subsampling=sampling, **options)
        yield Made("JPEG", f"{kind}, sampling {sampling}, {width}x{height}", ".jpg", data)
    for (kind, options), (height, width) in product(kinds.items(), (*SIZES, (64, 48))):
        yield Made("JPEG", f"grey, {kind}, {width}x{height}", ".jpeg", saved(levels(height, width, 1), "JPEG", **options))
    for quality, channels in product((1, 10, 50, 95, 100), (1, 3)):
        data = saved(levels(40, 50, channels), "JPEG", quality=quality)
        yield Made("JPEG", f"quality {quality}, {channels} channels", ".jpg", data)
    for progressive in (False, True):
        data = saved(levels(40, 50), "JPEG", keep_rgb=True, progressive=progressive)
        yield Made("JPEG", f"kept as RGB{', progressive' * progressive}", ".jfif", data)
    for orientation, channels in product(ORIENTATIONS, (1, 3)):
        data = saved(levels(20, 29, channels), "JPEG", exif=turned(orientation))
        yield Made("JPEG", f"turned {orientation}, {channels} channels", ".jpg", data)
    for factor in (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440):
        for size in (*SIZES, (64, 48)):
            data = cv2.imencode(".jpg", levels(*size), (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor))[1].tobytes()
            yield Made("JPEG", f"of OpenCV, sampling {factor:x}, {size}", ".jpg", data)
    for path in sorted((TESTS / "data").glob("*/*.jp*g")):
        if path.stem != "arithmetic":
            yield Made("JPEG sampled 4:1:0" if "410" in path.stem else "JPEG", path.stem, path.suffix, path.read_bytes())
    for what, (data, _) in material("test_trailing").UNDERSTOOD.items():
        yield Made("JPEG", f"behind it, {what}", ".jpg", data)


# WebP


def webps() -> Iterator[Made]:
    for channels, lossless, size in product((3, 4), (False, True), (*SIZES, (16, 17), (64, 48))):
        kind = f"{'lossless' if lossless else 'lossy'}{' with alpha' * (channels == 4)}, {size}"
        yield Made("WebP", kind, ".webp", saved(levels(*size, channels), "WEBP", lossless=lossless))
    for quality, method in product((1, 50, 100), (0, 4, 6)):
        data = saved(levels(40, 50), "WEBP", quality=quality, method=method)
        yield Made("WebP", f"quality {quality}, method {method}", ".webp", data)
    for quality, method in product((0, 100), (0, 6)):
        data = saved(levels(40, 50, 4) // 32 * 32, "WEBP", lossless=True, quality=quality, method=method, exact=True)
        yield Made("WebP", f"lossless, few colours, quality {quality}, method {method}", ".webp", data)
    for quality in (0, 50, 99):
        data = saved(levels(40, 50, 4), "WEBP", alpha_quality=quality)
        yield Made("WebP", f"alpha of quality {quality}", ".webp", data)
    for orientation, lossless in product(ORIENTATIONS, (False, True)):
        data = saved(levels(20, 29), "WEBP", exif=turned(orientation), lossless=lossless)
        yield Made("WebP", f"turned {orientation}{', lossless' * lossless}", ".webp", data)
    for what, data in material("test_webp").KINDS.items():
        yield Made("WebP", what, ".webp", data)


# BMP


def bmps() -> Iterator[Made]:
    bmp, masked = material("test_bmp"), material("test_bmp_masks")
    for top_down, header, bits, grey in product((False, True), (12, 40, 52, 56, 64, 108, 124), (1, 4, 8), (False, True)):
        if top_down and header == 12:
            continue
        colours = (bmp.GREYS if grey else bmp.COLOURS)[: 1 << bits]
        indices = (np.arange(23 * 21).reshape(23, 21) * 5 % (1 << bits)).astype(np.uint8)
        how = bmp.Bmp(bits, header, top_down, colours=colours)
        data = bmp.bmp(bmp.rows(bmp.packed(indices, bits), top_down), 21, 23, how)
        yield Made("BMP", f"{bits} bits, header {header}{', grey' * grey}{', top down' * top_down}", ".bmp", data)
    for bits, header, (height, width) in product((24, 32), (12, 40, 124), SIZES):
        samples = levels(height, width, bits // 8)
        data = bmp.bmp(bmp.rows(samples.reshape(height, -1)), width, height, bmp.Bmp(bits, header))
        yield Made("BMP", f"{bits} bits, header {header}, {width}x{height}", ".dib", data)
    for bits, last in product((4, 8), (bmp.LINE + bmp.END, bmp.END)):
        body = bmp.LINE.join(bmp.run_lengths(bits)) + last
        yield Made("BMP", f"run lengths of {bits} bits, {last!r}", ".bmp", bmp.coded(body, bits))
    for layout, header, top_down in product(masked.LAYOUTS, (40, 56, 108), (False, True)):
        dtype, masks = masked.LAYOUTS[layout]
        data = masked.bmp(masked.packed(masked.RGB, masks, dtype), masks, header, top_down)
        yield Made("BMP", f"masks {layout}, header {header}{', top down' * top_down}", ".bmp", data)
    for header, most in product((56, 108, 124), (0, 1, 255)):
        alpha = np.random.default_rng(most).integers(0, most + 1, (bmp.HEIGHT, bmp.WIDTH), dtype=np.uint8)
        yield Made("BMP", f"alpha up to {most}, header {header}", ".bmp", bmp.with_alpha(alpha, header))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield Made("BMP", f"of Pillow, {mode}", ".bmp", saved(Image.fromarray(levels(40, 50)).convert(mode), "BMP"))


# PGM and PPM


def pnms() -> Iterator[Made]:
    for most, channels, (height, width) in product((1, 2, 100, 255, 256, 1023, 4095, 65534, 65535), (1, 3), SIZES):
        rng = np.random.default_rng((most, height, channels))
        samples = rng.integers(0, most + 1, height * width * channels, dtype=np.uint16)
        head = f"{width} {height}\n{most}\n"
        body = samples.astype(">u2" if most > 255 else np.uint8).tobytes()
        what, ending = f"{channels} samples, up to {most}, {width}x{height}", ".pgm" if channels == 1 else ".ppm"
        yield Made("PGM and PPM", what, ending, f"P{5 if channels == 1 else 6}\n{head}".encode() + body)
        plain = " ".join(map(str, samples)).encode() + b"\n"
        yield Made("PGM and PPM", f"{what}, plain", ".pnm", f"P{2 if channels == 1 else 3} {head}".encode() + plain)
    pixels = levels(3, 4, 1).tobytes()
    for start in (b"P5#of a camera\n4 #wide\n 3\n#\n255\n", b"P5\t4\v3\f255 ", b"P5\r\n4 3\r\n255\r\n"):
        yield Made("PGM and PPM", f"begins {start!r}", ".pgm", start + pixels)
    deep = np.random.default_rng(1).integers(0, 4096, 4096, dtype=np.uint16).astype(">u2").tobytes()
    yield Made("PGM and PPM", "12 bits by the bundle", ".pgm", b"P5 64 64 65535\n" + deep, 4095)


# TIFF 6.0

COMPRESSIONS = {"raw": RAW, "lzw": LZW, "deflate": DEFLATE, "packbits": PACKBITS}
ORDERS = {"little": "<", "big": ">"}


def tiffs() -> Iterator[Made]:
    """Grey, of each depth."""
    depths = (1, 2, 4, 6, 8, 10, 12, 14, 16)
    for bits, (order, start), (packing, code), white in product(depths, ORDERS.items(), COMPRESSIONS.items(), (0, 1)):
        samples = of_depth(levels(37, 29, 1), bits)
        tile = (16, 32) if bits % 4 == 0 and white else None
        what = f"{bits} bits, {order} endian, {packing}{', white is zero' * (not white)}{', tiles' * bool(tile)}"
        yield Made("TIFF", what, ".tif", tiff(samples, Layout(bits, start, white, code, tile)))
    for bits, (packing, code) in product((1, 4, 8, 12, 16), COMPRESSIONS.items()):
        data = tiff(of_depth(levels(37, 29, 1), bits), Layout(bits, "<", 1, code, fill=2))
        yield Made("TIFF", f"{bits} bits, {packing}, filled from the low end", ".tif", data)
    for bits, (packing, code), count in product((8, 16), (("lzw", LZW), ("deflate", DEFLATE)), (1, 3)):
        for order, tile in product(ORDERS.values(), (None, (16, 32))):
            samples = of_depth(levels(37, 29, count), bits)
            layout = Layout(bits, order, 1 if count == 1 else 2, code, tile, predictor=2)
            what = f"{bits} bits, {packing}, differences, {count} samples, {order}{', tiles' * bool(tile)}"
            yield Made("TIFF", what, ".tiff", tiff(samples, layout))
    for bits, order in product((10, 12, 14), ORDERS.values()):
        data = tiff(of_depth(levels(37, 29, 1), bits), Layout(bits, order, words=True))
        yield Made("TIFF", f"{bits} bits in words, {order}", ".tif", data)
    for tag, bits in product((281, 341), (10, 12, 14)):
        data = tiff(of_depth(levels(37, 29, 1), bits), Layout(16, more={tag: (1 << bits) - 1}))
        yield Made("TIFF", f"16 bits, of which tag {tag} declares {bits}", ".tif", data)
    for orientation, bits in product(ORIENTATIONS, (8, 12)):
        data = tiff(of_depth(levels(37, 29, 1), bits), Layout(bits, more={274: orientation}))
        yield Made("TIFF", f"{bits} bits, turned {orientation}", ".tif", data)
    data = tiff(of_depth(levels(37, 29, 1), 12), Layout(16))
    yield Made("TIFF", "12 bits by the bundle", ".tif", data, 4095)


def coloured_tiffs() -> Iterator[Made]:
    """RGB, with alpha, with samples that mean nothing."""
    for bits, (packing, code), planar in product((8, 12, 16), COMPRESSIONS.items(), (1, 2)):
        samples = of_depth(levels(37, 29, 3), bits)
        what = f"RGB, {bits} bits, {packing}, planes {planar}"
        yield Made("TIFF", what, ".tif", tiff(samples, Layout(bits, "<", 2, code, planar=planar)))
        yield Made("TIFF", f"{what}, tiles", ".tif", tiff(samples, Layout(bits, ">", 2, code, (16, 32), planar=planar)))
    for bits, extra, colours, planar in product((8, 16), (0, 1, 2), (1, 3), (1, 2)):
        samples = of_depth(levels(37, 29, colours + 1), bits)
        layout = Layout(bits, "<", 1 if colours == 1 else 2, LZW, planar=planar, more={338: extra})
        yield Made("TIFF", f"{colours} colours and extra {extra}, {bits} bits, planes {planar}", ".tif", tiff(samples, layout))
    for orientation in ORIENTATIONS:
        samples = of_depth(levels(37, 29, 3), 8)
        data = tiff(samples, Layout(8, "<", 2, DEFLATE, more={274: orientation}))
        yield Made("TIFF", f"RGB, turned {orientation}", ".tif", data)


def tiffs_of_pillow() -> Iterator[Made]:
    packings = {"raw": None, "LZW": "tiff_lzw", "deflate": "tiff_adobe_deflate", "packbits": "packbits"}
    for mode, (packing, option) in product(("1", "L", "P", "RGB", "RGBA", "RGBX", "LA"), packings.items()):
        picture = Image.fromarray(levels(37, 29, 4) if mode in ("RGBA", "RGBX") else levels(37, 29))
        data = saved(picture.convert(mode), "TIFF", compression=option)
        yield Made("TIFF with a palette" if mode == "P" else "TIFF", f"of Pillow, {mode}, {packing}", ".tif", data)
    picture = Image.fromarray(levels(37, 29))
    for packing, option in (("fax", "group4"), ("LZMA", "lzma"), ("zstd", "zstd"), ("JPEG", "jpeg")):
        modes = ("1",) if packing == "fax" else ("L", "RGB")
        for mode in modes:
            data = saved(picture.convert(mode), "TIFF", compression=option)
            yield Made(f"TIFF in {packing}", f"of Pillow, {mode}", ".tif", data)
    damaged = material("test_damaged_tiff")
    for across, down in ((1, 1), (2, 1), (2, 2), (4, 2)):
        strip = levels(1, -(-37 // across) * -(-53 // down) * (across * down + 2), 1).tobytes()
        data = damaged.ycbcr_tiff([strip], 37, 53, 53, (across, down))
        yield Made("TIFF in YCbCr", f"sampling {across}x{down}", ".tif", data)
    for order, most in product(ORDERS.values(), (255, 65535)):
        for count, kind in ((256, "TIFF with a palette"), (16, "TIFF with too small a palette")):
            colours = np.random.default_rng(most).integers(0, most + 1, 3 * count).tolist()
            indices = (levels(20, 29, 1)[:, :, 0].astype(int) % count).astype(np.uint8)
            data = material("test_depth")._with_map(indices, colours, order)
            yield Made(kind, f"colours up to {most}, {order}", ".tif", data)
