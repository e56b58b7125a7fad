"""The DICOM files that were answered, found again by their sha256, and their headers."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from limiar.edge_app.errors import ConvertError, ImageError, printable
from limiar.edge_app.image.read import read_file

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): may be empty. Real files lack some.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    "ReferringPhysicianName",
)
_TYPES = {"DA": DA, "TM": TM}


def find_headers(paths: Iterable[Path], wanted: Set[str]) -> dict[str, Dataset]:
    """sha256 -> all but the pixels of the file with it, from files and folders (recursive). Raises ConvertError."""
    found: dict[str, Dataset] = {}
    for path in _files(paths):
        try:
            data = read_file(os.fsencode(path), follow=True)
        except ImageError:  # too large, a socket, no right to read: if it was answered, it is missed below
            continue
        if (sha256 := hashlib.sha256(data).hexdigest()) in wanted and sha256 not in found:
            found[sha256] = _header(data, path)
    if missing := wanted - found.keys():
        met = f"{len(missing)} of {len(wanted)} files that were answered are not there, one with sha256 {min(missing)[:12]}"
        raise ConvertError("E-EXPORT-SOURCE", f"{met}: give the files or folders that were scanned")
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names))
        else:
            yield path


def _header(data: bytes, path: Path) -> Dataset:
    """What is copied from a source. Raises ConvertError."""
    with copying(path):
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        for name in _MAY_BE_EMPTY:
            if name not in header or not _is_usable(header[name]):
                setattr(header, name, "")
        lacking = [name for name in _NEEDED if not header.get(name)]
    if lacking:
        met = f"{printable(str(path))} has no {lacking[0]}, which ties results to a study"
        raise ConvertError("E-EXPORT-SOURCE", f"{met}: leave it out")
    return header


def _is_usable(element: DataElement) -> bool:
    """Whether highdicom takes the value: it refuses a date that is none, and sexes that the standard does not list."""
    if element.keyword == "PatientSex":
        return element.value in ("M", "F", "O")
    try:
        return bool(_TYPES[element.VR](element.value)) if element.VR in _TYPES and element.value else True
    except ValueError:
        return False


@contextmanager
def copying(path: Path | None = None) -> Iterator[None]:
    """Raises ConvertError if the block cannot copy a header: libraries raise anything, and their messages quote values."""
    try:
        yield
    except Exception as error:
        where = "a source" if path is None else printable(str(path))
        met = f"what {where} says about its study cannot be copied ({type(error).__name__})"
        raise ConvertError("E-EXPORT-SOURCE", f"{met}: leave it out") from None
