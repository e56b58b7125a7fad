"""PNG, BMP, PGM and PPM have the desktop's pixels on the phone, at every depth, and its refusals."""

import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from both_decoders import File, differences, here, open_codecs
from phone_modules import Kept, Modules
from png_writer import CHANNELS, DEPTHS, GREY, PALETTE, RGB, Chunk, png, rows

GOLDEN = Path(__file__).parents[2] / "models" / "lung-nodule" / "golden"
SQUARE = {"height": 40, "width": 40, "channels": 3}


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return open_codecs(modules)


def test_the_golden_images_of_a_bundle_give_its_tensors(modules: Modules, codecs: Kept) -> None:
    images = json.loads((GOLDEN / "golden.json").read_text())["images"]
    assert {Path(one["path"]).suffix for one in images} >= {".png", ".bmp", ".pgm", ".ppm", ".jpg", ".webp", ".tif"}
    files = [((GOLDEN.parent / one["path"]).read_bytes(), one["path"], None, codecs) for one in images]
    pictures = modules.each("/image/index.js", "decode", files)
    tensors = modules.each("/image/index.js", "modelInput", [(picture, SQUARE) for picture in pictures])
    names = modules.each("/image/index.js", "tensorSha256", [(tensor,) for tensor in tensors])
    assert [one for one, name in zip(images, names, strict=True) if one["tensor_sha256"] != name] == []


