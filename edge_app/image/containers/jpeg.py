"""JPEG (ITU-T T.81): segments, entropy-coded data, an end, and what cameras and phones write after it."""

import re

import msgspec

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import trailing
from limiar.edge_app.image.containers.container import PIXELS_MP, PIXELS_MP_TWICE, Container, truncated, unread_depth
from limiar.edge_app.image.containers.foreign import JPEG_LS, refusal

_MARKER = re.compile(rb"\xff{1,256}([^\x00\xff])")  # B.1.1.2: fill bytes may precede it; Pillow takes 1 s for 3 MB
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart, not a fill byte
_FILL = bytes([255]) * 257
DHT, SOS, _COM, _JPEG_LS = 0xC4, 0xDA, 0xFE, 0xF7
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS}
SEQUENTIAL, PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2  # Table B.1
_ARITHMETIC, _LOSSLESS = frozenset({0xC9, 0xCA}), frozenset({0xC3, 0xCB})
_SEGMENTS = 10_000  # 64 MB have room for a thousand of the longest
_SCANS = 100  # 40 ms each, of 16 megapixels; ten are usual
_PICTURES = 16  # after the first: a burst stored as MPO
_DECLARED = (  # marks in an APPn of the first picture that say that further pictures follow
    b"MPF\0",  # CIPA DC-007, 5.1
    b"http://ns.google.com/photos/1.0/container/",  # Ultra HDR 1.1, GContainer
)
_NOTES = (b"JFIF\0", b"Exif\0", b"Adobe")  # colours and orientation
_GAIN_MAP = (b"hdrgm", b"urn:iso:std:iso:ts:21496", b"hdrgainmap")  # Ultra HDR 1.1, ISO 21496-1, Apple


class Walked(msgspec.Struct):
    """What the segments of one picture say."""

    end: int  # the byte after EOI
    frames: int
    scans: int
    bits: int | None
    kind: int  # marker of the last frame header
    components: int
    pieces: list[tuple[int, int]]  # first byte and end; the segments that its pixels need: no APPn, no comment
    notes: list[tuple[int, int]]  # first byte and end; the APPn that say how to show it
    further: bool  # it declares that further pictures follow
    gain_map: bool  # it is not a picture itself, but the gain map of one


class Jpeg(Container, frozen=True):
    """A JPEG whose first picture is whole."""


def inspect(data: bytes) -> Jpeg:
    """Checks that the first picture is whole and followed only by padding or known parts. Raises ImageError."""
    first = walk(data, 0)
    behind = _behind(data, first)
    if first.frames != 1 or not first.scans:
        met = f"a JPEG with {first.frames} frame headers and {first.scans} scans"
        raise ImageError("E-IMAGE-BROKEN", f"{met}: copy or record it again")
    if first.components == 4:
        raise ImageError("E-IMAGE-COLOUR", "a CMYK JPEG: save it as RGB or grey")
    if first.bits != 8:
        raise unread_depth(f"{first.bits}-bit JPEG")
    if first.kind not in SEQUENTIAL | {PROGRESSIVE}:
        # No decoder can tell whether arithmetic-coded data were cut: their end need not be written (D.1.8).
        kind = {first.kind in _ARITHMETIC: "arithmetic-coded", first.kind in _LOSSLESS: "lossless"}.get(True, "hierarchical")
        raise ImageError("E-IMAGE-FORMAT", f"a JPEG that is {kind}, which is not read here: save it as a baseline JPEG")
    return Jpeg("JPEG", 8, PIXELS_MP if first.scans == 1 else PIXELS_MP_TWICE, trailing=behind)


def walk(data: bytes, at: int) -> Walked:
    """Walks a picture (B.1): SOI, segments FFxx with a length, entropy-coded data after each SOS, EOI. Raises ImageError."""
    found = Walked(
        end=0, frames=0, scans=0, bits=None, kind=0, components=0, pieces=[], notes=[], further=False, gain_map=False
    )
    at += 2
    for _ in range(_SEGMENTS):
        match = _MARKER.match(data, at)
        if match is None:
            if at + 2 > len(data):
                raise truncated("the JPEG")
            raise ImageError("E-IMAGE-BROKEN", f"a JPEG marker is missing at byte {at}: copy or record it again")
        marker, at = data[match.end() - 1], match.end()
        if marker == 0xD9:
            found.end = at
            return found
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise truncated("a JPEG segment")
        if marker in _FRAME and length >= 8:
            found.frames += 1
            found.bits, found.components, found.kind = data[at + 2], data[at + 7], marker
            if marker == _JPEG_LS:  # its data are stuffed differently (ISO/IEC 14495-1, A.1): no next segment can be found
                raise refusal(JPEG_LS)
        start, at = match.end() - 2, at + length
        if marker == SOS:
            found.scans += 1
            if found.scans > _SCANS:
                break
            at = _after_scan(data, at)
        if 0xE0 <= marker <= 0xEF:
            found.further |= _holds(data, start, at, _DECLARED)
            found.gain_map |= _holds(data, start, at, _GAIN_MAP)
            if data.startswith(_NOTES, start + 4):
                found.notes.append((start, at))
        elif marker != _COM:
            found.pieces.append((start, at))
    raise ImageError("E-IMAGE-BROKEN", f"a JPEG of over {_SEGMENTS} segments or {_SCANS} scans: write it again")


def _after_scan(data: bytes, at: int) -> int:
    """The end of the entropy-coded data from `at` on, which is the next marker."""
    found = _AFTER_SCAN.search(data, at)
    if found is None:
        raise truncated("the JPEG's pixels")
    if data.find(_FILL, at, found.start() + 1) >= 0:
        raise ImageError("E-IMAGE-BROKEN", "a JPEG with over 256 fill bytes: copy or record it again")
    return found.start()


def _holds(data: bytes, start: int, end: int, marks: tuple[bytes, ...]) -> bool:
    return any(data.find(mark, start, end) >= 0 for mark in marks)


def _behind(data: bytes, first: Walked) -> str:
    """Short names of what follows the first picture, or "". Raises ImageError if it is not understood."""
    at, parts = first.end, list[str]()
    if at == len(data):
        return ""
    samsung = trailing.is_samsung(data)
    while not _is_padding(data, at):
        start, at = at, len(data) - len(data[at:].lstrip(b"\0"))
        video = trailing.video_end(data, at)
        if video is not None:
            parts.append("a video (motion photo)")
            at = video
        elif first.further and data.startswith(b"\xff\xd8\xff", at) and len(parts) < _PICTURES:
            name, at = _further(data, at)
            parts.append(name)
        elif samsung:
            parts.append("a video (motion photo)" if data.find(b"MotionPhoto_Data", at) >= 0 else "a camera's notes (Samsung)")
            break
        else:
            raise trailing.refused(data, start, "JPEG")
    return " and ".join(dict.fromkeys(parts)) or "padding"


def _is_padding(data: bytes, at: int) -> bool:
    """Whether only padding follows, or EOI again, which some cameras write."""
    return trailing.is_padding(data[at:].replace(b"\xff\xd9", b""), 0)


def _further(data: bytes, at: int) -> tuple[str, int]:
    """A name for the picture at byte `at`, and its end. Raises ImageError if it is broken."""
    try:
        walked = walk(data, at)
    except ImageError as error:
        if error.code != "E-IMAGE-TRUNCATED":
            raise trailing.refused(data, at, "JPEG") from None
        return "a second picture (MPO), cut", len(data)  # the first one is whole
    return ("a gain map (UltraHDR)" if walked.gain_map else "a second picture (MPO)"), walked.end
