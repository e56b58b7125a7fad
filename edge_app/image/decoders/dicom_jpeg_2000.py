"""JPEG 2000 and HTJ2K in DICOM (ISO/IEC 15444-1), by OpenJPEG; only reversible, since the other kind is computed with floats:

of 11 irreversible files, 10 had other pixels on an emulated aarch64 than on x86-64, with pylibjpeg-openjpeg 2.6.0.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
import openjpeg.utils

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.container import truncated
from limiar.edge_app.image.containers.dicom import Dicom, irreversible
from limiar.edge_app.image.containers.dicom_elements import broken, wrong
from limiar.edge_app.image.decoders.dicom_stream import PADDING, Cells, Stream, cells, fit, shape
from limiar.edge_app.system.stderr import without_stderr

_SAMPLES = 16_000_000  # its decoder holds 8 bytes of each
_TILES = 1024  # its decoder takes 6 KB for each, before it sees data


def decode(data: bytes, dicom: Dicom) -> Cells:
    """A frame. Raises ImageError, and what OpenJPEG raises for broken data."""
    found = Stream(0, 0, 0, 0)
    for marker, segment in _codestream(data):
        if marker == 0x51:  # SIZ, A.5.1
            found = _size(segment, dicom)
        elif marker in (0x52, 0x53):  # COD, COC, A.6.1 and A.6.2
            _check_coding(segment, marker == 0x53, dicom)
    fit(found, dicom)
    with without_stderr():
        values = openjpeg.utils.decode(io.BytesIO(data), 0, reshape=False)
    decoded = cells(np.ascontiguousarray(values).view(np.uint8), found.bits, shape(dicom))
    return (
        decoded.view(np.int8).astype(np.int16).view(np.uint16) if dicom.signed and found.bits <= 8 < dicom.stored else decoded
    )


def _size(segment: bytes, dicom: Dicom) -> Stream:
    if len(segment) < 36:
        raise truncated("the JPEG 2000 pixels of a DICOM file")
    _, right, bottom, left, top, tile_width, tile_height, *_, samples = struct.unpack_from(">H8IH", segment)
    kinds = {segment[at : at + 3] for at in range(36, 36 + 3 * samples, 3)}
    if len(kinds) != 1 or next(iter(kinds))[1:] != b"\1\1":
        raise broken("with JPEG 2000 pixels that are subsampled")
    kind = next(iter(kinds))[0]  # signed << 7 | bits - 1
    if kind >> 7 != dicom.signed:
        raise wrong("PixelRepresentation", "does not fit the compressed pixels")
    if left or top or not tile_width or not tile_height or right * bottom * samples > _SAMPLES:
        raise ImageError("E-IMAGE-PIXELS", f"JPEG 2000 pixels of over {_SAMPLES} samples, or with a margin: make it smaller")
    if -(-right // tile_width) * -(-bottom // tile_height) > _TILES:
        raise ImageError("E-IMAGE-PIXELS", f"JPEG 2000 pixels in over {_TILES} tiles: write it again with fewer")
    return Stream(right, bottom, samples, (kind & 0x7F) + 1)


def _check_coding(segment: bytes, component: bool, dicom: Dicom) -> None:
    """Raises ImageError: irreversible, or colours other than the header says."""
    # COD: style, progression, layers (2), colour transform, levels, block (2), block style, wavelet. COC: component, style, …
    at = 9 if not component else 6
    if len(segment) <= at:
        raise truncated("the JPEG 2000 pixels of a DICOM file")
    if segment[at] != 1:
        raise irreversible()
    if not component and segment[4] != (dicom.photometric == "YBR_RCT") and (dicom.photometric != "RGB" or dicom.samples != 3):
        raise ImageError(
            "E-IMAGE-COLOUR", "a DICOM file whose PhotometricInterpretation does not fit its JPEG 2000: write it again"
        )


def _codestream(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of the main header and of all tile-parts' (A.4). Raises ImageError unless the stream is whole."""
    if data[:4] != b"\xff\x4f\xff\x51":
        raise broken("with JPEG 2000 pixels that are not a plain codestream")
    at, part, end = 2, 0, len(data.rstrip(PADDING))
    while data[at : at + 2] != b"\xff\xd9" or at + 2 != end:
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or at + 4 > end or (marker != b"\x93" and (length < 2 or at + 2 + length > end)):
            raise truncated("the JPEG 2000 pixels of a DICOM file")
        if marker == b"\x90":  # SOT, A.4.2: the length from here to the end of the tile-part; 0: to the end of the stream
            part = int.from_bytes(data[at + 6 : at + 10], "big")
            part = at + part if part else end - 2
        if marker == b"\x93":  # SOD
            if not at + 2 <= part <= end - 2:
                raise truncated("the JPEG 2000 pixels of a DICOM file")
            at = part
            continue
        yield marker[0], data[at + 4 : at + 2 + length]
        at += 2 + length
