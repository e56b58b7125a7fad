"""A DICOM file that image/containers has found whole -> the picture of one of its frames, by the rule `dicom-v1`."""

from limiar.edge_app.bundle.manifest import DicomSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import Dicom
from limiar.edge_app.image.containers.dicom_place import place
from limiar.edge_app.image.decoders.dicom import decode
from limiar.edge_app.image.read import Picture


def picture(dicom: Dicom, rule: DicomSpec, frame: int | None, plain_uids: bool) -> Picture:
    """frame: from 0; None: the file must have one alone. Raises ImageError, and what a decoder raises for broken data.

    plain_uids: its place names study, series and instance by their UIDs, not by the hashes of these.
    """
    if frame is None and dicom.frames > 1:
        raise ImageError("E-IMAGE-FRAMES", f"a DICOM file of {dicom.frames} frames: save one")
    number = None if dicom.frames == 1 else (frame or 0) + 1
    where = place(dicom, frame or 0, plain=plain_uids)
    return Picture(decode(dicom, rule, frame or 0), 1, dicom.trailing, where, number)
