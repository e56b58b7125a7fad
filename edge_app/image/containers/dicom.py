"""DICOM (PS3.3, PS3.5, PS3.10): one file whole, with what its header says of the pixels.

Read without pydicom, which takes .5 s to import, and follows lengths that do not fit. A header holds names of people: messages
say which attribute is wrong, never its value.
"""

import re
import struct
import zlib

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import PIXELS_MP_TWICE, Container, check_pixels, truncated, unread_depth
from limiar.edge_app.image.containers.dicom_elements import PIXELS, Element, Elements, Reader, broken, wrong

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 201, 202, 203))  # from 201 on: high throughput
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
_READ = (*NATIVE, RLE, JPEG, *JPEG_LOSSLESS, *JPEG_LS, *JPEG_2000)
_UNREAD = (  # for messages
    (r"\.4\.51", "JPEG with 12 bits"),
    (r"\.4\.(5\d|6\d)", "a JPEG process that was withdrawn"),
    (r"\.4\.9[23]", "JPEG 2000 of several components"),
    (r"\.4\.9[45]|\.4\.20[45]", "pixels that lie on a server (JPIP)"),
    (r"\.4\.10[0-8](\.1)?", "a video"),
    (r"\.4\.11[0-2]", "JPEG XL"),
    (r"\.8\.1", "Deflated Image Frame Compression"),
)
_CONVERT = "convert it to Explicit VR Little Endian, for instance `gdcmconv --raw IN.dcm OUT.dcm`"
PREAMBLE = 132  # bytes: 128, and DICM
_BODY_BYTES = 64_000_000  # inflated
_FRAMES = 4096
SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3}
_COMPRESSED_COLOURS = {"YBR_RCT": JPEG_2000}  # a photometric interpretation that only some syntaxes have

_SYNTAX, _NUMBER_OF_FRAMES, _PHOTOMETRIC, _PLANAR = 0x00020010, 0x00280008, 0x00280004, 0x00280006
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_DOCUMENT, _FLOATS = 0x00420011, (0x7FE00008, 0x7FE00009)
_CELL = {  # 16-bit values that say what a sample is
    "SamplesPerPixel": 0x00280002,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
}


class Dicom(Container, frozen=True, kw_only=True):
    """A DICOM file with pixels, whole."""

    syntax: str  # transfer syntax UID, one of those above
    reader: Reader
    elements: Elements
    width: int
    height: int
    samples: int  # 1 or 3
    photometric: str  # a key of SAMPLES
    planar: bool  # each colour in a plane of its own
    allocated: int  # bits of a cell: 8 or 16
    stored: int  # bits of a value
    high: int  # the highest of them
    signed: bool
    fragments: tuple[tuple[int, int], ...]  # first byte and end in the body: of all pixels, or of each encapsulated fragment

    def attribute(self, tag: int, macro: int | None = None, frame: int = 0) -> Element | None:
        """An attribute of the file; or of a frame, in its functional group `macro`, or in the one that all frames share.

        PS3.3, C.7.6.16. One without functional groups has it at the top. Raises ImageError.
        """
        if macro is not None:
            for groups, number in ((self.elements.get(_PER_FRAME), frame), (self.elements.get(_SHARED), 0)):
                found = self.reader.item(self.reader.item(groups, number).get(macro)).get(tag)
                if found:
                    return found
        return self.elements.get(tag)

    def frame_bytes(self) -> int:
        """Of uncompressed pixels. YBR_FULL_422 has a pair of colours for two pixels."""
        samples = 2 if self.photometric == "YBR_FULL_422" and self.syntax != RLE else self.samples
        return self.width * self.height * samples * self.allocated // 8

    def frame(self, number: int) -> bytes:
        """The stored bytes of a frame, in the order of its samples. Raises ImageError."""
        body = self.reader.body
        if self.syntax in NATIVE:
            start = self.fragments[0][0] + number * self.frame_bytes()
            end = start + self.frame_bytes()
            if self.syntax == BIG and self.allocated == 8 and self.elements[PIXELS].vr == b"OW":  # PS3.5, 7.3: words, swapped
                odd = (start - self.fragments[0][0]) % 2
                words = bytearray(body[start - odd : end + (end - start + odd) % 2])
                words[::2], words[1::2] = words[1::2], words[::2]
                return bytes(words[odd : odd + end - start])
            return body[start:end]
        fragments = self.fragments[1:]
        if len(fragments) == self.frames:
            start, end = fragments[number]
            return body[start:end]
        if self.frames == 1:
            return b"".join(body[start:end] for start, end in fragments)
        return b"".join(body[start:end] for start, end in self._by_table(fragments, number))

    def _by_table(self, fragments: tuple[tuple[int, int], ...], number: int) -> list[tuple[int, int]]:
        """The fragments of a frame by the basic offset table: offsets from the first fragment's item (PS3.5, A.4)."""
        start, end = self.fragments[0]
        offsets = struct.unpack_from(f"<{(end - start) // 4}I", self.reader.body, start)
        first = fragments[0][0] - 8 if fragments else 0
        places = [fragment[0] - 8 - first for fragment in fragments]
        if len(offsets) != self.frames or sorted(set(offsets)) != list(offsets) or not set(offsets) <= set(places):
            raise broken("whose frames cannot be told apart")
        until = offsets[number + 1] if number + 1 < self.frames else places[-1] + 1
        return [part for part, place in zip(fragments, places, strict=True) if offsets[number] <= place < until]


