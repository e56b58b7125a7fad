"""One CT slice -> the bytes of a DICOM file: what limiar draws, of no patient, as a scanner would write it. Needs pydicom."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

WINDOW = (-300, 1400)  # centre, width in HU: by PS3.3 C.11.2.1.2.1 from -1000 to 399, a level off the patches' -1000 to 400
LEAST_HU, MOST_HU = -2048, 2047  # of 12 signed bits
_WRITER = "limiar"  # ImplementationVersionName: pydicom's own would change the bytes with its version

Hounsfield = NDArray[np.int16]


@dataclass(frozen=True)
class CtSlice:
    """A slice across the body, head first and supine: its rows run to the patient's left, its columns to the back."""

    hu: Hounsfield  # [H, W], LEAST_HU..MOST_HU
    patient: str  # of nobody: "phantom-000012"
    study: str  # a UID, see `uid`
    series: str
    number: int  # in its series, from 1
    position_mm: tuple[float, float, float]  # of the middle of the first pixel: x to the left, y to the back, z to the head
    spacing_mm: tuple[float, float]  # between rows, between columns
    thickness_mm: float


def uid(*parts: object) -> UID:
    """A UID that depends on these parts alone: 2.25 and a number of 128 bits (PS3.5, B.2)."""
    digest = hashlib.sha256("\0".join(map(str, ("limiar", *parts))).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def ct_file(ct: CtSlice) -> bytes:
    """A DICOM file of one CT image: 12 signed bits in 16, explicit little endian, values in HU, one window."""
    own = uid(ct.series, ct.number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = own
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("writer")
    meta.ImplementationVersionName = _WRITER
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, own
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = ct.study, ct.series, uid(ct.series, "frame")
    file.StudyDate = file.StudyTime = file.AccessionNumber = file.StudyID = file.ReferringPhysicianName = ""
    file.PatientName = file.PatientID = ct.patient
    file.PatientBirthDate = file.PatientSex = ""
    file.Modality, file.Manufacturer, file.BodyPartExamined = "CT", _WRITER, "CHEST"
    file.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    file.SeriesNumber, file.InstanceNumber, file.AcquisitionNumber = 1, ct.number, 1
    file.PatientPosition, file.KVP, file.PositionReferenceIndicator = "HFS", "", ""
    file.ImagePositionPatient = [f"{value:.6g}" for value in ct.position_mm]
    file.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    file.PixelSpacing = [f"{value:.6g}" for value in ct.spacing_mm]
    file.SliceThickness = f"{ct.thickness_mm:.6g}"
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.Rows, file.Columns = ct.hu.shape
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 1
    file.RescaleSlope, file.RescaleIntercept, file.RescaleType = "1", "0", "HU"
    file.WindowCenter, file.WindowWidth = map(str, WINDOW)
    file.PixelData = ct.hu.astype("<i2").tobytes()  # the sign goes on in the bits above HighBit, as scanners write it
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def rounded(hu: NDArray[np.float64]) -> Hounsfield:
    """Whole HU, within what 12 bits hold."""
    whole: Hounsfield = np.rint(hu.clip(LEAST_HU, MOST_HU)).astype(np.int16)
    return whole
