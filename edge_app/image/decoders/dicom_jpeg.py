"""Baseline JPEG in DICOM, by the project's own decoder, and the walk through a lossless one."""

import struct

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import jpeg
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_elements import broken, wrong
from limiar.edge_app.image.decoders import jpeg as decoder
from limiar.edge_app.image.decoders.dicom_stream import PADDING, Cells, Stream, fit

_BASELINE = frozenset({0xC0, 0xC1})  # SOF0 and SOF1, T.81, Table B.1


def decode(data: bytes, dicom: Dicom) -> Cells:
    """A frame. Its colours are what the header says, not what a decoder guesses from the markers. Raises ImageError."""
    walked = walk(data, dicom)
    if walked.kind not in _BASELINE or walked.bits != 8 or dicom.signed or dicom.stored != 8:
        raise wrong("TransferSyntaxUID", "does not fit the JPEG")
    ycc = dicom.photometric in ("YBR_FULL", "YBR_FULL_422")
    transforms = {data[end - 1] for start, end in walked.notes if data.startswith(b"Adobe", start + 4)}
    if dicom.samples == 3 and transforms - {int(ycc)}:
        raise ImageError("E-IMAGE-COLOUR", "a DICOM file whose PhotometricInterpretation does not fit its JPEG: write it again")
    # T.872, 6.5.3: version 100, flags 0, and whether the colours are YCbCr.
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([ycc]) if dicom.samples == 3 else b""
    plain = b"\xff\xd8" + adobe + b"".join(data[start:end] for start, end in walked.pieces) + b"\xff\xd9"
    pixels = decoder.decode(plain)
    if pixels is None:
        raise ImageError("E-IMAGE-COLOUR", "a JPEG in a DICOM file with an unusual subsampling: write it again")
    return pixels


def walk(data: bytes, dicom: Dicom) -> jpeg.Walked:
    """The segments of a frame that is one whole JPEG of the header's size. Raises ImageError."""
    walked = jpeg.walk(data, 0)
    if walked.frames != 1 or not walked.scans or data[walked.end :].strip(PADDING):
        raise broken("with a JPEG that is not one picture")
    start = next(start for start, _ in walked.pieces if data[start + 1] == walked.kind)
    height, width = struct.unpack_from(">HH", data, start + 5)
    fit(Stream(width, height, walked.components, walked.bits or 0), dicom)
    return walked
