"""JPEG -> pixels, once its entropy-coded data are known to be whole: libjpeg fills in grey for what is missing, and only warns.

Pillow hides those warnings, and OpenCV prints them on stderr, which all threads of a process share. simplejpeg raises them as
errors. It uses libjpeg-turbo, as Pillow does, and gives the same pixels, to the bit, in less time and without a second copy;
Pillow decodes the few kinds that it does not know. Pillow also decodes JPEG in TIFF; there each strip is decoded once more, at
an eighth of its size and in grey, only to hear libjpeg's warnings.
"""

import hashlib
import io
import random

import simplejpeg
from PIL import JpegImagePlugin

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import jpeg
from limiar.edge_app.image.containers.container import truncated

_EIGHTH = 8
_ZEROS = bytes(128)  # a block of 8x8 coefficients takes at most 24 bytes of NUL
_BAND = 64  # rows
_COLOURS = {1: "GRAY", 3: "RGB"}  # by the number of components
_NOTHING = 255  # all bits of a coefficient are missing
_END_OF_BLOCK = 0  # F.1.2.2.1
_UNKNOWN = "subsampling level"  # in simplejpeg's message: a kind that it does not know, such as 4:1:0
_chance = random.Random(0)  # noqa: S311 - not a secret
# Bytes to put after entropy-coded data: codes of some blocks of nonsense, then restarts, since a cut may be just before one.
_PARTS = [bytes(_chance.choices(range(1, 255), k=count)) for count in (512, *[32] * 7)]
_NONSENSE = b"".join(part + bytes([0xFF, 0xD0 + n]) for n, part in enumerate(_PARTS))


def check_pixels(data: bytes) -> None:
    """data: a JPEG that jpeg.inspect has found whole. Raises ImageError: its pixels are cut or damaged."""
    walked = jpeg.walk(data, 0)
    _check_scans(data, walked)
    _check_zeros(data, walked)
    try:
        simplejpeg.decode_jpeg(_stream(data, walked), "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=_EIGHTH)
    except ValueError as error:
        if _UNKNOWN in str(error):
            _check_end(data, walked)
            return
        if "remature end" in str(error):
            raise truncated("the JPEG's pixels") from None
        met = f"the JPEG's pixels are damaged ({' '.join(str(error).split())[:100]})"
        raise ImageError("E-IMAGE-BROKEN", f"{met}: copy or record it again") from None


def decode(data: bytes) -> Pixels | None:
    """data: a JPEG that jpeg.inspect has found whole -> uint8 [H, W] or [H, W, 3]; None: it is whole, but needs Pillow.

    Raises ImageError: its pixels are cut or damaged, or scans or a sector are missing.
    """
    walked = jpeg.walk(data, 0)
    if walked.components not in _COLOURS:
        check_pixels(data)
        return None
    _check_scans(data, walked)
    _check_zeros(data, walked)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            _shown(data, walked), _COLOURS[walked.components], fastdct=False, fastupsample=False
        )
    except ValueError:
        check_pixels(data)  # raises the reason
        return None
    return pixels[:, :, 0] if walked.components == 1 else pixels


def check_strip(tables: bytes, strip: bytes) -> None:
    """`check_pixels` for a strip or tile of a TIFF: an abbreviated stream, with the tables of tag 347 or b"".

    TIFF 6.0, supplement 2. Raises ImageError: it is cut or damaged.
    """
    if tables.endswith(b"\xff\xd9"):
        strip = tables[:-2] + strip[2:]
    if not strip.startswith(b"\xff\xd8") or not jpeg.walk(strip, 0).scans:
        raise ImageError("E-IMAGE-BROKEN", "a strip that is not a JPEG: copy or record it again")
    check_pixels(strip)


def without_notes(data: bytes) -> bytes:
    """The picture with only those APPn that are needed to show it: Pillow fails on some damaged ones."""
    return _shown(data, jpeg.walk(data, 0))


