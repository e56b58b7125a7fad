"""Writes small DICOM files with pydicom, of any transfer syntax that the project reads, for tests."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

ROOT = "1.2.826.0.1.3680043.10.1561"  # the UIDs of files that are made here begin so
SYNTAXES = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "big": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "rle": uid.RLELossless,
    "jpeg": uid.JPEGBaseline8Bit,
    "jpeg_lossless": uid.JPEGLosslessSV1,  # written by GDCM
    "jpeg_ls": uid.JPEGLSLossless,
    "jpeg_ls_near": uid.JPEGLSNearLossless,
    "j2k": uid.JPEG2000Lossless,
    "j2k_lossy": uid.JPEG2000,
}
_COMPRESSED = {"rle", "jpeg_ls", "jpeg_ls_near", "j2k", "j2k_lossy"}
_HOW: dict[str, dict[str, Any]] = {
    "rle": {"encoding_plugin": "pydicom"},
    "jpeg_ls": {"encoding_plugin": "pyjpegls"},
    "jpeg_ls_near": {"encoding_plugin": "pyjpegls", "jls_error": 2},
    "j2k": {"encoding_plugin": "pylibjpeg"},
    "j2k_lossy": {"encoding_plugin": "pylibjpeg", "j2k_cr": [4]},
}

Window = tuple[float, float]  # centre, width


def dicom_file(
    pixels: NDArray[Any],
    *,
    syntax: str = "explicit",
    window: Window | list[Window] | None = None,
    slope: float | None = None,
    intercept: float | None = None,
    photometric: str = "MONOCHROME2",
    bits: int | None = None,
    study: int = 1,
    series: int = 1,
    instance: int = 1,
    spacing: tuple[float, float] | None = None,
    position: tuple[float, float, float] | None = None,
    **attributes: Any,
) -> bytes:
    """The bytes of a DICOM file.

    pixels: stored values, [H, W] or [frames, H, W] of (u)int8 or (u)int16; with a photometric of three samples [H, W, 3] or
    [frames, H, W, 3] of uint8. Given as they are stored: YBR is not computed, but for syntax "jpeg".
    syntax: a key of SYNTAXES. window: one, or several. bits: BitsStored, with HighBit below it. study, series, instance: the
    last numbers of UIDs. spacing: mm between rows, between columns. position: mm, of the first pixel, in an axial slice.
    attributes: further ones by keyword (PatientName="…"); None removes one that is written otherwise.
    """
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    one = pixels.ndim == (3 if colour else 2)
    frames = pixels[np.newaxis] if one else pixels
    data = Dataset()
    data.SOPClassUID = uid.CTImageStorage
    data.StudyInstanceUID = f"{ROOT}.{study}"
    data.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    data.SOPInstanceUID = f"{ROOT}.{study}.{series}.{instance}"
    data.InstanceNumber = instance
    data.Modality = "CT"
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = photometric
    data.Rows, data.Columns = frames.shape[1:3]
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        data.PlanarConfiguration = 0
    if not one:
        data.NumberOfFrames = len(frames)
    if window is not None:
        windows = window if isinstance(window, list) else [window]
        data.WindowCenter, data.WindowWidth = ([w[k] for w in windows] for k in (0, 1))
    if slope is not None or intercept is not None:
        data.RescaleSlope, data.RescaleIntercept = slope if slope is not None else 1, intercept or 0
    if spacing:
        data.PixelSpacing = list(spacing)
    if position:
        data.ImagePositionPatient, data.ImageOrientationPatient = list(position), [1, 0, 0, 0, 1, 0]
    return _written(data, np.ascontiguousarray(frames), syntax, attributes)


def _written(data: Dataset, frames: NDArray[Any], syntax: str, attributes: dict[str, Any]) -> bytes:
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = SYNTAXES[syntax] if syntax != "jpeg_lossless" else SYNTAXES["explicit"]
    wide = frames.dtype.itemsize > 1
    stored = frames.astype(frames.dtype.newbyteorder(">" if syntax == "big" else "<")).tobytes()
    if syntax == "jpeg":
        data.PixelData = encapsulate([_jpeg(frame, data.PhotometricInterpretation) for frame in frames])
        data["PixelData"].is_undefined_length = True
    else:
        data.PixelData = stored + bytes(len(stored) % 2)
    data["PixelData"].VR = "OW" if wide or syntax == "implicit" else "OB"
    if syntax in _COMPRESSED:
        shaped = frames if "NumberOfFrames" in data else frames[0]
        data.compress(SYNTAXES[syntax], shaped, generate_instance_uid=False, **_HOW[syntax])
    for keyword, value in attributes.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    file = io.BytesIO()
    dcmwrite(file, data, enforce_file_format=True)
    return _lossless(file.getvalue()) if syntax == "jpeg_lossless" else file.getvalue()


def _jpeg(frame: NDArray[Any], photometric: str) -> bytes:
    """A baseline JPEG. YBR_FULL_422: subsampled, computed from the RGB that is given; RGB: stored as it is."""
    file = io.BytesIO()
    options: dict[str, Any] = {"keep_rgb": True} if photometric == "RGB" else {}
    image = Image.fromarray(frame)
    image.save(file, "JPEG", quality=90, subsampling="4:2:2" if photometric == "YBR_FULL_422" else "4:4:4", **options)
    jpeg = file.getvalue()
    return jpeg + bytes(len(jpeg) % 2)


def _lossless(explicit: bytes) -> bytes:
    """The same file with JPEG lossless (process 14, selection value 1)."""
    import tempfile
    from pathlib import Path

    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(explicit)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()