def inspect(data: bytes) -> Dicom:
    """Checks that a file is whole and has pixels that the image rules know. Raises ImageError."""
    meta_reader = Reader(data, explicit=True)
    meta, at = meta_reader.elements(PREAMBLE, len(data), only_group=2)
    syntax = meta_reader.text(meta.get(_SYNTAX))
    if syntax not in _READ:
        raise _unread(syntax)
    body = data
    if syntax == DEFLATED:
        body, at = _inflated(data, at), 0
    reader = Reader(body, explicit=syntax != IMPLICIT, big=syntax == BIG)
    elements, end = reader.elements(at, len(body))
    return _dicom(syntax, reader, elements, "padding" if end < len(body) else "")


def _unread(syntax: str) -> ImageError:
    if not syntax:
        return wrong("TransferSyntaxUID")
    rest = syntax.removeprefix("1.2.840.10008.1.2")
    kind = next((kind for pattern, kind in _UNREAD if re.fullmatch(pattern, rest)), "a transfer syntax that is not known here")
    return ImageError("E-DICOM-SYNTAX", f"{kind} in a DICOM file, which is not read here: {_CONVERT}")


def irreversible() -> ImageError:
    met = "irreversible JPEG 2000 in a DICOM file, which not every device decodes alike"
    return ImageError("E-DICOM-SYNTAX", f"{met}: {_CONVERT}")


