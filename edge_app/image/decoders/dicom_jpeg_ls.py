"""JPEG-LS in DICOM (ISO/IEC 14495-1), by CharLS: whole numbers, also where it is near-lossless."""

import struct
from collections.abc import Iterator

import jpeg_ls

from limiar.edge_app.image.containers.container import truncated
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_elements import broken
from limiar.edge_app.image.decoders.dicom_stream import PADDING, Cells, Stream, cells, fit, shape


def decode(data: bytes, dicom: Dicom) -> Cells:
    """A frame. Raises ImageError, and what CharLS raises for broken data."""
    bits = 0
    for marker, segment, coded in _segments(data):
        if marker == 0xF7 and len(segment) >= 6 + 3 * segment[5]:  # C.2.2
            bits, height, width, samples = struct.unpack_from(">BHHB", segment)
            if set(segment[7::3][:samples]) != {0x11}:
                raise broken("with JPEG-LS pixels that are subsampled")
            fit(Stream(width, height, samples, bits), dicom)
        elif marker == 0xF8 and segment[:1] != b"\1":  # C.2.4.1: anything but coding parameters
            raise broken("with JPEG-LS pixels that have a table of their own")
        elif marker == 0xDA:
            _check_end(data, coded)
            break
    if not bits:
        raise broken("with JPEG-LS pixels that do not say how many they are")
    values, info = jpeg_ls.decode_buffer(data)
    if dicom.samples == 3 and info["interleave_mode"] == 0:
        return cells(values, bits, (3, dicom.height, dicom.width)).transpose(1, 2, 0)
    return cells(values, bits, shape(dicom))


def _check_end(data: bytes, coded: int) -> None:
    """Raises ImageError unless the picture ends, and only padding follows. coded: where the coded data begin."""
    end = data.find(b"\xff\xd9", coded)  # not part of coded data: after FF a bit is stuffed (A.1)
    if end < 0:
        raise truncated("the JPEG-LS pixels of a DICOM file")
    if data[end + 2 :].strip(PADDING):
        raise broken("with JPEG-LS pixels that are not one picture")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker and content of each segment before the coded data, and where it ends. Raises ImageError."""
    if not data.startswith(b"\xff\xd8"):
        raise broken("with JPEG-LS pixels that do not begin as such")
    at = 2
    while True:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or length < 2 or at + 2 + length > len(data):
            raise truncated("the JPEG-LS pixels of a DICOM file")
        at += 2 + length
        yield data[at - length - 1], data[at - length + 2 : at], at
