"""RLE in DICOM (PS3.5, annex G)."""

import struct

import numpy as np

from limiar.edge_app.image.containers.container import truncated
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_elements import broken
from limiar.edge_app.image.decoders.dicom_stream import Cells


def decode(data: bytes, dicom: Dicom) -> Cells:
    """A frame: for each sample one segment for each of its bytes, the highest first. Raises ImageError."""
    if len(data) < 64:
        raise truncated("the RLE pixels of a DICOM file")
    count, *offsets = struct.unpack_from("<16I", data)
    size, deep = dicom.width * dicom.height, dicom.allocated // 8
    if count != dicom.samples * deep or offsets[0] != 64 or sorted(set(offsets[:count])) != offsets[:count]:
        raise broken("with RLE segments that do not fit")
    planes = np.empty((count, size), np.uint8)
    for plane, start, end in zip(planes, offsets[:count], [*offsets[1:count], len(data)], strict=True):
        plane[:] = np.frombuffer(unpacked(data[start:end], size), np.uint8)
    if dicom.samples == 3:
        return planes.reshape(3, dicom.height, dicom.width).transpose(1, 2, 0)
    if deep == 1:
        return planes.reshape(dicom.height, dicom.width)
    wide: Cells = planes[0].astype(np.uint16) << 8 | planes[1]
    return wide.reshape(dicom.height, dicom.width)


def unpacked(packed: bytes, size: int) -> bytearray:
    """PackBits (PS3.5, G.3.1): n < 128: the next n + 1 bytes; n > 128: the next byte 257 - n times; 128: nothing."""
    found = bytearray(size)
    at, to = 0, 0
    while to < size:
        if at >= len(packed):
            raise truncated("the RLE pixels of a DICOM file")
        n = packed[at]
        if n < 128:
            piece = packed[at + 1 : at + 2 + n]
            if len(piece) != n + 1:
                raise truncated("the RLE pixels of a DICOM file")
            at += n + 2
        else:
            piece = packed[at + 1 : at + 2] * (257 - n) if n > 128 else b""
            at += 2 if n > 128 else 1
            if n > 128 and not piece:
                raise truncated("the RLE pixels of a DICOM file")
        if to + len(piece) > size:
            raise broken("with more RLE pixels than its header says")
        found[to : to + len(piece)] = piece
        to += len(piece)
    if packed[at:].strip(b"\0"):
        raise broken("with more RLE pixels than its header says")
    return found
