"""`limiar.export_dicom`: answers, as DICOM objects that belong to the study of their pictures."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from pydicom import config
from pydicom.dataset import Dataset

from limiar.convert.dicom_export.capture import captures
from limiar.convert.dicom_export.report import reports
from limiar.convert.dicom_export.results import read_results
from limiar.convert.dicom_export.sources import copying, find_headers
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import ConvertError, OutputError, printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import partial_folder, replace_folder, write_whole


class Exported(msgspec.Struct, frozen=True):
    """What was written."""

    files: tuple[str, ...]
    pictures: int  # answers for DICOM pictures
    findings: int  # peaks
    refused: int  # lines without an answer
    others: int  # answers for pictures that are not DICOM: left out


def export_dicom(
    bundle: Path | str,
    results: Path | str,
    *sources: Path | str,
    out: Path | str,
    maps: Path | str | None = None,
    keys: Keys | None = None,
) -> Exported:
    """Writes the lines of `limiar scan` or `series` as DICOM into a new folder, which appears whole or not at all.

    sources: the scanned files, or folders of them; what they say about the patient is copied. Without `maps`, each series gets
    a Structured Report; with it, the folder of `limiar scan --maps`, each answered picture gets a Secondary Capture of its map.

    limiar.export_dicom("bundles/ct", "results.jsonl", "study/", out="reports")

    Raises BundleError, ConvertError and OutputError.
    """
    opened, out = open_bundle(bundle, keys), Path(out)
    answers = read_results(Path(results), opened)
    about = [answer for answer in answers if answer.pictures and answer.code is None]
    refused = sum(answer.code is not None for answer in answers)
    if not about:
        raise ConvertError("E-EXPORT-RESULTS", f"{printable(str(results))} has no answer for a DICOM picture: scan some first")
    if out.exists():
        raise OutputError("E-OUTPUT-EXISTS", f"{printable(str(out))} exists: give --out a new folder")
    names = []
    with _quietly(), writable(out):
        headers = find_headers(map(Path, sources), {picture.sha256 for answer in about for picture in answer.pictures})
        with partial_folder(out) as partial:
            made = reports(opened, about, refused, headers) if maps is None else captures(opened, about, headers, Path(maps))
            for number, document in enumerate(made, 1):
                names.append(f"{'report' if maps is None else 'capture'}-{number:04}.dcm")
                write_whole(partial / names[-1], _encoded(document))
            replace_folder(partial, out)
    return Exported(
        files=tuple(str(out / name) for name in names),
        pictures=sum(len(answer.pictures) for answer in about),
        findings=sum(answer.found or 0 for answer in about),
        refused=refused,
        others=len(answers) - len(about) - refused,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings of both libraries, which quote names of patients; what breaks a rule of the standard is copied."""
    with warnings.catch_warnings(action="ignore"), config.disable_value_validation():
        yield


def _encoded(document: Dataset) -> bytes:
    file = io.BytesIO()
    with copying():
        document.save_as(file, enforce_file_format=True)
    return file.getvalue()
