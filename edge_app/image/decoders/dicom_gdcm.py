"""Lossless JPEG in DICOM, by GDCM: the only one of the decoders that is not in limiar[dicom]."""

import gdcm

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_elements import broken, wrong
from limiar.edge_app.image.decoders.dicom_jpeg import walk
from limiar.edge_app.image.decoders.dicom_stream import Cells, cells, shape
from limiar.edge_app.system.stderr import captured_stderr

_LOSSLESS = 0xC3  # SOF3, T.81, Table B.1
_SEGMENTS = frozenset({_LOSSLESS, 0xC4, 0xDA, 0xDD})  # and DHT, SOS, DRI: all that a lossless picture needs


def decode(data: bytes, dicom: Dicom) -> Cells:
    """A frame. Raises ImageError, and what GDCM raises for broken data."""
    walked = walk(data, dicom)
    if walked.kind != _LOSSLESS:
        raise wrong("TransferSyntaxUID", "does not fit the JPEG")
    if dicom.samples == 3 and dicom.photometric != "RGB":
        raise ImageError("E-IMAGE-COLOUR", "a lossless JPEG in a DICOM file whose colours are not RGB: save it as RGB")
    if {data[start + 1] for start, _ in walked.pieces} - _SEGMENTS:
        raise broken("with a lossless JPEG of segments that do not belong into it")
    # Without notes and stray markers: GDCM ends the process if libjpeg warns of something before the first scan, such as of a
    # JFIF revision that it does not know.
    plain = b"\xff\xd8" + b"".join(data[start:end] for start, end in walked.pieces) + b"\xff\xd9"
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(plain + bytes(len(plain) % 2))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dicom.width, dicom.height, 1))
    image.SetDataElement(element)
    colours = gdcm.PhotometricInterpretation.RGB if dicom.samples == 3 else gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(colours))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(dicom.syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(dicom.samples, dicom.allocated, dicom.stored, dicom.high, int(dicom.signed)))
    with captured_stderr() as warnings:  # libjpeg's: it fills up where data end early or do not fit their tables
        text: str = image.GetBuffer()  # char*, which its binding gives as text
    values = text.encode("utf-8", "surrogateescape")
    if warnings or len(values) != dicom.width * dicom.height * dicom.samples * dicom.allocated // 8:
        raise broken("with a lossless JPEG that does not decode")
    return cells(values, dicom.allocated, shape(dicom))
