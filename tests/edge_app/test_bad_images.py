"""Bad images are refused, each with its code, and never stop anything.

What cannot be seen is said too: a bit error in the pixels of a JPEG, a lossy WebP, BMP, TIFF, PGM or PPM gives another picture
that decodes. A file cut short is refused in every format.
"""

import base64
import contextlib
import io
import json
import os
import random
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from PIL import Image, ImageCms

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import EXTENSIONS
from limiar.edge_app.image.read import BYTES_LIMIT, decode, read_file
from limiar.edge_app.image.resize import check_assessable, model_input

DATA = Path(__file__).parent / "data"
SPEC = InputSpec(height=40, width=40, channels=3)


class Bad(Struct, frozen=True):
    """A file that is refused."""

    data: bytes
    code: str
    name: str = "image"  # the file's, for its extension


def texture(height: int = 50, width: int = 50, samples: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x, c = np.mgrid[:height, :width, :samples]
    return ((y * 7 + x * 13 + c * 60 + (y * x * 5) % 97) % 256).astype(np.uint8)


def image(mode: str = "RGB", height: int = 50, width: int = 50) -> Image.Image:
    samples = {"RGB": 3, "L": 1, "RGBA": 4, "LA": 2, "CMYK": 4}[mode]
    return Image.frombytes(mode, (width, height), texture(height, width, samples).tobytes())


def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def sixteen() -> Image.Image:
    return Image.fromarray(texture(50, 50, 1)[:, :, 0].astype(np.uint16) * 257)


def good_images() -> dict[str, bytes]:
    """One valid file of each kind, by the name that it may have."""
    rgb, grey = image(), image("L")
    return {
        "rgb.png": saved(rgb, "PNG"),
        "grey.png": saved(grey, "PNG"),
        "sixteen.png": saved(sixteen(), "PNG"),
        "palette.png": saved(grey.quantize(16), "PNG"),
        "rgba.png": saved(image("RGBA"), "PNG"),
        "grey.jpg": (DATA / "images" / "grey.jpg").read_bytes(),
        "rgb.jpeg": (DATA / "images" / "rgb-420.jpeg").read_bytes(),
        "progressive.jpg": (DATA / "images" / "progressive.jpg").read_bytes(),
        "rgb.bmp": saved(rgb, "BMP"),
        "grey.bmp": saved(grey, "BMP"),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "lossy.webp": (DATA / "images" / "lossy.webp").read_bytes(),
        "rgb.tif": saved(rgb, "TIFF"),
        "lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tiff": saved(grey, "TIFF", compression="tiff_adobe_deflate"),
        "fax.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
        "grey.pgm": saved(grey, "PPM"),
        "sixteen.pgm": b"P5 50 50 65535\n" + np.asarray(sixteen()).astype(">u2").tobytes(),
        "rgb.ppm": saved(rgb, "PPM"),
    }


GOOD = good_images()
SIGNATURES = {".png": 8, ".jpg": 3, ".jpeg": 3, ".bmp": 2, ".webp": 12, ".tif": 4, ".tiff": 4, ".pgm": 2, ".ppm": 2}


def extension(name: str) -> str:
    return os.path.splitext(name)[1]


def format_of(name: str) -> str:
    return next(kind for kind, extensions in EXTENSIONS.items() if extension(name) in extensions)


def cut_short() -> dict[str, Bad]:
    """Every kind of file cut at 18 places."""
    bad = {}
    for name, data in GOOD.items():
        size, signature = len(data), SIGNATURES[extension(name)]
        header = 14 if format_of(name) == "PPM" else 0
        shares = {size * tenth // 10 for tenth in range(1, 10)}
        for kept in sorted({1, signature - 1, signature, header + 1, 30, size - 12, size - 8, size - 4, size - 1} | shares):
            code = "E-IMAGE-FORMAT" if kept < signature else "E-IMAGE-TRUNCATED"
            if signature <= kept < header:
                code = "E-IMAGE-BROKEN"  # a PGM or PPM whose header does not end
            bad[f"cut-at-{kept}-{name}"] = Bad(data[:kept], code, name)
        bad[f"empty-{name}"] = Bad(b"", "E-IMAGE-EMPTY", name)
    return bad


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_of(*parts: tuple[bytes, bytes]) -> bytes:
    body = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def ihdr(
    width: int, height: int, bits: int = 8, colour: int = 2, compression: int = 0, interlace: int = 0
) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, compression, 0, interlace)


def broken_png() -> dict[str, Bad]:
    bad = {}
    for name in ("rgb.png", "palette.png", "sixteen.png"):
        data = GOOD[name]
        at = 8
        for kind, content in chunks(data):
            for where, place in (("crc", at + 8 + len(content)), ("type", at + 4), ("data", at + 8 + len(content) // 2)):
                if where == "data" and not content:
                    continue
                flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                bad[f"flipped-{where}-of-{kind.decode()}-{name}"] = Bad(flipped, "E-IMAGE-BROKEN", name)
            at += 12 + len(content)
    header, (_, pixels), end = chunks(GOOD["rgb.png"])
    raw = zlib.decompress(pixels)
    idat = (b"IDAT", pixels)
    made = {
        "no-header": png_of(idat, end),
        "no-pixels": png_of(header, end),
        "no-end": png_of(header, idat),
        "pixels-before-header": png_of(idat, header, end),
        "rows-missing": png_of(header, (b"IDAT", zlib.compress(raw[: len(raw) // 2])), end),
        "one-byte-missing": png_of(header, (b"IDAT", zlib.compress(raw[:-1])), end),
        "no-zlib": png_of(header, (b"IDAT", b"nonsense" * 20), end),
        "empty-pixels": png_of(header, (b"IDAT", b""), end),
        "zlib-cut": png_of(header, (b"IDAT", pixels[:-50]), end),
        "bits-3": png_of(ihdr(50, 50, bits=3), idat, end),
        "colour-5": png_of(ihdr(50, 50, colour=5), idat, end),
        "palette-missing": png_of(ihdr(50, 50, colour=3), idat, end),
        "filter-9": png_of(header, (b"IDAT", zlib.compress(b"\x09" + raw[1:])), end),
        "header-short": png_of((b"IHDR", header[1][:9]), idat, end),
        "0x50": png_of(ihdr(0, 50), idat, end),
        "50x0": png_of(ihdr(50, 0), idat, end),
        "0x0": png_of(ihdr(0, 0), idat, end),
        "larger-than-its-pixels": png_of(ihdr(50, 51), idat, end),
    }
    cut = {"no-end", "rows-missing", "one-byte-missing", "empty-pixels", "zlib-cut", "larger-than-its-pixels"}
    codes = {what: "E-IMAGE-TRUNCATED" if what in cut else "E-IMAGE-BROKEN" for what in made}
    return bad | {f"png-{what}": Bad(data, codes[what], "x.png") for what, data in made.items()}


def broken_others() -> dict[str, Bad]:
    jpeg, webp, bmp = GOOD["rgb.jpeg"], GOOD["lossless.webp"], GOOD["rgb.bmp"]
    sof, sos = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    zero_wide = jpeg[: sof + 7] + b"\0\0" + jpeg[sof + 9 :]
    made = {
        "jpeg-without-a-scan.jpg": jpeg[:sos] + b"\xff\xd9",
        "jpeg-without-a-frame.jpg": jpeg[:sof] + jpeg[sof + 2 + int.from_bytes(jpeg[sof + 2 : sof + 4], "big") :],
        "jpeg-with-two-frames.jpg": jpeg[:sos] + jpeg[sof : sof + 19] + jpeg[sos:],
        "jpeg-without-tables.jpg": jpeg[:2] + jpeg[sof:],
        "jpeg-0-wide.jpg": zero_wide,
        "jpeg-of-zeros-after-the-start.jpg": b"\xff\xd8\xff" + bytes(500),
        "jpeg-of-fill-bytes.jpg": jpeg[:-2] + b"\xff" * 3_000_000 + b"\xff\xd9",
        "webp-without-a-chunk.webp": b"RIFF" + struct.pack("<I", 4) + b"WEBP",
        "webp-of-nonsense.webp": b"RIFF"
        + struct.pack("<I", 24)
        + b"WEBPVP8L"
        + struct.pack("<I", 12)
        + b"/\x08\x20\0\0nonsens",
        "webp-with-a-long-chunk.webp": webp[:16] + struct.pack("<I", 1 << 30) + webp[20:],
        "bmp-0-wide.bmp": bmp[:18] + bytes(4) + bmp[22:],
        "bmp-of-an-odd-header.bmp": bmp[:14] + struct.pack("<I", 77) + bmp[18:],
        "bmp-of-7-bits.bmp": bmp[:28] + struct.pack("<H", 7) + bmp[30:],
        "pgm-without-numbers.pgm": b"P5 wide high 255\n" + bytes(2500),
        "pgm-negative.pgm": b"P5 -50 50 255\n" + bytes(2500),
        "pgm-0-wide.pgm": b"P5 0 50 255\n",
        "pgm-maximum-0.pgm": b"P5 9 9 0\n" + bytes(81),
        "pgm-maximum-65536.pgm": b"P5 9 9 65536\n" + bytes(162),
        "plain-pgm-over-its-maximum.pgm": b"P2 2 2 9\n1 2 3 10\n",
        "plain-pgm-with-a-word.pgm": b"P2 2 2 255\n1 2 x 10\n",
        "plain-pgm-negative.pgm": b"P2 2 2 255\n1 2 -3 10\n",
        "plain-pgm-of-long-numbers.pgm": b"P2 2 2 255\n" + b"1" * 3_000_000 + b"\n",
        "plain-pgm-with-too-large-a-number.pgm": b"P2 2 2 255\n1 2 3 99999999999999999999999\n",
        "ppm-0-high.ppm": b"P6 50 0 255\n",
        "tiff-without-a-directory.tif": b"II*\0\0\0\0\0",
        "tiff-that-leads-in-a-circle.tif": tiff({256: 50, 257: 50, 34665: 8}, b""),
        "tiff-without-pixels.tif": tiff({256: 50, 257: 50, 258: 8, 259: 1, 262: 1, 277: 1}, b""),
        "tiff-0-wide.tif": tiff({256: 0, 257: 50, 258: 8, 259: 1, 262: 1, 277: 1}, bytes(50)),
        "tiff-of-nonsense-lzw.tif": tiff({256: 50, 257: 50, 258: 8, 259: 5, 262: 1, 277: 1, 278: 50}, b"nonsense" * 40),
    }
    cut = {"webp-with-a-long-chunk.webp", "tiff-without-a-directory.tif", "tiff-of-nonsense-lzw.tif"}
    return {name: Bad(data, "E-IMAGE-TRUNCATED" if name in cut else "E-IMAGE-BROKEN", name) for name, data in made.items()}


def tiff(tags: dict[int, int], pixels: bytes, following: int = 0) -> bytes:
    """A little-endian TIFF: one directory at byte 8, then the pixels, in one strip."""
    entries = {**tags, 273: 8 + 2 + 12 * (len(tags) + 2) + 4, 279: len(pixels)} if pixels else tags
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + pixels


def wrong_names() -> dict[str, Bad]:
    """Each format under the name of each other one."""
    bad = {}
    for name in ("rgb.png", "grey.jpg", "rgb.bmp", "lossless.webp", "rgb.tif", "grey.pgm"):
        for kind, extensions in EXTENSIONS.items():
            if kind != format_of(name):
                for other in extensions:
                    wrong = f"{format_of(name).lower()}-named{other}"
                    bad[wrong] = Bad(GOOD[name], "E-IMAGE-EXTENSION", wrong)
    return bad


def no_images() -> dict[str, Bad]:
    """Content that is not an image, or in a format that is not on the list, under the name of an image."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("image.png", GOOD["rgb.png"])
    rgb = image()
    contents = {
        "text": b"This is not an image.\n" * 20,
        "html": b"<!DOCTYPE html><html><body><img src=x.png></body></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "json": b'{"image": "x.png"}',
        "zip": archive.getvalue(),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "elf": b"\x7fELF" + bytes(60),
        "script": b"#!/bin/sh\nrm -rf /\n",
        "dicom": bytes(128) + b"DICM" + bytes(60),
        "nifti": b"\x5c\x01\0\0" + bytes(344),
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "byte-order-mark": b"\xef\xbb\xbf" + GOOD["rgb.png"],
        "space-before": b" " + GOOD["rgb.png"],
        "html-before": b"<script>alert(1)</script>" + GOOD["rgb.png"],
        "line-ends-changed": GOOD["rgb.png"].replace(b"\r\n", b"\n", 1),
        "gif": saved(rgb.quantize(8), "GIF"),
        "animated-gif": saved(rgb.quantize(8), "GIF", save_all=True, append_images=[image("L").quantize(8)], duration=40),
        "ico": saved(rgb, "ICO", sizes=[(32, 32)]),
        "jpeg-2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "avif": b"\0\0\0\x1cftypavif" + bytes(60),
        "heic": b"\0\0\0\x18ftypheic" + bytes(60),
        "psd": b"8BPS\0\x01" + bytes(60),
        "exr": b"\x76\x2f\x31\x01" + bytes(60),
        "big-tiff": b"II+\0\x08\0\0\0" + bytes(60),
        "pbm-text": b"P1 2 2 0 1 1 0\n",
        "pbm": b"P4 8 2\n\x0f\xf0",
        "pam": b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0",
        "pfm": b"Pf 1 1 -1.0\n\0\0\0\0",
        "tga": saved(rgb, "TGA"),
        "pcx": saved(rgb, "PCX"),
        "dds": b"DDS |\0\0\0" + bytes(120),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "riff-wave": b"RIFF" + struct.pack("<I", 28) + b"WAVEfmt " + bytes(20),
    }
    codes = {"dicom": "E-IMAGE-DICOM", "heic": "E-IMAGE-HEIC"}
    return {f"{what}.png": Bad(data, codes.get(what, "E-IMAGE-FORMAT"), f"{what}.png") for what, data in contents.items()}


def something_behind() -> dict[str, Bad]:
    """Each format with something after its end: a polyglot, a second image, something hidden."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("run.sh", "echo")
    tails = {
        "zeros-and-more": b"\0\0more",
        "newline": b"\r\n",
        "html": b"<script>alert(1)</script>",
        "zip": archive.getvalue(),
        "php": b"<?php system($_GET['c']); ?>",
    }
    bad = {}
    for name, data in GOOD.items():
        for what, tail in {**tails, "itself": data}.items():
            bad[f"{what}-behind-{name}"] = Bad(data + tail, "E-IMAGE-TRAILING", name)
    return bad


def bombs() -> dict[str, Bad]:
    """More pixels than the image rules allow, by header alone or in full."""
    jpeg, progressive, bmp, webp = GOOD["rgb.jpeg"], GOOD["progressive.jpg"], GOOD["rgb.bmp"], GOOD["lossless.webp"]
    sof, sof2 = jpeg.index(b"\xff\xc0"), progressive.index(b"\xff\xc2")
    end = (b"IEND", b"")
    black = zlib.compress(bytes(1_000_000), 9)
    made = {
        "header-2-31.png": png_of(ihdr(2**31 - 1, 2**31 - 1), (b"IDAT", black), end),
        "header-65536.png": png_of(ihdr(65_536, 65_536), (b"IDAT", black), end),
        "header-7072.png": png_of(ihdr(7_072, 7_072), (b"IDAT", black), end),
        "wide.png": png_of(ihdr(65_536, 4), (b"IDAT", zlib.compress(bytes(4 * (1 + 3 * 65_536)), 9)), end),
        "high.png": png_of(ihdr(4, 65_536), (b"IDAT", zlib.compress(bytes(65_536 * 13), 9)), end),
        "real-400-megapixels.png": png_of(
            ihdr(20_000, 20_000, bits=1, colour=0), (b"IDAT", zlib.compress(bytes(20_000 * 2_501), 9)), end
        ),
        "header.jpg": jpeg[: sof + 5] + struct.pack(">HH", 65_500, 65_500) + jpeg[sof + 9 :],
        "header-progressive.jpg": progressive[: sof2 + 5] + struct.pack(">HH", 4_001, 4_001) + progressive[sof2 + 9 :],
        "header.bmp": bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:],
        "header-top-down.bmp": bmp[:18] + struct.pack("<ii", 100_000, -100_000) + bmp[26:],
        "header.webp": webp[:21] + struct.pack("<I", 16_383 | 16_383 << 14) + webp[25:],
        "header.tif": tiff({256: 60_000, 257: 60_000, 258: 8, 259: 5, 262: 1, 277: 1, 278: 60_000}, b"\x80\0\0"),
        "header-deflate.tif": tiff({256: 5_000, 257: 5_000, 258: 8, 259: 8, 262: 1, 277: 1, 278: 5_000}, black),
        "real.webp": saved(Image.new("RGB", (3_500, 3_500)), "WEBP", lossless=True, method=0),
    }
    bad = {f"bomb-{name}": Bad(data, "E-IMAGE-PIXELS", name) for name, data in made.items()}
    # A PGM's or PPM's pixels follow from its header: without them it is cut short.
    bad["bomb-header.pgm"] = Bad(b"P5 99999 99999 255\n" + bytes(100), "E-IMAGE-TRUNCATED", "x.pgm")
    bad["bomb-header.ppm"] = Bad(b"P6 999999999 999999999 255\n" + bytes(100), "E-IMAGE-TRUNCATED", "x.ppm")
    return bad


def undeclared() -> dict[str, Bad]:
    """Depths and colours that the image rules leave out."""
    end = (b"IEND", b"")
    cmyk = image("CMYK")
    lab = ImageCms.applyTransform(
        image(), ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    )

    def twelve(samples: int, order: str) -> bytes:
        return (texture(9, 9, samples).astype(np.uint16) * 16).astype(f"{order}u2").tobytes()  # 12 bits that 16 hold

    def deep(colour: int, samples: int) -> bytes:
        stride = 9 * samples * 2
        rows = (twelve(samples, ">")[at : at + stride] for at in range(0, 9 * stride, stride))
        packed = zlib.compress(b"".join(b"\0" + row for row in rows))
        return png_of(ihdr(9, 9, bits=16, colour=colour), (b"IDAT", packed), end)

    jpeg = GOOD["rgb.jpeg"]
    sof = jpeg.index(b"\xff\xc0")
    grey16 = {256: 9, 257: 9, 258: 16, 259: 1, 262: 1, 277: 1, 278: 9}
    rgb16 = tiff({256: 9, 257: 9, 258: 16, 259: 1, 262: 2, 277: 3, 278: 9}, twelve(3, "<"))
    sixteen_chunks = chunks(GOOD["sixteen.png"])
    depth = {
        "tiff-rgb-16-bit.tif": rgb16,
        "rgb-16-bit.png": deep(2, 3),
        "rgba-16-bit.png": deep(6, 4),
        "la-16-bit.png": deep(4, 2),
        "grey-16-bit-transparent.png": png_of(sixteen_chunks[0], (b"tRNS", b"\0\x07"), *sixteen_chunks[1:]),
        "jpeg-12-bit.jpg": jpeg[: sof + 4] + b"\x0c" + jpeg[sof + 5 :],
        "grey-16-bit.png": deep(0, 1),
        "grey-16-bit.tif": tiff(grey16, twelve(1, "<")),
        "grey-16-bit-white-is-zero.tif": tiff({**grey16, 262: 0}, twelve(1, "<")),
        "pgm-16-bit.pgm": b"P5 9 9 65535\n" + twelve(1, ">"),
        "ppm-16-bit.ppm": b"P6 9 9 65535\n" + twelve(3, ">"),
        "pgm-over-its-maximum.pgm": b"P5 9 9 1023\n" + twelve(1, ">"),
        "tiff-over-its-maximum.tif": tiff({**grey16, 281: 1023}, twelve(1, "<")),
        "tiff-float.tif": saved(Image.fromarray(texture(9, 9, 1)[:, :, 0].astype(np.float32)), "TIFF"),
        "tiff-32-bit.tif": saved(Image.fromarray(texture(9, 9, 1)[:, :, 0].astype(np.int32)), "TIFF"),
        "tiff-signed.tif": tiff({**grey16, 339: 2}, bytes(162)),
    }
    colour = {
        "cmyk.jpg": saved(cmyk, "JPEG"),
        "cmyk.tif": saved(cmyk, "TIFF"),
        "lab.tif": saved(lab, "TIFF"),
    }
    bad = {name: Bad(data, "E-IMAGE-DEPTH", name) for name, data in depth.items()}
    return bad | {name: Bad(data, "E-IMAGE-COLOUR", name) for name, data in colour.items()}


def several() -> dict[str, Bad]:
    """Animations and files with several images."""
    one, two = image(), image("L").convert("RGB")
    header, idat, end = chunks(GOOD["rgb.png"])
    more: dict[str, Any] = {"save_all": True, "append_images": [two]}
    made = {
        "animated.png": saved(one, "PNG", **more),
        "animated-one-frame.png": png_of(header, (b"acTL", struct.pack(">II", 1, 0)), idat, end),
        "animated-lossy.webp": saved(one, "WEBP", duration=40, **more),
        "animated-lossless.webp": saved(one, "WEBP", duration=40, lossless=True, **more),
        "two-pages.tif": saved(one, "TIFF", **more),
        "three-pages.tif": saved(one, "TIFF", save_all=True, append_images=[two, one]),
        "two-pages-lzw.tif": saved(one, "TIFF", compression="tiff_lzw", **more),
        "sub-images.tif": tiff({256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 277: 1, 278: 9, 330: 8}, bytes(81)),
        "page-in-a-circle.tif": tiff({256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 277: 1, 278: 9}, bytes(81), following=8),
    }
    return {name: Bad(data, "E-IMAGE-FRAMES", name) for name, data in made.items()}


def not_assessable() -> dict[str, Bad]:
    """Whole images that show nothing."""
    bad = {}
    for width, height in [(1, 1), (1, 2), (1, 50), (50, 1), (2, 60), (3, 3), (3, 1000), (1000, 3), (1, 60_000)]:
        for format, ending in (("PNG", "png"), ("BMP", "bmp"), ("PPM", "pgm")):
            thin = saved(image("L", height, width), format)
            bad[f"{width}x{height}.{ending}"] = Bad(thin, "E-IMAGE-THIN", f"x.{ending}")
    for level in (0, 5, 64, 127, 200, 255):
        for size in ((50, 50), (400, 300), (5, 9)):
            flat = Image.new("L", size, level)
            bad[f"uniform-{level}-{size[0]}x{size[1]}.png"] = Bad(saved(flat, "PNG"), "E-IMAGE-UNIFORM", "x.png")
    bad["uniform-red.png"] = Bad(saved(Image.new("RGB", (50, 50), (128, 125, 122)), "PNG"), "E-IMAGE-UNIFORM", "x.png")
    bad["uniform-noise.png"] = Bad(
        saved(Image.fromarray(texture(50, 50, 1)[:, :, 0] % 4 + 100), "PNG"), "E-IMAGE-UNIFORM", "x.png"
    )
    bad["transparent.png"] = Bad(saved(Image.new("RGBA", (50, 50), (200, 90, 30, 0)), "PNG"), "E-IMAGE-UNIFORM", "x.png")
    for code, ground, dot in (("E-IMAGE-BLACK", 3, 250), ("E-IMAGE-SATURATED", 252, 5)):
        picture = Image.new("L", (80, 80), ground)
        picture.paste(dot, (40, 40, 44, 44))
        bad[f"all-but-{ground}.png"] = Bad(saved(picture, "PNG"), code, "x.png")
    return bad


MAKERS = (
    cut_short,
    broken_png,
    broken_others,
    wrong_names,
    no_images,
    something_behind,
    bombs,
    undeclared,
    several,
    not_assessable,
)
BAD = {name: bad for make in MAKERS for name, bad in make().items()}


def refusal(data: bytes, name: str) -> ImageError | None:
    """What a worker does before it infers."""
    try:
        picture = decode(data, name)
        check_assessable(picture, model_input(picture, SPEC))
    except ImageError as error:
        return error
    return None


def test_there_are_300_bad_images() -> None:
    assert len(BAD) >= 300


@pytest.mark.parametrize("name", GOOD)
def test_the_images_that_the_bad_ones_are_made_from_are_good(name: str) -> None:
    assert refusal(GOOD[name], name) is None


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_code_in_one_line(name: str) -> None:
    error = refusal(BAD[name].data, BAD[name].name)
    assert error is not None
    assert error.code == BAD[name].code, error
    assert error.message.isprintable()
    assert len(error.message) < 300


@pytest.mark.parametrize("name", GOOD)
def test_a_file_cut_anywhere_is_refused(name: str) -> None:
    data = GOOD[name]
    places = (
        range(len(data))
        if len(data) < 2000
        else sorted({*range(min(300, len(data))), *range(max(0, len(data) - 300), len(data)), *range(0, len(data), 41)})
    )
    assert [kept for kept in places if refusal(data[:kept], name) is None] == []


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_changed_bytes_give_a_picture_or_a_refusal_and_nothing_else(name: str, choose: st.DataObject) -> None:
    data = bytearray(GOOD[name])
    for _ in range(choose.draw(st.integers(1, 6))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    refusal(bytes(data), name)


def test_a_second_row_of_black_pixels_at_the_bottom_is_no_missing_row() -> None:
    for options in ({}, {"compress_level": 0}):
        picture = image("L")
        picture.paste(0, (0, 40, 50, 50))
        assert refusal(saved(picture, "PNG", **options), "x.png") is None


# Files that are no files, and files that change

GIVEN_TO_READ = {
    "link.png": "E-IMAGE-LINK",
    "dangling.png": "E-IMAGE-LINK",
    "loop.png": "E-IMAGE-LINK",
    "fifo.png": "E-IMAGE-NOT-FILE",
    "socket.png": "E-IMAGE-NOT-FILE",
    "folder.png": "E-IMAGE-NOT-FILE",
    "missing.png": "E-IMAGE-MISSING",
    "good.png/inside.png": "E-IMAGE-MISSING",
    "x" * 300 + ".png": "E-IMAGE-MISSING",
    "sparse-65-MB.png": "E-IMAGE-BYTES",
}


@pytest.fixture
def oddities(tmp_path: Path) -> Path:
    """A folder of things that have the names of images."""
    folder = tmp_path / "oddities"
    folder.mkdir()
    (folder / "good.png").write_bytes(GOOD["rgb.png"])
    (folder / "link.png").symlink_to("good.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "inside.png").write_bytes(GOOD["rgb.png"])
    os.mkfifo(folder / "fifo.png")
    with contextlib.chdir(folder), contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("socket.png")  # by its short name: a socket's path has 108 bytes
    with (folder / "sparse-65-MB.png").open("wb") as file:
        file.truncate(BYTES_LIMIT + 1)
    return folder


@pytest.mark.parametrize("name", GIVEN_TO_READ)
def test_what_is_no_file_of_its_own_is_not_read(name: str, oddities: Path) -> None:
    with pytest.raises(ImageError) as refused:
        read_file(os.fsencode(oddities / name))
    assert refused.value.code == GIVEN_TO_READ[name]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_not_read(device: str) -> None:
    with pytest.raises(ImageError) as refused:
        read_file(device)
    assert refused.value.code == "E-IMAGE-NOT-FILE"


def test_an_unreadable_file_is_refused(oddities: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file: run as another user")
    (oddities / "good.png").chmod(0)
    with pytest.raises(ImageError) as refused:
        read_file(str(oddities / "good.png"))
    assert refused.value.code == "E-IMAGE-READ"


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 100)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], moment: str
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(GOOD["rgb.png"])
    read = os.read

    def changing(descriptor: int, count: int) -> bytes:
        monkeypatch.setattr("limiar.edge_app.image.read.os.read", read)
        data = b"" if moment == "before" else read(descriptor, count)
        change(path)
        return data or read(descriptor, count)

    monkeypatch.setattr("limiar.edge_app.image.read.os.read", changing)
    with pytest.raises(ImageError) as refused:
        read_file(path.as_posix())
    assert refused.value.code == "E-IMAGE-CHANGED"


def test_a_file_that_is_replaced_while_it_is_read_gives_the_bytes_of_one_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "x.png", tmp_path / "other.png"
    path.write_bytes(GOOD["rgb.png"])
    other.write_bytes(GOOD["grey.png"])
    read = os.read

    def replacing(descriptor: int, count: int) -> bytes:
        if other.exists():
            other.replace(path)
        return read(descriptor, count)

    monkeypatch.setattr("limiar.edge_app.image.read.os.read", replacing)
    assert read_file(path.as_posix()) == GOOD["rgb.png"]


def test_a_read_error_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(GOOD["rgb.png"])

    def failing(descriptor: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("limiar.edge_app.image.read.os.read", failing)
    with pytest.raises(ImageError) as refused:
        read_file(path.as_posix())
    assert refused.value.code == "E-IMAGE-READ"


# The real command over all of it


def lines_of(done: "subprocess.CompletedProcess[bytes]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_scan_refuses_every_bad_image_and_answers_none(tiny_path: Path, oddities: Path, limiar: Any, tmp_path: Path) -> None:
    (oddities / "good.png").unlink()
    expected = {}
    for number, (name, bad) in enumerate(BAD.items()):
        ending = extension(bad.name) or ".png"
        path = oddities / f"{number:04d}-{re.sub('[^a-z0-9-]', '-', name)}{ending}"
        path.write_bytes(bad.data)
        expected[str(path)] = bad.code
    for name, code in GIVEN_TO_READ.items():
        if "/" not in name and os.path.lexists(oddities / name):
            expected[str(oddities / name)] = code
    done = limiar("scan", tiny_path, oddities, "--db", tmp_path / "results.db", "--workers", "2")
    assert b"Traceback" not in done.stderr
    found = lines_of(done)
    assert {line["path"]: line.get("code") for line in found} == expected
    assert len(found) == len(expected)
    assert {line["decision"] for line in found} == {"refused"}
    assert done.returncode == 4
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as store:
        assert store.execute("SELECT COUNT(*) FROM results").fetchone() == (0,)


NAMES = [
    b"new\nline.png",
    b"return\r.png",
    b"byte-\xff.png",
    b"n" * 251 + b".png",
    b"<script>alert(1)</script>".replace(b"/", b"|") + b".png",
    b"'); DROP TABLE results; --.png",
    b"=cmd|' -C calc'!A0.png",
    b"+1+1.png",
    b"@SUM(A1).png",
    b"-0.png",
    b"\x1b[2J\x1b[31mred.png",
    b"\x07bell.png",
    b"\xe2\x80\xaegnp.fdp.png",
    b"tab\t.png",
    b'quote".png',
    b" .png",
    b"caf\xc3\xa9.png",
    b"back\\slash.png",
    b"percent%s%n.png",
    b"$(touch x).png",
]


def test_any_name_is_accepted_and_printed_safely(tiny_path: Path, limiar: Any, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "names")
    os.mkdir(folder)
    for number, name in enumerate(NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(saved(image().rotate(number * 7), "PNG"))
    done = limiar("scan", tiny_path, folder, "--csv", tmp_path / "out.csv", "--db", tmp_path / "results.db")
    assert done.returncode == 0, done.stderr
    found = lines_of(done)
    paths = [base64.b64decode(line.get("path_base64", "")) or line["path"].encode() for line in found]
    assert sorted(map(os.path.basename, paths)) == sorted(NAMES)
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as store:
        assert {os.path.basename(path) for (path,) in store.execute("SELECT path FROM results")} == set(NAMES)


# mutated images in a process of their own

_MUTATE = """
import json, random, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_bad_images as bad
from limiar.edge_app.bench.start import memory_mb

rng = random.Random(int(sys.argv[2]))
names = sorted(bad.GOOD)
for name in names:  # idle: every decoder has been used once
    assert bad.refusal(bad.GOOD[name], name) is None
idle_mb = memory_mb("VmHWM")
slowest, decoded, cut_and_decoded = 0.0, 0, []
for _ in range(int(sys.argv[3])):
    name = rng.choice(names)
    kind, data = bad.mutated(rng, bad.GOOD[name])
    started = time.monotonic()
    refused = bad.refusal(data, name)
    slowest = max(slowest, time.monotonic() - started)
    decoded += refused is None
    if refused is None and kind == "cut":
        cut_and_decoded.append(name)
above_idle_mb = memory_mb("VmHWM") - idle_mb
print(json.dumps({"slowest_s": slowest, "decoded": decoded, "cut": cut_and_decoded, "above_idle_mb": above_idle_mb}))
"""


def mutated(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """A file damaged in one of the usual ways: what was done, and the file."""
    kind = rng.choice(["flip", "flips", "byte", "cut", "drop", "insert", "repeat", "swap", "number", "zeros"])
    raw = bytearray(data)
    at = rng.randrange(len(raw))
    span = rng.randrange(1, 64)
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else rng.randrange(2, 40)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        raw[at] = rng.randrange(256)
    elif kind == "cut":
        del raw[at:]
    elif kind == "drop":
        del raw[at : at + span]
    elif kind == "insert":
        raw[at:at] = rng.randbytes(span)
    elif kind == "repeat":
        raw[at:at] = raw[at : at + span]
    elif kind == "swap":
        other = rng.randrange(len(raw))
        raw[at : at + span], raw[other : other + span] = raw[other : other + span], raw[at : at + span]
    elif kind == "number":
        raw[at : at + 4] = rng.choice([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\x80\0\0\0"])
    else:
        raw[at : at + span] = bytes(len(raw[at : at + span]))
    return kind, bytes(raw)


def test_2000_mutated_images_neither_stop_the_app_nor_take_long_nor_much(request: pytest.FixtureRequest) -> None:
    seed = 20261123
    print(f"seed {seed}")
    command = [sys.executable, "-P", "-c", _MUTATE, str(Path(__file__).parent), str(seed), "2000"]
    done = subprocess.run(command, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["cut"] == []  # never a result from a truncated image
    assert found["slowest_s"] <= 5
    assert found["above_idle_mb"] <= 300
    assert 0 < found["decoded"] < 2000
