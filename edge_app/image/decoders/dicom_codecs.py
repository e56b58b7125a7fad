"""The compressed frames of a DICOM file -> cells, one pinned decoder for each transfer syntax.

Decoders differ in pixels, so that none steps in for another. All but that of baseline JPEG compute in whole numbers: equal on
every architecture. What a stream says of itself is read before a decoder, which would believe it, sees it.
"""

import importlib
from typing import NamedTuple

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import JPEG, JPEG_2000, JPEG_LOSSLESS, JPEG_LS, RLE, Dicom
from limiar.edge_app.image.decoders.dicom_stream import Cells


class _Codec(NamedTuple):
    module: str  # beside this one, imported when it is needed
    kind: str = ""  # for a message
    extra: str = ""  # of limiar, which brings its package


_JPEG_LOSSLESS = _Codec("dicom_gdcm", "lossless JPEG", "gdcm")
_JPEG_LS = _Codec("dicom_jpeg_ls", "JPEG-LS", "dicom")
_JPEG_2000 = _Codec("dicom_jpeg_2000", "JPEG 2000", "dicom")
_CODECS = {RLE: _Codec("dicom_rle"), JPEG: _Codec("dicom_jpeg")}
_CODECS |= dict.fromkeys(JPEG_LOSSLESS, _JPEG_LOSSLESS)
_CODECS |= dict.fromkeys(JPEG_LS, _JPEG_LS)
_CODECS |= dict.fromkeys(JPEG_2000, _JPEG_2000)


def decode(dicom: Dicom, frame: int) -> Cells:
    """The cells of a compressed frame. Raises ImageError, and what a decoder raises for broken data."""
    data = dicom.frame(frame)
    codec = _CODECS[dicom.syntax]
    try:
        module = importlib.import_module(f"limiar.edge_app.image.decoders.{codec.module}")
    except ModuleNotFoundError as error:
        met = f"{codec.kind} in a DICOM file needs {error.name}"
        raise ImageError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[{codec.extra}]'") from None
    cells: Cells = module.decode(data, dicom)
    return cells
