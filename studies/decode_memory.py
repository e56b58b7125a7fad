#!/usr/bin/env python3
"""How much memory does the largest image of each kind take? Prints the peak above idle and the time for each.

    studies/decode_memory.py [--only WORD]

An image may take at most 300 MB above idle (docs/images.md) and 5 seconds (docs/errors.md). Each image here is as large as the
image rules allow (megapixels, or 64 MB of file), and is read, decoded and resized in a fresh process that has answered a small
image before. The limits in edge_app/image/containers follow from this table. Exit status 1 if something exceeds the promise.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import io
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import BYTES_LIMIT, PIXELS_MP, PIXELS_MP_TWICE, PIXELS_MP_WEBP, SIDE_PX
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import check_assessable, model_input

LIMIT_MB = 300
LIMIT_S = 5.0
SPEC = InputSpec(height=40, width=40, channels=3)

Make = Callable[[int, int], bytes]  # height, width -> a file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="measure only the kinds whose name contains WORD")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # for the fresh process: SMALL LARGE
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return 0
    ImageFile.MAXBLOCK = 1 << 27  # Pillow's encoder needs it for a progressive JPEG; the measured process does not encode
    print(f"{'kind':<34} {'pixels':>13} {'MP':>6} {'file MB':>8} {'peak MB':>8} {'s':>6}")
    over = 0
    for name, (make, megapixels, shape) in KINDS.items():
        if arguments.only in name:
            over += row(name, make, *sides(megapixels, shape))
    print(f"{over} over {LIMIT_MB} MB or {LIMIT_S:.0f} s")
    return int(over > 0)


def sides(megapixels: float, high: int | None) -> tuple[int, int]:
    """Height and width of an image of that many megapixels: a square, or one that is `high` pixels high."""
    height = high or int((megapixels * 1e6) ** 0.5)
    return height, int(megapixels * 1e6) // height


def row(name: str, make: Make, height: int, width: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        small.write_bytes(make(50, 50))
        large.write_bytes(make(height, width))
        size = large.stat().st_size
        command = [sys.executable, __file__, "--measure", str(small), str(large)]
        done = subprocess.run(command, capture_output=True, text=True)
    figures = f"{name:<34} {f'{width}x{height}':>13} {width * height / 1e6:>6.1f} {size / 1e6:>8.1f}"
    if done.returncode:
        print(f"{figures}  {done.stderr.strip().splitlines()[-1]}")
        return True
    peak_mb, seconds, refused = done.stdout.split(maxsplit=2)
    over = float(peak_mb) > LIMIT_MB or float(seconds) > LIMIT_S
    print(f"{figures} {float(peak_mb):>8.0f} {float(seconds):>6.2f}  {refused.strip()}{'  OVER' if over else ''}", flush=True)
    return over


def measure(small: str, large: str) -> None:
    """Prints the peak above idle in MB, seconds, and the code if the image was refused, otherwise `-`."""
    answer(small)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): forget the peak so far
    idle_kb = status_kb("VmRSS")
    started = time.monotonic()
    refused = answer(large)
    print((status_kb("VmHWM") - idle_kb) / 1000, time.monotonic() - started, refused)


def answer(path: str) -> str:
    """Does what a worker does before it infers. Returns the code of a refusal, or `-`."""
    try:
        picture = decode(read_file(path))
        check_assessable(picture, model_input(picture, SPEC))
    except ImageError as error:
        return error.code
    return "-"


def status_kb(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def pixels(height: int, width: int, samples: int, noise_bits: int) -> NDArray[np.uint8]:
    """uint8 [height, width, samples]: noise of so many bits, chosen so that the file stays under the byte limit."""
    block = np.random.default_rng(1).integers(0, 1 << noise_bits, 1 << 20, dtype=np.uint8)
    count = height * width * samples
    tiled = np.tile(block, -(-count // block.size))[:count].reshape(height, width, samples)
    tiled[:, width // 2 :] |= 128  # bright on the right: assessable
    return tiled


def saved(mode: str, format: str, noise_bits: int = 2, **options: object) -> Make:
    def make(height: int, width: int) -> bytes:
        samples = {"RGB": 3, "RGBA": 4, "LA": 2}.get(mode, 1)
        array = pixels(height, width, samples, noise_bits)
        image = Image.frombuffer(
            "L" if samples == 1 else mode, (width, height), array.tobytes(), "raw", "L" if samples == 1 else mode, 0, 1
        )
        if mode == "P":
            image.putpalette([level for level in range(256) for _ in range(3)])
        elif mode == "1":
            image = image.point(lambda level: level * 255, "1")
        elif mode == "I;16":
            image = Image.frombuffer(
                "I;16", (width, height), (array[:, :, 0].astype(np.uint16) * 257).tobytes(), "raw", "I;16", 0, 1
            )
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    return make


def rle_bmp(height: int, width: int) -> bytes:
    """A run-length coded 8-bit BMP: the only kind of BMP that is much smaller than its pixels."""
    runs = bytes([255, 7]) * (width // 255) + (bytes([width % 255, 9]) if width % 255 else b"") + b"\0\0"
    data = runs * height + b"\0\1"
    palette = bytes(level for level in range(256) for _ in range(4))
    header = (40, width, height, 1 | 8 << 16, 1, len(data), 0, 0, 256, 0)
    offset = 14 + 40 + len(palette)
    start = b"BM" + (offset + len(data)).to_bytes(4, "little") + bytes(4) + offset.to_bytes(4, "little")
    return start + b"".join(number.to_bytes(4, "little") for number in header) + palette + data


def pgm16(height: int, width: int) -> bytes:
    return b"P5 %d %d 65535\n" % (width, height) + pixels(height, width, 2, 8).tobytes()


def deep(samples: int, magic: bytes = b"") -> Make:
    """A TIFF of 16 bits a sample in one deflated strip, or a PPM of an odd maximum."""

    def make(height: int, width: int) -> bytes:
        raw = np.minimum(pixels(height, width, 2 * samples, 8 if magic else 4), 254).tobytes()
        if magic:
            return magic % (width, height) + raw
        packed = zlib.compress(raw, 1)
        tags = {256: width, 257: height, 258: 16, 259: 8, 262: 2 if samples > 1 else 1, 273: 134, 277: samples, 278: height}
        tags |= {279: len(packed), 284: 1}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + packed

    return make


def png16(samples: int) -> Make:
    def make(height: int, width: int) -> bytes:
        deflate = zlib.compressobj(1)
        row = (bytes(range(256)) * (width * samples // 256 + 1))[: width * samples] + b"\xff" * width * samples
        body = b"".join(deflate.compress(b"\0" + row) for _ in range(height)) + deflate.flush()
        header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
        made = (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(made)

    return make


def plain(magic: bytes, samples: int) -> Make:
    """A file of one-digit numbers, with as many samples as its bytes can hold."""

    def make(height: int, width: int) -> bytes:
        row = b"1 " * (width * samples // 2) + b"9 " * (width * samples - width * samples // 2)
        return magic + b" %d %d 9\n" % (width, height) + row * height

    return make


def orientation(turn: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif.tobytes()


FILE_MB = BYTES_LIMIT / 1e6 - 0.01
RAW_GREY_MP, RAW_16_MP, RAW_RGB_MP = min(PIXELS_MP, FILE_MB), min(PIXELS_MP, FILE_MB / 2), min(PIXELS_MP, FILE_MB / 3)
FAST = {"compress_level": 1}
PROGRESSIVE = {"quality": 85, "subsampling": 0, "progressive": True}
WIDEST = int(PIXELS_MP * 1e6 / SIDE_PX) + 1  # the height of the widest image; libjpeg stops at 65,500

# name -> what makes it, megapixels, height if it is not square
KINDS: dict[str, tuple[Make, float, int | None]] = {
    "PNG grey": (saved("L", "PNG", 8, **FAST), PIXELS_MP, None),
    "PNG grey 16-bit": (saved("I;16", "PNG", 4, **FAST), PIXELS_MP, None),
    "PNG RGB 16-bit": (png16(3), PIXELS_MP_TWICE, None),
    "PNG RGBA 16-bit": (png16(4), PIXELS_MP_TWICE, None),
    "PNG grey and alpha 16-bit": (png16(2), PIXELS_MP_TWICE, None),
    "PNG grey and alpha": (saved("LA", "PNG", 3, **FAST), PIXELS_MP, None),
    "PNG grey, one transparent": (saved("L", "PNG", 8, transparency=3, **FAST), PIXELS_MP, None),
    "PNG RGB": (saved("RGB", "PNG", **FAST), PIXELS_MP, None),
    "PNG RGBA": (saved("RGBA", "PNG", 1, **FAST), PIXELS_MP, None),
    "PNG RGB, one transparent": (saved("RGB", "PNG", transparency=(1, 2, 3), **FAST), PIXELS_MP, None),
    "PNG palette": (saved("P", "PNG", 8, **FAST), PIXELS_MP, None),
    "PNG palette and alpha": (saved("P", "PNG", 8, transparency=bytes(range(256)), **FAST), PIXELS_MP, None),
    "PNG 1-bit": (saved("1", "PNG", 1, **FAST), PIXELS_MP, None),
    "PNG RGB, EXIF turned": (saved("RGB", "PNG", exif=orientation(6), **FAST), PIXELS_MP, None),
    "PNG RGB, as wide as may be": (saved("RGB", "PNG", **FAST), PIXELS_MP, WIDEST),
    "PNG RGBA, as wide as may be": (saved("RGBA", "PNG", 1, **FAST), PIXELS_MP, WIDEST),
    "PNG RGB, as high as may be": (saved("RGB", "PNG", 1, **FAST), PIXELS_MP, SIDE_PX),
    "PNG RGB, turned, as wide as may be": (saved("RGB", "PNG", 1, exif=orientation(6), **FAST), PIXELS_MP, SIDE_PX),
    "JPEG grey": (saved("L", "JPEG", 8, quality=80), PIXELS_MP, None),
    "JPEG RGB 4:4:4": (saved("RGB", "JPEG", 5, quality=85, subsampling=0), PIXELS_MP, None),
    "JPEG RGB 4:2:0": (saved("RGB", "JPEG", 6, quality=85), PIXELS_MP, None),
    "JPEG RGB, EXIF turned": (saved("RGB", "JPEG", 5, quality=85, exif=orientation(6)), PIXELS_MP, None),
    "JPEG RGB, as wide as may be": (saved("RGB", "JPEG", 5, quality=85), PIXELS_MP, WIDEST + 1),
    "JPEG grey, progressive": (saved("L", "JPEG", 8, quality=80, progressive=True), PIXELS_MP_TWICE, None),
    "JPEG RGB 4:4:4, progressive": (saved("RGB", "JPEG", 8, **PROGRESSIVE), PIXELS_MP_TWICE, None),
    "JPEG progressive, EXIF turned": (saved("RGB", "JPEG", 8, **PROGRESSIVE, exif=orientation(5)), PIXELS_MP_TWICE, None),
    "WebP lossy": (saved("RGB", "WEBP", 8, quality=80, method=0), PIXELS_MP_WEBP, None),
    "WebP lossless": (saved("RGB", "WEBP", 6, lossless=True, method=0, quality=0), PIXELS_MP_WEBP, None),
    "WebP lossless RGBA": (saved("RGBA", "WEBP", 6, lossless=True, exact=True, method=0, quality=0), PIXELS_MP_WEBP, None),
    "WebP, EXIF turned": (saved("RGB", "WEBP", 8, quality=80, method=0, exif=orientation(6)), PIXELS_MP_WEBP, None),
    "TIFF grey": (saved("L", "TIFF", 8), PIXELS_MP_TWICE, None),
    "TIFF RGB": (saved("RGB", "TIFF", 8), PIXELS_MP_TWICE, None),
    "TIFF RGBA": (saved("RGBA", "TIFF", 8), min(PIXELS_MP_TWICE, FILE_MB / 4), None),
    "TIFF RGB LZW": (saved("RGB", "TIFF", 4, compression="tiff_lzw"), PIXELS_MP_TWICE, None),
    "TIFF RGB deflate": (saved("RGB", "TIFF", 4, compression="tiff_adobe_deflate"), PIXELS_MP_TWICE, None),
    "TIFF RGB JPEG": (saved("RGB", "TIFF", 5, compression="jpeg"), PIXELS_MP_TWICE, None),
    "TIFF RGB, turned": (saved("RGB", "TIFF", 8, exif=orientation(6)), PIXELS_MP_TWICE, None),
    "TIFF RGB, one strip": (saved("RGB", "TIFF", 4, compression="tiff_lzw", strip_size=1 << 30), PIXELS_MP_TWICE, None),
    "TIFF 16-bit": (saved("I;16", "TIFF", 8), PIXELS_MP_TWICE, None),
    "TIFF 16-bit, one deflated strip": (deep(1), PIXELS_MP_TWICE, None),
    "TIFF RGB 16-bit, one strip": (deep(3), 64 / 6.001, None),
    "TIFF RGBA 16-bit, one strip": (deep(4), 64 / 8.001, None),
    "TIFF 1-bit G4": (saved("1", "TIFF", 1, compression="group4"), PIXELS_MP_TWICE, None),
    "BMP grey": (saved("L", "BMP", 8), RAW_GREY_MP, None),
    "BMP RGB": (saved("RGB", "BMP", 8), RAW_RGB_MP, None),
    "BMP palette": (saved("P", "BMP", 8), RAW_GREY_MP, None),
    "BMP 1-bit": (saved("1", "BMP", 1), PIXELS_MP, None),
    "BMP run-length": (rle_bmp, PIXELS_MP, None),
    "PGM": (saved("L", "PPM", 8), RAW_GREY_MP, None),
    "PGM 16-bit": (pgm16, RAW_16_MP, None),
    "PPM": (saved("RGB", "PPM", 8), RAW_RGB_MP, None),
    "PGM, a maximum of 65534": (deep(1, b"P5 %d %d 65534\n"), RAW_16_MP, None),
    "PPM 16-bit": (deep(3, b"P6 %d %d 65535\n"), FILE_MB / 6, None),
    "PGM plain": (plain(b"P2", 1), FILE_MB / 2, None),
    "PPM plain": (plain(b"P3", 3), FILE_MB / 6, None),
    "PPM, as wide as may be": (saved("RGB", "PPM", 8), RAW_RGB_MP, int(RAW_RGB_MP * 1e6 / SIDE_PX) + 1),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
