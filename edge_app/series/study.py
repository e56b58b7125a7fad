"""One line a study. Without numpy, as all that keeps the store."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from limiar.edge_app.bundle.manifest import REFER, REFUSED, TileSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.output.lines import Line, Origin
from limiar.edge_app.series.findings import Finding, findings
from limiar.edge_app.series.order import Note, Slice, stacked


class StudySlice(Struct, frozen=True, omit_defaults=True):
    """A slice of a study."""

    path: str
    along_mm: float  # its place on the normal of its plane
    score: float  # the largest of its tiles: probability of the sought label, 0..1
    decision: str
    frame: int | None = None  # from 1, of a file with several
    instance: str | None = None  # hashed SOPInstanceUID
    path_base64: str | None = None  # the path's bytes, if they are not UTF-8
    sha256: str | None = None  # of its file


class Study(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer for one series, or why it was refused. As JSON, a key that is None is left out."""

    study: str  # hashed StudyInstanceUID
    series: str  # hashed SeriesInstanceUID
    decision: str  # a label, "refer" or "refused"
    label: str | None = None  # of the slice with the largest score
    confidence: float | None = None  # of that label, 0..1
    sought: str  # the label that was looked for
    findings: tuple[Finding, ...] | None = None  # the largest score first; None: refused
    slices: tuple[StudySlice, ...]  # in the order in which they lie, from the feet up if they are axial; refused: as they came
    spacing_mm: tuple[float, float] | None = None  # between rows, between columns
    step_mm: float | None = None  # from slice to slice
    notes: tuple[Note, ...] | None = None  # what a person should know: slices that are missing, or were given twice
    code: str | None = None  # of a refused one: "E-SERIES-TWICE"
    message: str | None = None
    bundle: str  # these as in Line
    file: str
    runtime: str
    verified: str
    app: str
    time: str  # UTC: of its last answer

    @property
    def refused(self) -> bool:
        """Whether there is no answer; `code` and `message` say why."""
        return self.code is not None


def study_of(slices: Sequence[Slice], tiles: TileSpec, origin: Origin) -> Study:
    """The study of a series. Its strongest slice speaks for it; if slices are missing and nothing was found, it is referred."""
    try:
        stack = stacked(slices)
    except ImageError as error:
        return _study(slices, tiles, origin, decision=REFUSED, code=error.code, message=error.message)
    spacing = stack.slices[0].spacing
    strongest = max((slice_.line for slice_ in stack.slices), key=lambda line: _score(line, tiles.sought))
    decision, missing = strongest.decision, any(note.code == "E-SERIES-GAP" for note in stack.notes)
    return _study(
        stack.slices,
        tiles,
        origin,
        decision=REFER if missing and decision != tiles.sought else decision,
        label=strongest.label,
        confidence=strongest.confidence,
        findings=findings(stack, radius=tiles.size / 2 * sum(spacing) / 2),
        spacing_mm=spacing,
        step_mm=None if stack.step is None else round(stack.step, 4),
        notes=stack.notes or None,
    )


def _study(slices: Sequence[Slice], tiles: TileSpec, origin: Origin, decision: str, **answer: Any) -> Study:
    place = slices[0].line.dicom
    assert place
    return Study(
        study=place.study,
        series=place.series,
        decision=decision,
        sought=tiles.sought,
        slices=tuple(_listed(slice_, tiles.sought) for slice_ in slices),
        bundle=origin.bundle,
        file=origin.file,
        runtime=origin.runtime,
        verified=origin.verified,
        app=origin.app,
        time=max(slice_.line.time for slice_ in slices),
        **answer,
    )


def _listed(slice_: Slice, sought: str) -> StudySlice:
    line = slice_.line
    assert line.dicom
    return StudySlice(
        path=line.path or "",
        along_mm=round(slice_.along, 2),
        score=_score(line, sought),
        decision=line.decision,
        frame=line.frame,
        instance=line.dicom.instance,
        path_base64=line.path_base64,
        sha256=line.sha256 or None,
    )


def _score(line: Line, sought: str) -> float:
    """The largest of a slice's tiles."""
    return (line.probabilities or {}).get(sought, 0.0)
