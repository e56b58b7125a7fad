"""What a DICOM file says that a training must know: whose picture it is, as hashes, and what its pixels mean."""

import hashlib

from msgspec import Struct

from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import is_dicom
from limiar.edge_app.image.containers.dicom import Dicom, inspect
from limiar.edge_app.image.containers.dicom_place import place, uid_hash

_PATIENT_ID, _ISSUER, _STUDY = 0x00100020, 0x00100021, 0x0020000D
_CENTRE, _WIDTH, _VOI_MACRO = 0x00281050, 0x00281051, 0x00289132


class DicomFacts(Struct, frozen=True, array_like=True):
    """Of one file."""

    study: str  # the hash of its UID; "" if the file has none
    patient: bytes  # the hash of the patient's identifier with the key of one reading; empty if the file has none
    window: tuple[float, float] | None  # the first that the file asks for: centre and width in modality units
    spacing_mm: tuple[float, float] | None  # between rows, between columns


def facts_of(data: bytes, key: bytes) -> DicomFacts | None:
    """Of a file that was decoded; None if it is not DICOM. Raises ImageError.

    key: secret, up to 64 bytes. An identifier has few digits: a hash without a key would be as good as the identifier.
    """
    if not is_dicom(data):
        return None
    file = inspect(data)
    study, placed = file.reader.text(file.attribute(_STUDY)), place(file)
    return DicomFacts(
        study=uid_hash(study) if study else "",
        patient=_patient(file, key),
        window=_window(file),
        spacing_mm=placed.spacing_mm if placed else None,
    )


def _patient(file: Dicom, key: bytes) -> bytes:
    """Two hospitals may have a patient 1: the issuer tells them apart."""
    number, issuer = (_plain(file, tag) for tag in (_PATIENT_ID, _ISSUER))
    return hashlib.blake2b(number + b"\0" + issuer, key=key, digest_size=16).digest() if number else b""


def _plain(file: Dicom, tag: int) -> bytes:
    element = file.attribute(tag)
    return file.reader.value(element).strip(b" \0") if element else b""


def _window(file: Dicom) -> tuple[float, float] | None:
    """A damaged one does not matter here: the decoder refuses it if the picture needs it."""
    try:
        centre, width = (file.reader.decimals(file.attribute(tag, _VOI_MACRO), "") for tag in (_CENTRE, _WIDTH))
    except ImageError:
        return None
    return (float(centre[0]), float(width[0])) if centre and width else None