def _inflated(data: bytes, at: int) -> bytes:
    """PS3.5, A.5. Raises ImageError."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = stream.decompress(memoryview(data)[at:], _BODY_BYTES + 1)
    except zlib.error:
        raise broken("whose deflated part is damaged") from None
    if len(body) > _BODY_BYTES:
        raise ImageError("E-IMAGE-BYTES", f"over {_BODY_BYTES} bytes once it is inflated: make it smaller")
    if not stream.eof:
        raise truncated("the deflated part of a DICOM file")
    sums = struct.pack("<II", zlib.crc32(body), len(body))  # as gzip has them; some writers leave them in
    if stream.unused_data.removeprefix(sums).strip(b"\0"):
        raise broken("with something behind its deflated part")
    return body


def _dicom(syntax: str, reader: Reader, elements: Elements, trailing: str) -> Dicom:
    if any(tag in elements for tag in _FLOATS):
        raise unread_depth("a DICOM file of floating-point pixels")
    pixels = elements.get(PIXELS)
    if pixels is None or pixels.start == pixels.end:
        what = "a document, not an image" if _DOCUMENT in elements else "no pixels"
        raise ImageError("E-DICOM-NO-IMAGE", f"a DICOM file with {what}: give it one of images")
    cell = {name: _one(reader, elements, name, tag) for name, tag in _CELL.items()}
    found = Dicom(
        format="DICOM",
        bits=cell["BitsStored"],
        decoder_mp=PIXELS_MP_TWICE,
        trailing=trailing,
        syntax=syntax,
        reader=reader,
        elements=elements,
        width=cell["Columns"],
        height=cell["Rows"],
        frames=_count(reader, elements),
        samples=cell["SamplesPerPixel"],
        photometric=reader.text(elements.get(_PHOTOMETRIC)),
        planar=reader.whole(elements.get(_PLANAR))[:1] == (1,),
        allocated=cell["BitsAllocated"],
        stored=cell["BitsStored"],
        high=cell["HighBit"],
        signed=cell["PixelRepresentation"] == 1,
        fragments=_fragments(syntax, reader, pixels),
    )
    _check(found)
    return found


def _one(reader: Reader, elements: Elements, name: str, tag: int) -> int:
    values = reader.whole(elements.get(tag))
    if len(values) != 1:
        raise wrong(name)
    return values[0]


def _count(reader: Reader, elements: Elements) -> int:
    text = reader.text(elements.get(_NUMBER_OF_FRAMES))
    if not text:
        return 1
    if not re.fullmatch(r"\+?\d{1,9}", text) or not int(text):
        raise wrong("NumberOfFrames")
    if int(text) > _FRAMES:
        raise ImageError("E-IMAGE-FRAMES", f"over {_FRAMES} frames: save them in several files")
    return int(text)


def _fragments(syntax: str, reader: Reader, pixels: Element) -> tuple[tuple[int, int], ...]:
    if pixels.defined != (syntax in NATIVE):
        raise broken("whose pixels are not stored as its transfer syntax says")
    if syntax in NATIVE:
        return ((pixels.start, pixels.end),)
    fragments = reader.spans(pixels.start, pixels.end)[0]
    if len(fragments) < 2:
        raise truncated("the pixels of a DICOM file")
    return tuple(fragments)


def _check(dicom: Dicom) -> None:
    """Raises ImageError: not a kind of pixels in the image rules, or more or fewer than the header says."""
    if dicom.photometric == "YBR_ICT" and dicom.syntax in JPEG_2000:
        raise irreversible()
    if dicom.photometric not in SAMPLES or dicom.syntax not in _COMPRESSED_COLOURS.get(dicom.photometric, _READ):
        met = "a DICOM file whose PhotometricInterpretation is not in the image rules"
        raise ImageError("E-IMAGE-COLOUR", f"{met}: save it as MONOCHROME2 or RGB")
    if dicom.samples != SAMPLES[dicom.photometric]:
        raise wrong("SamplesPerPixel")
    if dicom.allocated not in (8, 16) or (dicom.samples == 3 and (dicom.allocated, dicom.stored) != (8, 8)):
        raise unread_depth(f"a DICOM file of {dicom.allocated}-bit cells and {dicom.samples} samples a pixel")
    if not 1 <= dicom.stored <= dicom.allocated or not dicom.stored - 1 <= dicom.high < dicom.allocated:
        raise wrong("BitsStored or HighBit")
    if not dicom.width or not dicom.height or (dicom.photometric == "YBR_FULL_422" and dicom.width % 2):
        raise wrong("Rows or Columns")
    check_pixels("DICOM", dicom.width, dicom.height, dicom.decoder_mp)
    if dicom.syntax in NATIVE:
        start, end = dicom.fragments[0]
        size = dicom.frames * dicom.frame_bytes()
        if end - start not in (size, size + size % 2):
            met = f"{end - start} bytes of pixels in a DICOM file, its header says {size}"
            raise ImageError("E-DICOM-LENGTH", f"{met}: copy or write it again")
    elif len(dicom.fragments) - 1 < dicom.frames:
        raise truncated("the frames of a DICOM file")
