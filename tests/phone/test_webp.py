"""WebP has the desktop's pixels on the phone, and is refused where the desktop, or libwebp's demuxer, refuses it."""

import io
import itertools
import random
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_decoders import File, differences, open_codecs, there
from image_corpus import material
from phone_modules import Kept, Modules

texture = material("test_jpeg").texture
Chunks = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return open_codecs(modules)


def exif(turn: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = turn
    return found.tobytes()


def saved(pixels: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", **options)
    return file.getvalue()


def pictures() -> dict[str, bytes]:
    colour = texture()
    clear = np.dstack([colour, colour[:, :, 0]])
    made: dict[str, bytes] = {"a plain surface": saved(np.full((300, 300, 3), 7, np.uint8))}
    ways: list[dict[str, Any]] = [{}, {"method": 0}, {"lossless": True}, {"exif": exif(6)}, {"lossless": True, "exif": exif(3)}]
    for (height, width), quality, options in itertools.product([(1, 1), (5, 7), (40, 61), (90, 110)], (5, 80), ways):
        for kind, pixels in (("RGB", colour), ("RGBA", clear), ("grey", colour[:, :, 0])):
            what = f"{kind} {height} x {width}, quality {quality}, {options}"
            made[what] = saved(pixels[:height, :width], quality=quality, **options)
        made[f"thin {what}"] = saved(clear[:height, :width], quality=quality, exact=True, alpha_quality=30, **options)
    return made


WHOLE = pictures()


def chunks(data: bytes) -> Chunks:
    at, found = 12, []
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def joined(parts: Chunks) -> bytes:
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_whole_webp_of_every_kind_has_the_desktops_pixels(modules: Modules, codecs: Kept) -> None:
    files = [File(what, "a.webp", data) for what, data in WHOLE.items()]
    files += [File(f"padded {what}", "a.webp", data + bytes(50)) for what, data in list(WHOLE.items())[::9]]
    assert differences(modules, codecs, files) == []
    assert {type(found) for found in there(modules, codecs, files)} == {tuple}


def test_cut_overwritten_and_flipped_pixels_are_refused_as_on_the_desktop(modules: Modules, codecs: Kept) -> None:
    rng, files = random.Random(3), []
    for what, data in list(WHOLE.items())[::3]:
        for _ in range(6):
            at, bit = rng.randrange(8, len(data)), 1 << rng.randrange(8)
            flipped = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            files.append(File(f"{what}, bit {bit} of {at}", "a.webp", flipped))
        parts = chunks(data)
        index = rng.randrange(len(parts))
        kind, part = parts[index]
        kept = rng.randrange(len(part))
        for how, changed in (("cut", part[:kept]), ("zeros", part[:kept] + bytes(64) + part[kept + 64 :])):
            damaged = joined([*parts[:index], (kind, changed), *parts[index + 1 :]])
            files.append(File(f"{what}, {how} in {kind!r} at {kept}", "a.webp", damaged))
        files.append(File(f"{what}, cut", "a.webp", data[: rng.randrange(12, len(data))]))
    assert differences(modules, codecs, files) == []
    assert {"E-IMAGE-TRUNCATED", "E-IMAGE-BROKEN"} <= {
        found for found in there(modules, codecs, files) if isinstance(found, str)
    }


def test_parts_in_a_wrong_order_or_with_wrong_flags_are_refused_as_on_the_desktop(modules: Modules, codecs: Kept) -> None:
    files = []
    for what, data in WHOLE.items():
        parts, odd = chunks(data), (b"ABCD", b"12")
        ways = {"backwards": parts[::-1], "the last twice": [*parts, parts[-1]], "more": [*parts, odd], "before": [odd, *parts]}
        if parts[0][0] == b"VP8X":
            head, rest = parts[0][1], parts[1:]
            ways |= {f"flag {bit}": [(b"VP8X", bytes([head[0] ^ 1 << bit]) + head[1:]), *rest] for bit in range(8)}
            ways |= {"canvas": [(b"VP8X", head[:4] + bytes([head[4] + 1]) + head[5:]), *rest], "no head": rest}
            ways |= {"turned": [parts[0], *rest[::-1]], "long head": [(b"VP8X", head + b"1234"), *rest]}
            ways |= {"between": [parts[0], odd, *rest], "later": [*parts[:2], odd, *parts[2:]]}
        files += [File(f"{what}, {way}", "a.webp", joined(changed)) for way, changed in ways.items() if changed]
    assert len(files) > 500
    assert differences(modules, codecs, files) == []
