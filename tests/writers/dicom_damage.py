"""Damages DICOM files, for tests: every way is a function of the file's bytes and of a source of chance."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dicom_files import SYNTAXES, dicom_file

PLANTED = "PLANTED"  # in the header of each file, and to be in no message
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_BIG = b"1.2.840.10008.1.2.2"
_IMPLICIT = b"1.2.840.10008.1.2"
_LONG = {
    b"OB",
    b"OW",
    b"OF",
    b"OD",
    b"OL",
    b"OV",
    b"SQ",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"SV",
    b"UV",
}  # VRs with 4 bytes of length
_PIXELS = (0x7FE0, 0x0010)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


def whole_files() -> dict[str, bytes]:
    """One file of each transfer syntax, and some with frames, samples and tables, with a name planted in each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    ct = (y * 40 + x * 30 + rng.integers(0, 60, (40, 48)) - 1024).astype(np.int16)
    colour = rng.integers(0, 256, (40, 48, 3), np.uint8)
    common: dict[str, Any] = {
        "PatientName": f"{PLANTED}^NAME",
        "StudyDescription": f"{PLANTED} description",
        "PatientComments": f"{PLANTED} comment",
    }
    place: dict[str, Any] = {"spacing": (0.7, 0.7), "position": (0.0, 0.0, 1.0)}
    grey: dict[str, Any] = {"window": [(40, 400), (-600, 1500)], "slope": 1.0, "intercept": -24.0, **place, **common}
    made = {syntax: dicom_file(ct, syntax=syntax, **grey) for syntax in SYNTAXES if syntax not in ("jpeg", "j2k_lossy")}
    made["jpeg"] = dicom_file(colour, syntax="jpeg", photometric="YBR_FULL_422", **common)
    made["jpeg-grey"] = dicom_file(colour[:, :, 0], syntax="jpeg", window=(128, 256), **common)
    made["rgb"] = dicom_file(colour, photometric="RGB", **common)
    for syntax in ("explicit", "rle", "j2k"):
        made[f"{syntax}-frames"] = dicom_file(np.stack([ct, ct + 100, ct - 100]), syntax=syntax, **grey)
    return made


class Element(NamedTuple):
    """Where an element of a file stands, in bytes from its start. Items and delimiters count as elements."""

    tag: tuple[int, int]
    start: int
    length_at: int
    length_bytes: int  # 2 or 4
    value: int
    end: int  # of the value; of a sequence's or item's head only, since what is inside are elements of their own


class Form(NamedTuple):
    """How a data set is encoded."""

    order: str  # of struct: "<" or ">"
    implicit: bool


def parts(data: bytes) -> tuple[bytes, bytes, Form]:
    """Preamble and file meta; the data set, inflated; its form."""
    at = 132
    syntax = b""
    while struct.unpack_from("<H", data, at)[0] == 2:
        element = _element(data, at, Form("<", False))
        if element.tag == (2, 0x10):
            syntax = data[element.value : element.end].rstrip(b"\0 ")
        at = element.end
    body = zlib.decompress(data[at:], -zlib.MAX_WBITS) if syntax == _DEFLATED else data[at:]
    return data[:at], body, Form(">" if syntax == _BIG else "<", syntax == _IMPLICIT)


def whole(meta: bytes, body: bytes) -> bytes:
    """The file again, deflated where its syntax says so."""
    if _DEFLATED not in meta:
        return meta + body
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = squeeze.compress(body) + squeeze.flush()
    return meta + packed + bytes(len(packed) % 2)


def _element(data: bytes, at: int, form: Form) -> Element:
    tag = struct.unpack_from(f"{form.order}HH", data, at)
    if tag[0] == 0xFFFE or form.implicit:
        head = Element(tag, at, at + 4, 4, at + 8, 0)
    elif data[at + 4 : at + 6] in _LONG:
        head = Element(tag, at, at + 8, 4, at + 12, 0)
    else:
        head = Element(tag, at, at + 6, 2, at + 8, 0)
    (length,) = struct.unpack_from(f"{form.order}{'I' if head.length_bytes == 4 else 'H'}", data, head.length_at)
    nested = length == _UNDEFINED or data[at + 4 : at + 6] == b"SQ"
    return head._replace(end=head.value if nested else head.value + length)


def elements(body: bytes, form: Form) -> list[Element]:
    """All elements of a data set, those in sequences and the fragments of its pixels too, in order."""
    found, at, in_pixels = [], 0, False
    while at + 8 <= len(body):
        element = _element(body, at, form)
        if element.tag == _ITEM and not in_pixels:
            element = element._replace(end=element.value)
        in_pixels = element.tag == _PIXELS or (in_pixels and element.tag != _SEQUENCE_END)
        found.append(element)
        at = element.end
    return found