def samples(chance: random.Random, height: int, width: int, channels: int, bits: int) -> NDArray[Any]:
    """A ramp with noise on it, [height, width, channels]."""
    rng = np.random.default_rng(chance.randrange(1 << 30))
    y, x, c = np.mgrid[:height, :width, :channels]
    ramp = (x * 3 + y * 5 + c * 40) * (1 << bits) // (3 * width + 5 * height + 120)
    return (ramp + rng.integers(0, max(2, (1 << bits) // 8), ramp.shape)) % (1 << bits)


def some_png(chance: random.Random) -> File:
    """A PNG of any kind, with any of the chunks that change its pixels, perhaps damaged within the deflated data."""
    colour = chance.choice(list(CHANNELS))
    bits, channels = chance.choice(DEPTHS[colour]), CHANNELS[colour]
    most = chance.choice([9, 70])
    pixels = samples(chance, chance.randint(1, most), chance.randint(1, most), channels, bits)
    before, after, pixels = some_chunks(chance, colour, bits, pixels)
    interlaced, filters = chance.random() < 0.5, chance.choice([None, chance])
    deflated = some_deflated(chance, rows(pixels, bits, interlaced, filters))
    data = png(
        pixels,
        colour,
        bits,
        before=before,
        after=after,
        interlaced=interlaced,
        deflated=deflated,
        piece=chance.choice([7, 8192]),
    )
    kinds = [kind for kind, _ in (*before, *after)]
    what = f"colour {colour}, {bits} bits, {pixels.shape}, interlaced {interlaced}, {kinds}"
    return File(what, "x.png", data, chance.choice([None, None, 4095, 65535]))


def some_chunks(
    chance: random.Random, colour: int, bits: int, pixels: NDArray[Any]
) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...], NDArray[Any]]:
    """Chunks before and after the pixels, and these: perhaps with fewer values."""
    before, after = list[Chunk](), list[Chunk]()
    if colour == PALETTE:
        colours = chance.randint(1, 1 << bits)
        if chance.random() < 0.9:
            pixels = pixels % colours
        before.append((b"PLTE", chance.randbytes(3 * colours)))
        alpha = chance.choice([chance.randbytes(colours), b"\xff\0\xff", b"\xff\0\n"])
        before += [(b"tRNS", alpha[:colours])] if chance.random() < 0.5 else []
    elif bits == 16:
        significant = chance.randint(7, 17)
        before += [(b"sBIT", bytes([significant] * CHANNELS[colour]))] if chance.random() < 0.5 else []
        pixels = pixels >> chance.choice([0, max(0, 16 - significant), 4])
    elif chance.random() < 0.4:
        seen = b"".join(struct.pack(">H", int(value)) for value in pixels[0, 0])
        before.append((b"tRNS", seen[: chance.choice([99, 99, 1])]))
    if chance.random() < 0.2:
        turned = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + bytes([chance.randint(0, 9), 0, 0, 0]) + bytes(4)
        chance.choice([before, after]).append((b"eXIf", turned))
    if chance.random() < 0.2:
        note = chance.choice([(b"tEXt", b"transparency\0003"), (b"gAMA", b"cut"), (b"ABcd", b""), (b"iCCP", b"")])
        chance.choice([before, after]).append(note)
    return tuple(before), tuple(after), pixels


def some_deflated(chance: random.Random, raw: bytes) -> bytes:
    """The rows, deflated; of five, one is damaged."""
    whole = zlib.compress(raw)
    flipped = bytearray(whole)
    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    damaged = [
        zlib.compress(raw[: chance.randrange(len(raw))]),
        zlib.compress(raw + bytes(chance.choice([1, 65_535 * 16, 65_535 * 17, 65_535 * 18]))),
        zlib.compress(bytes([7]) + raw[1:]),
        whole[: -chance.randint(1, 6)],
        whole + b"more",
        bytes(flipped),
    ]
    return chance.choice(damaged) if chance.random() < 0.2 else whole


def some_bmp(chance: random.Random) -> File:
    """A BMP of any header, depth, palette, masks and direction, perhaps with a changed bit."""
    width, height = chance.randint(1, 40), chance.randint(1, 40)
    header, (bits, compression, masks) = chance.choice([12, 40, 52, 56, 64, 108, 124]), chance.choice(BMP_KINDS)
    header = 40 if compression and header == 12 else header
    used = chance.choice([0, 1 << bits, chance.randint(1, 1 << bits)]) if bits <= 8 and header != 12 else 0
    colours = (used or 1 << bits) if bits <= 8 else 0
    pixels = chance.randbytes((width * bits + 31) // 32 * 4 * height)
    if bits == 8:
        pixels = bytes(index % colours for index in pixels)
    if bits == 32 and chance.random() < 0.4:  # an alpha that hides all
        pixels = bytes(0 if at % 4 == 3 else value for at, value in enumerate(pixels))
    if compression in (1, 2):
        pixels = run_lengths(chance, width, height, colours, compression == 2)
    grey = chance.random() < 0.5
    palette = b"".join(
        (chance.randbytes(1) * 4 if grey else chance.randbytes(4))[: 3 if header == 12 else 4] for _ in range(colours)
    )
    said = struct.pack("<4I", *masks)
    high = -height if chance.random() < 0.3 else height
    info = struct.pack("<IiiHHIIiiII", header, width, high, 1, bits, compression, len(pixels), 0, 0, used, 0)
    info += (said[:12] if compression == 3 else b"") if header == 40 else (said + bytes(100))[: header - 40]
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    start = 14 + len(info) + len(palette)
    data = bytearray(b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + palette + pixels)
    if chance.random() < 0.1:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return File(f"header {header}, {bits} bits, compression {compression}, masks {masks}", "x.bmp", bytes(data))


BMP_KINDS: list[tuple[int, int, tuple[int, ...]]] = [
    *((bits, 0, (0, 0, 0, 0)) for bits in (1, 4, 8, 16, 24, 32)),
    *((8, 1, (0, 0, 0, 0)), (4, 2, (0, 0, 0, 0))),
    *((16, 3, masks) for masks in ((0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0x8000), (0xF00, 0xF0, 0xF, 0xF000))),
    *((16, 3, masks) for masks in ((0xF800, 0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0), (0xF0F, 0x20, 0x40, 0))),
    *((24, 3, masks) for masks in ((0xFF0000, 0xFF00, 0xFF, 0), (0xFF, 0xFF00, 0xFF0000, 0))),
    *((32, 3, (0xFF0000, 0xFF00, 0xFF, alpha)) for alpha in (0, 0xFF000000)),
    *((32, 3, masks) for masks in ((0, 0, 0, 0), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xFF000000, 0xFF0000, 0xFF00, 0xFF))),
    *((32, 3, masks) for masks in ((0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), (0x80000000, 0x7FFFFF00, 0xFF, 0))),
]  # bits a pixel, compression, masks


def run_lengths(chance: random.Random, width: int, height: int, colours: int, nibbles: bool) -> bytes:
    """Rows of runs and of literal pixels; now and then one skips pixels, or the end is missing."""
    found, beyond = bytearray(), chance.choice([0, 0, 3])
    for _ in range(height):
        left = width + beyond
        while left:
            count = min(chance.randint(1, 20), left)
            one = [chance.randrange(colours) | (chance.randrange(colours) << 4 if nibbles else 0) for _ in range(count)]
            literal = bytes(one[: (count + 1) // 2] if nibbles else one)
            found += bytes([0, count]) + literal + bytes(len(literal) % 2) if count > 2 else bytes([count, one[0]])
            left -= count
        found += b"\0\2\1\1" if chance.random() < 0.01 else b"\0\0"
    return bytes(found) + (b"\0\1" if chance.random() < 0.95 else b"")


def some_pnm(chance: random.Random) -> File:
    """A PGM or PPM, plain or not, of any range, perhaps with a value beyond it, perhaps cut or with more behind it."""
    kind, width, height = chance.choice([2, 3, 5, 6]), chance.randint(1, 40), chance.randint(1, 40)
    most = chance.choice([1, 15, 100, 255, 256, 1023, 65_534, 65_535, chance.randint(1, 65_535)])
    top = chance.choice([most, most, most, min(65_535, most + 1), most // 16 + 1])
    count = width * height * (1 if kind in (2, 5) else 3)
    values = [min(top, at * top // count + chance.randint(0, top // 8)) for at in range(count)]
    head = b"P%d\n# made\n%d %d\n%d\n" % (kind, width, height, most)
    if kind < 4:
        body = chance.choice([" ", "\n", "\t ", "\r\n"]).join(map(str, values)).encode()
        changed = [
            body.replace(b"1", b"x", 1),
            body + b" 12",
            body[: chance.randint(1, len(body))],
            body.replace(b"1", b"00001", 1),
        ]
        body = (chance.choice(changed) if chance.random() < 0.3 else body) + chance.choice([b"", b"\n"])
    else:
        body = np.array(values).astype(">u2" if most > 255 else "u1").tobytes()
        body = chance.choice([body[:-1], body + b"\0", body + b"x"]) if chance.random() < 0.2 else body
    return File(f"P{kind} {width}x{height}, {most}, at most {top}", "x.pnm", head + body, chance.choice([None, None, 1023]))


@pytest.mark.parametrize(("some", "count"), [(some_png, 600), (some_bmp, 400), (some_pnm, 400)])
def test_files_of_every_kind_have_the_same_pixels_or_the_same_refusal(
    modules: Modules, codecs: Kept, some: Callable[[random.Random], File], count: int
) -> None:
    chance = random.Random(17)
    files = [some(chance) for _ in range(count)]
    answered = sum(not isinstance(here(file), str) for file in files)
    assert count // 2 < answered < count - count // 20  # both answers and refusals are compared
    assert differences(modules, codecs, files) == []


def depths() -> list[File]:
    """16-bit PNGs of each sBIT and range; dark: in the upper bits, but none of them high."""
    chance, found = random.Random(2), []
    for colour in (GREY, RGB):
        for bits in (8, 9, 10, 12, 14, 16):
            for up, dark in ((0, 0), (16 - bits, 0), (16 - bits, max(0, 16 - bits - 1))):
                pixels = samples(chance, 60, 50, CHANNELS[colour], 16) >> (16 - bits + dark) << up
                for significant in (None, bits, 12):
                    chunks = ((b"sBIT", bytes([significant] * CHANNELS[colour])),) if significant else ()
                    what = f"{bits} bits, {up} up, {dark} dark, sBIT {significant}"
                    found += [File(what, "x.png", png(pixels, colour, 16, before=chunks), limit) for limit in (None, 4095)]
    return found


def borderline() -> list[File]:
    """16-bit PGMs that just span a full range, or just do not: by their ends, their outliers, or the levels that they use."""
    rng, found = np.random.default_rng(5), []
    for _ in range(400):
        count, span = 2000, 16_384 + int(rng.integers(-40, 40))
        values = rng.integers(0, span, count)
        values[: int(rng.integers(0, 6))] = rng.choice([0, 60_000])
        if rng.random() < 0.5:
            used = int(rng.integers(28, 37))
            values = (rng.integers(0, used, count) * 7 << 8) + rng.integers(0, 256, count)
            few = int(rng.integers(0, 35))
            values[:few] = (rng.integers(0, 36, few) * 7 + 3 << 8) + rng.integers(0, 256, few)
        data = b"P5\n50 40\n65535\n" + np.sort(values).astype(">u2").tobytes()
        found.append(File(f"span {span}", "x.pgm", data))
    return found


def test_sixteen_bits_become_the_same_levels_or_are_refused(modules: Modules, codecs: Kept) -> None:
    files = depths() + borderline()
    codes = {found if isinstance(found, str) else "answered" for found in map(here, files)}
    assert codes == {"answered", "E-IMAGE-DEPTH"}
    assert differences(modules, codecs, files) == []


def test_a_palette_behind_the_pixels_makes_them_black_on_both(modules: Modules, codecs: Kept) -> None:
    pixels = samples(random.Random(1), 9, 9, 1, 4)
    late = png(pixels, PALETTE, 4, after=((b"PLTE", bytes(range(48))),))
    assert differences(modules, codecs, [File("late palette", "x.png", late)]) == []


def test_text_of_a_plain_image_is_read_across_its_bands(modules: Modules, codecs: Kept) -> None:
    rng = np.random.default_rng(3)
    body = " ".join(map(str, rng.integers(0, 256, 700 * 500))).encode()
    head, band = b"P2\n700 500\n255\n", 1 << 20
    bodies = [body, body[: band - 3] + b"0" * 14 + body[band - 3 :], body[:300_000] + b" " * 1_500_000 + body[300_000:]]
    files = [File(f"body {at}", "x.pgm", head + one + b"\n") for at, one in enumerate(bodies)]
    assert here(files[1]) == "E-IMAGE-BROKEN"
    assert differences(modules, codecs, files) == []