def _shown(data: bytes, walked: jpeg.Walked) -> bytes:
    return b"\xff\xd8" + b"".join(data[start:end] for start, end in walked.notes) + _stream(data, walked)[2:]


def _stream(data: bytes, walked: jpeg.Walked, behind_scan: bytes = b"") -> bytes:
    """The picture without APPn: libjpeg reports only its first warning, which must not be about the version of JFIF."""
    pieces = [b"\xff\xd8"]
    for start, end in walked.pieces:
        scan = data[start + 1] == jpeg.SOS
        pieces += [data[start:end].rstrip(b"\xff"), behind_scan] if scan else [data[start:end]]
    return b"".join(pieces) + b"\xff\xd9"


def _check_zeros(data: bytes, walked: jpeg.Walked) -> None:
    """Raises ImageError for a lost sector: it reads as NUL, which codes coefficients that no picture has (-1, 63 in a block).

    If the code of zero bits means the end of a block, a plain surface is NUL too. In a progressive JPEG one code can end many
    blocks (G.1.2.2), but NUL may be DC coefficients, and libjpeg keeps up to 937 bits to refine others.
    """
    first = dict[int, int]()  # class and number of a table -> the meaning of its first code, which is all zero bits (B.2.4.2)
    for start, end in walked.pieces:
        if data[start + 1] == jpeg.DHT:
            at = start + 4
            while at + 17 < end:
                first[data[at]] = data[at + 17]
                at += 17 + sum(data[at + 1 : at + 17])
        elif data[start + 1] == jpeg.SOS:
            tables = range(start + 6, start + 6 + 2 * data[start + 4], 2)
            spectral_start, _, bits = data[tables.stop - 1 : tables.stop + 2]
            if walked.kind == jpeg.PROGRESSIVE and spectral_start == 0:
                continue
            lost = _ZEROS * 2 if walked.kind == jpeg.PROGRESSIVE and bits >> 4 else _ZEROS
            means = {first.get(0x10 | data[at] & 15, _END_OF_BLOCK) for at in tables}
            if means != {_END_OF_BLOCK} and data.find(lost, start, end) >= 0:
                met = f"over {len(lost)} NUL bytes within the JPEG's pixels"
                raise ImageError("E-IMAGE-BROKEN", f"{met}: copy or record it again")


def _check_end(data: bytes, walked: jpeg.Walked) -> None:
    """For kinds that only Pillow decodes: nonsense after whole data changes no pixel. Raises ImageError."""
    if _digest(_stream(data, walked)) != _digest(_stream(data, walked, _NONSENSE)):
        raise truncated("the JPEG's pixels")


def _digest(stream: bytes) -> bytes:
    """sha256 of the pixels, in bands, so that they are not in memory twice."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(stream))
    digest = hashlib.sha256()
    for top in range(0, image.height, _BAND):
        digest.update(image.crop((0, top, image.width, min(top + _BAND, image.height))).tobytes())
    return digest.digest()


def _check_scans(data: bytes, walked: jpeg.Walked) -> None:
    """Checks that each component has its scan, and in a progressive JPEG all 64 coefficients, to the last bit (G.1.1.1)."""
    missing = dict[int, list[int]]()  # component -> for each coefficient, the bits that are still missing
    for start, end in walked.pieces:
        if data[start + 1] == walked.kind:
            missing = {data[at]: [_NOTHING] * 64 for at in range(start + 10, min(end, start + 10 + 3 * walked.components), 3)}
        elif data[start + 1] == jpeg.SOS:
            names = range(start + 5, start + 5 + 2 * data[start + 4], 2)
            first, last, bits = 0, 63, 0
            if walked.kind == jpeg.PROGRESSIVE:
                first, last, bits = data[names.stop], data[names.stop + 1], data[names.stop + 2] & 15
            for name in names:
                if data[name] in missing:
                    missing[data[name]][first : last + 1] = [bits] * (last + 1 - first)
    if any(any(bits) for bits in missing.values()):
        raise ImageError("E-IMAGE-TRUNCATED", "the JPEG's last scans are missing: copy or record it again")