# Each takes and returns the data set, so that a deflated file is damaged inside. `cut` is of the file, whose end it moves.

Damage = Callable[[bytes, Form, random.Random], bytes]


def flip_header(body: bytes, form: Form, rng: random.Random) -> bytes:
    """Up to 8 bits before the pixels."""
    return _flipped(body, 0, _pixels(body, form).value, rng)


def flip_pixels(body: bytes, form: Form, rng: random.Random) -> bytes:
    """Up to 8 bits of the pixels."""
    return _flipped(body, _pixels(body, form).value, len(body), rng)


def flip_head(body: bytes, form: Form, rng: random.Random) -> bytes:
    """A bit of an element's tag, VR or length."""
    element = rng.choice(elements(body, form))
    return _flipped(body, element.start, element.value, rng, 1)


def other_length(body: bytes, form: Form, rng: random.Random) -> bytes:
    """An element's length is another one, as far as it fits."""
    element = rng.choice(elements(body, form))
    kind, most = ("I", _UNDEFINED) if element.length_bytes == 4 else ("H", 0xFFFF)
    true = struct.unpack_from(f"{form.order}{kind}", body, element.length_at)[0]
    given = rng.choice([0, 1, true - 1, true + 1, true - 2, true + 2, 2 * true, most, most - 1, most // 2, rng.randrange(most)])
    return _overwritten(body, element.length_at, struct.pack(f"{form.order}{kind}", max(0, min(given, most))))


def twice(body: bytes, form: Form, rng: random.Random) -> bytes:
    """An element is there twice: beside itself, or at the end."""
    element = rng.choice(elements(body, form))
    at = rng.choice([element.end, len(body)])
    return body[:at] + body[element.start : element.end] + body[at:]


def swapped(body: bytes, form: Form, rng: random.Random) -> bytes:
    """Two elements change places."""
    first, second = sorted(rng.sample(elements(body, form), 2))
    between = body[first.end : second.start]
    moved = body[second.start : second.end] + between + body[first.start : first.end]
    return body[: first.start] + moved + body[second.end :]


def removed(body: bytes, form: Form, rng: random.Random) -> bytes:
    """An element is missing."""
    element = rng.choice(elements(body, form))
    return body[: element.start] + body[element.end :]


def other_value(body: bytes, form: Form, rng: random.Random) -> bytes:
    """An element of the image has a value that is hostile or absurd, with a length that fits it."""
    image = [one for one in elements(body, form) if one.tag[0] == 0x0028 and one.length_bytes == 2 or one.tag == (0x28, 0x3002)]
    element = rng.choice(image or elements(body, form))
    text = rng.choice(
        ["", "0", "-1", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 60, "1" * 16, "0.5\\", "1\\2\\3", "\0", "\xff", "%s"]
    )
    binary = struct.pack(f"{form.order}H", rng.choice([0, 1, 2, 3, 7, 9, 12, 17, 32, 64, 255, 0x7FFF, 0x8000, 0xFFFF]))
    value = rng.choice([text.encode("latin-1"), binary, rng.randbytes(rng.choice([1, 2, 4, 100]))])
    value += b" " * (len(value) % 2)
    length = struct.pack(f"{form.order}{'I' if element.length_bytes == 4 else 'H'}", len(value))
    return body[: element.length_at] + length + value + body[element.end :]


def nested(body: bytes, form: Form, rng: random.Random) -> bytes:
    """Sequences in sequences stand before the pixels, of no stated length and without an end."""
    head = struct.pack(f"{form.order}HH", 0x0040, 0x0275)
    head += (
        struct.pack(f"{form.order}I", _UNDEFINED) if form.implicit else b"SQ\0\0" + struct.pack(f"{form.order}I", _UNDEFINED)
    )
    depth = rng.choice([1, 10, 100, 1000, 20_000])
    item = struct.pack(f"{form.order}HHI", *_ITEM, _UNDEFINED)
    ends = struct.pack(f"{form.order}HHIHHI", *_ITEM_END, 0, *_SEQUENCE_END, 0) * rng.choice([0, depth])
    at = _pixels(body, form).start
    return body[:at] + (head + item) * depth + ends + body[at:]


def lost_sector(body: bytes, form: Form, rng: random.Random) -> bytes:
    """512 bytes are overwritten, by nothing or by another part of the file, as a bad disk does."""
    at = rng.randrange(len(body))
    other = rng.randrange(len(body))
    fill = rng.choice([bytes(512), b"\xff" * 512, body[other : other + 512], rng.randbytes(512)])
    return _overwritten(body, at, fill[: len(body) - at])


def cut(data: bytes, rng: random.Random) -> bytes:
    """The file ends before its end: at an element, in its head, in its value, or anywhere."""
    meta, body, form = parts(data)
    if _DEFLATED in meta:
        return data[: rng.randrange(len(data) - 2)]  # a byte of padding may be missing
    places = [
        len(meta) + at
        for one in elements(body, form)
        for at in (one.start, one.length_at, one.value, (one.value + one.end) // 2)
    ]
    return data[: min(rng.choice([*places, rng.randrange(len(data)), len(data) - 1, len(data) - 2]), len(data) - 1)]


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (flip_header, flip_pixels, flip_head, other_length, twice, swapped, removed, other_value, nested, lost_sector)
}


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The name of a damage, and the file with it."""
    name = rng.choice([*DAMAGES, "cut", "cut"])
    if name == "cut":
        return name, cut(data, rng)
    meta, body, form = parts(data)
    return name, whole(meta, DAMAGES[name](body, form, rng))


def bombs(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files of a few bytes that would be gigabytes: each of `files` (by syntax) with its sides, frames or data blown up."""
    for name, data in files.items():
        meta, body, form = parts(data)
        yield f"{name}-sides", whole(meta, _with_sides(body, form, 0xFFFF, 0xFFFF))
        yield f"{name}-wide", whole(meta, _with_sides(body, form, 1, 0xFFFF))
        yield f"{name}-frames", whole(meta, _with_frames(body, form, b"2147483647"))
    meta, body, form = parts(files["deflated"])
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = [squeeze.compress(body[: _pixels(body, form).start])]
    packed.append(squeeze.compress(struct.pack("<HH2sHI", *_PIXELS, b"OB", 0, 2_000_000_000)))
    packed += [squeeze.compress(bytes(10_000_000)) for _ in range(200)]
    yield "deflated-2-GB", meta + b"".join(packed) + squeeze.flush()
    for syntax, mark, replace in (
        (
            "j2k",
            b"\xff\x51",
            b"\xff\x51\0\x29\0\0" + struct.pack(">8I", 0x7FFFFFFF, 0x7FFFFFFF, 0, 0, 0x7FFFFFFF, 0x7FFFFFFF, 0, 0),
        ),
        ("j2k", b"\xff\x51", b"\xff\x51\0\x29\0\0" + struct.pack(">8I", 60_000, 60_000, 0, 0, 1, 1, 0, 0)),
        ("jpeg_ls", b"\xff\xf7", b"\xff\xf7\0\x0b\x10\xff\xff\xff\xff"),
        ("jpeg", b"\xff\xc0", b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff"),
        ("jpeg_lossless", b"\xff\xc3", b"\xff\xc3\0\x0b\x10\xff\xff\xff\xff"),
    ):
        if syntax in files:
            at = files[syntax].index(mark, files[syntax].index(b"\xe0\x7f\x10\0"))
            yield f"{syntax}-codestream-{len(replace)}-{at}", _overwritten(files[syntax], at, replace)


def _pixels(body: bytes, form: Form) -> Element:
    return next(one for one in elements(body, form) if one.tag == _PIXELS)


def _with_sides(body: bytes, form: Form, rows: int, columns: int) -> bytes:
    for tag, side in (((0x28, 0x10), rows), ((0x28, 0x11), columns)):
        element = next(one for one in elements(body, form) if one.tag == tag)
        body = _overwritten(body, element.value, struct.pack(f"{form.order}H", side))
    return body


def _with_frames(body: bytes, form: Form, count: bytes) -> bytes:
    at = next(one for one in elements(body, form) if one.tag >= (0x28, 0x10)).start
    count += b" " * (len(count) % 2)
    head = struct.pack(f"{form.order}HH", 0x28, 0x08)
    head += struct.pack(f"{form.order}I", len(count)) if form.implicit else b"IS" + struct.pack(f"{form.order}H", len(count))
    return body[:at] + head + count + body[at:]


def _flipped(body: bytes, start: int, stop: int, rng: random.Random, count: int | None = None) -> bytes:
    changed = bytearray(body)
    for _ in range(count or rng.randint(1, 8)):
        changed[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwritten(body: bytes, at: int, given: bytes) -> bytes:
    return body[:at] + given + body[at + len(given) :]
