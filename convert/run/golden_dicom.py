"""Golden DICOM files, for a bundle that reads DICOM: each decoder of limiar[dicom] has some, so a device proves them all.

None is lossless JPEG: its decoder is not in limiar[dicom], and a device may do without it.
"""

import io
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from limiar.edge_app.bundle.manifest import DicomSpec, Window

_OWN = Window(centre=40, width=400)  # of a file whose window the bundle takes; soft tissue in HU
_STEPS = 3000  # stored values across a window, at most: they fit into 12 bits, with and without a sign
_ROOT = "2.25.310161410451806829153148961157162871"  # of the UIDs; nobody's


class Encoding(msgspec.Struct, frozen=True):
    """How a drawn image is stored."""

    syntax: uid.UID
    encoder: dict[str, Any] | None = None  # of a compressed one: for pydicom; None: it is not, or is a JPEG
    bits: int = 12
    signed: bool = False
    photometric: str = "MONOCHROME2"
    windows: int = 1  # in the file, the first of them its own
    padding: bool = False  # a border that is no picture


_RLE, _LS, _J2K = {"encoding_plugin": "pydicom"}, {"encoding_plugin": "pyjpegls"}, {"encoding_plugin": "pylibjpeg"}
ENCODINGS = (
    Encoding(uid.ExplicitVRLittleEndian, signed=True),
    Encoding(uid.RLELossless, _RLE),
    Encoding(uid.JPEGLSLossless, _LS, bits=16, signed=True),
    Encoding(uid.JPEG2000Lossless, _J2K, signed=True),
    Encoding(uid.ImplicitVRLittleEndian, photometric="MONOCHROME1"),
    Encoding(uid.JPEGLSNearLossless, _LS | {"jls_error": 2}, windows=2),
    Encoding(uid.DeflatedExplicitVRLittleEndian, bits=16, padding=True),
    Encoding(uid.ExplicitVRBigEndian, signed=True, windows=2),
    Encoding(uid.JPEG2000Lossless, _J2K, bits=8, photometric="RGB"),
    Encoding(uid.JPEGBaseline8Bit, bits=8, photometric="YBR_FULL_422"),
    Encoding(uid.RLELossless, _RLE, bits=8, photometric="RGB"),
    Encoding(uid.ExplicitVRLittleEndian, bits=8, photometric="YBR_FULL"),
)
COLOURED = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422"})
SIDE_MIN_PX = 33  # a smaller one has fewer resolutions than JPEG 2000's encoder makes


def golden_dicom(image: np.ndarray, encoding: Encoding, rule: DicomSpec) -> bytes:
    """image: float [H, W] of a grey encoding, or [H, W, 3], 0..1: black and white are the ends of the window."""
    window = rule.window or _OWN
    data = Dataset()
    data.SOPClassUID = uid.SecondaryCaptureImageStorage
    data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = (f"{_ROOT}.{k}" for k in (1, 2, 3))
    data.Rows, data.Columns = image.shape[:2]
    data.PhotometricInterpretation = encoding.photometric
    data.BitsStored, data.HighBit = encoding.bits, encoding.bits - 1
    data.BitsAllocated = 8 if encoding.bits == 8 else 16
    data.PixelRepresentation = int(encoding.signed)
    if encoding.photometric in COLOURED:
        data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
        pixels = np.rint(image * 255).astype(np.uint8)
    else:
        data.SamplesPerPixel = 1
        pixels = _grey(data, image, encoding, window)
    _store(data, pixels, encoding)
    file = io.BytesIO()
    dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()


def _grey(data: Dataset, image: np.ndarray, encoding: Encoding, window: Window) -> np.ndarray:
    """The stored values, with the rescale that makes them modality values around the window's centre."""
    slope = max(1, -(-window.width // _STEPS))
    stored = np.rint((image - 0.5) * window.width / slope)
    offset = 0 if encoding.signed else _STEPS // 2 + 1
    data.RescaleSlope, data.RescaleIntercept = slope, window.centre - offset * slope
    others = [Window(window.centre + 50, 2 * window.width)] * (encoding.windows - 1)
    windows = [window, *others]
    data.WindowCenter, data.WindowWidth = [one.centre for one in windows], [one.width for one in windows]
    if encoding.photometric == "MONOCHROME1":
        stored = -stored
    pixels = (stored + offset).astype(np.int16 if encoding.signed else np.uint16)
    if encoding.padding:
        data.PixelPaddingValue = int(np.iinfo(pixels.dtype).max)
        pixels[:2] = pixels[:, -3:] = data.PixelPaddingValue
    return pixels


def _store(data: Dataset, pixels: np.ndarray, encoding: Encoding) -> None:
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    compressed = encoding.encoder is not None
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if compressed else encoding.syntax
    if encoding.syntax == uid.JPEGBaseline8Bit:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling="4:2:2")
        data.PixelData = encapsulate([file.getvalue()])
        data["PixelData"].is_undefined_length = True
    else:
        big = encoding.syntax == uid.ExplicitVRBigEndian
        stored = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
        data.PixelData = stored + bytes(len(stored) % 2)
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 and encoding.syntax != uid.ImplicitVRLittleEndian else "OW"
    if compressed:
        data.compress(encoding.syntax, pixels, generate_instance_uid=False, **(encoding.encoder or {}))
