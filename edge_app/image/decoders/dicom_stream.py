"""What the decoders of compressed DICOM frames have in common: a stream must say of itself what the header says of it."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.image.containers.dicom import JPEG_2000, Dicom
from limiar.edge_app.image.containers.dicom_elements import wrong

PADDING = b"\0\xff"  # a fragment has an even length
Cells = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16, [H, W] or [H, W, 3]


class Stream(msgspec.Struct, frozen=True):
    """What a compressed frame says of itself."""

    width: int
    height: int
    samples: int
    bits: int


def fit(stream: Stream, dicom: Dicom) -> None:
    """Raises ImageError: header and stream say different things. Fewer bits are the same values, unless one is a sign."""
    signed = dicom.signed and dicom.syntax not in JPEG_2000  # which has signs of its own
    if (stream.width, stream.height) != (dicom.width, dicom.height):
        raise wrong("Rows or Columns", "does not fit the compressed pixels")
    if stream.samples != dicom.samples:
        raise wrong("SamplesPerPixel", "does not fit the compressed pixels")
    if stream.bits > dicom.allocated or dicom.high != dicom.stored - 1 or (signed and stream.bits < dicom.stored):
        raise wrong("BitsStored or HighBit", "does not fit the compressed pixels")


def cells(values: bytes | bytearray | NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> Cells:
    return np.frombuffer(values, "<u2" if bits > 8 else np.uint8).reshape(shape)


def shape(dicom: Dicom) -> tuple[int, ...]:
    return (dicom.height, dicom.width) if dicom.samples == 1 else (dicom.height, dicom.width, dicom.samples)
