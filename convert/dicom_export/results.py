"""The JSON lines of `limiar scan` and `limiar series`, as far as they are exported."""

from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.answer import Peak, SlicePlace
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded

_LIMIT = 1 << 30  # bytes: a million lines, or the scores of some thousand maps


class Tiles(Struct, frozen=True):
    """How a picture was searched."""

    sought: str  # the label


class Finding(Struct, frozen=True):
    """What a series has in one or several slices."""

    number: int  # from 1
    place_mm: tuple[float, float, float]  # patient coordinates
    slice: int  # the nearest, from 1
    x: float  # px in that slice; 0 in the middle of its first pixel
    y: float
    score: float  # 0..1
    decision: str  # a label, or "refer"


class Picture(Struct, frozen=True):
    """A picture of a DICOM file."""

    sha256: str  # of the file
    frame: int | None = None  # from 1; None: it has one


class Answer(Struct, frozen=True, kw_only=True):
    """A line: of a picture (scan), or of a series, which has `slices`."""

    bundle: str  # sha256 of the manifest
    file: str
    runtime: str
    app: str
    decision: str
    code: str | None = None  # of a refused one
    sha256: str | None = None  # of a picture's file; these until `peaks` are a picture's
    frame: int | None = None
    dicom: SlicePlace | None = None  # None: it is not DICOM
    probabilities: dict[str, float] | None = None
    tiles: Tiles | None = None
    peaks: tuple[Peak, ...] | None = None
    slices: tuple[Picture, ...] | None = None  # these are a series'
    findings: tuple[Finding, ...] | None = None
    sought: str | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The DICOM pictures that it is about, in order; none if it is about another kind."""
        if self.slices is not None:
            return self.slices
        return (Picture(self.sha256, self.frame),) if self.sha256 and self.dicom else ()

    @property
    def places(self) -> tuple[Peak | Finding, ...]:
        """What was found."""
        return (self.findings if self.slices is not None else self.peaks) or ()

    @property
    def found(self) -> int | None:
        """How many places; None: nothing was searched for."""
        return None if self.slices is None and self.peaks is None else len(self.places)


def read_results(path: Path, bundle: Bundle) -> list[Answer]:
    """The lines that were written with this bundle. Raises ConvertError."""
    where = printable(str(path))
    try:
        answers = _DECODER.decode_lines(read_bounded(path, _LIMIT, follow=True))
    except OSError as error:
        met = f"{where}: {error.strerror}"
        raise ConvertError("E-EXPORT-RESULTS", f"{met}: give the JSON lines of limiar scan or series") from None
    except msgspec.MsgspecError as error:
        met = f"{where} is not JSON lines of limiar scan or series ({error})"
        raise ConvertError("E-EXPORT-RESULTS", f"{met}: write it with `limiar scan BUNDLE … --jsonl FILE`") from None
    if others := {answer.bundle for answer in answers} - {bundle.sha256}:
        met = f"{where} has answers of bundle {min(others)[:12]}, not of {printable(str(bundle.path))} ({bundle.sha256[:12]})"
        raise ConvertError("E-EXPORT-BUNDLE", f"{met}: give the bundle that answered")
    return answers


_DECODER = msgspec.json.Decoder(Answer)
