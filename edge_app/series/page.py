"""The page of studies: one file without scripts, to be read, printed and sent. Of a path it shows the file's name alone."""

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from limiar.edge_app.bundle.manifest import Manifest
from limiar.edge_app.output.lines import Line, Origin
from limiar.edge_app.report import templates
from limiar.edge_app.series.drawing import Draw, Drawn, map_of
from limiar.edge_app.series.findings import Finding
from limiar.edge_app.series.order import Slice
from limiar.edge_app.series.pictures import Pictures
from limiar.edge_app.series.series import Outcome
from limiar.edge_app.series.study import Study

PICTURES = 120  # in a page, at most: 3 MB
CLOSE = 12  # findings of a study that are shown from close by, at most


class Ring(Struct, frozen=True):
    """A finding in a slice, px."""

    number: int
    x: float
    y: float
    radius: float


class Picture(Struct, frozen=True):
    """A slice of a study under its map."""

    number: int  # of the slice, from 1
    along_mm: float
    score: float
    drawn: Drawn
    url: str
    rings: tuple[Ring, ...]


class Shown(Struct, frozen=True):
    """A study and those of its slices that have a picture."""

    anchor: str
    study: Study
    pictures: tuple[Picture, ...]

    close: dict[int, str]  # a finding's number -> the URL of a picture from close by

    @property
    def seen(self) -> frozenset[int]:
        """The numbers of the slices that have a picture."""
        return frozenset(picture.number for picture in self.pictures)


def page(manifest: Manifest, origin: Origin, outcomes: Sequence[Outcome], follow: bool = False) -> bytes:
    """HTML, UTF-8. Texts are untrusted, and escaped. Raises ModuleNotFoundError: jinja2 is not installed.

    outcomes: as `Series.with_slices` gives them, of lines with scores. follow: slices may be links to files.
    """
    studies = [(outcome, slices) for outcome, slices in outcomes if isinstance(outcome, Study)]
    room = max(1, PICTURES // max(1, len(studies)))
    with Pictures() as pictures:
        shown = []
        for number, (study, slices) in enumerate(studies, start=1):
            drawn = tuple(_pictures(pictures, manifest, study, slices, room if number <= PICTURES else 0, follow))
            close = dict(_close(pictures, manifest, study, slices, follow)) if drawn else {}
            shown.append(Shown(f"s{number}", study, drawn, close))
    return templates.render(
        Path(__file__).parent,
        "series.html.j2",
        manifest=manifest,
        origin=origin,
        studies=shown,
        found=sum(len(one.study.findings or ()) for one in shown),
        others=[outcome for outcome, _ in outcomes if isinstance(outcome, Line)],
        name=os.path.basename,
    )


def _pictures(
    pictures: Pictures, manifest: Manifest, study: Study, slices: Sequence[Slice], room: int, follow: bool
) -> Iterator[Picture]:
    """Of a study that was answered; in the order of its slices."""
    if study.findings is None:
        return
    ordered = {(slice_.line.path, slice_.line.frame): slice_ for slice_ in slices}
    for number in _chosen(len(study.slices), study.findings, room):
        listed = study.slices[number - 1]
        slice_ = ordered[listed.path, listed.frame]
        drawn = pictures.draw(_asked(manifest, slice_, follow))
        rings = tuple(_rings(study.findings, slice_, number))
        yield Picture(number, listed.along_mm, listed.score, drawn, _url(drawn), rings)


def _close(
    pictures: Pictures, manifest: Manifest, study: Study, slices: Sequence[Slice], follow: bool
) -> Iterator[tuple[int, str]]:
    """The first findings and what is around them, twice as wide as a tile."""
    of = {(slice_.line.path, slice_.line.frame): slice_ for slice_ in slices}
    for finding in (study.findings or ())[:CLOSE]:
        asked = _asked(manifest, slice_ := of[finding.path, finding.frame], follow)
        size = slice_.line.tiles.size if slice_.line.tiles else 0
        left, top = (max(0, round(px) - size) for px in (finding.x, finding.y))
        drawn = pictures.draw(replace(asked, tiles=None, box=(left, top, left + 2 * size, top + 2 * size)))
        if drawn.jpeg:
            yield finding.number, _url(drawn)


def _url(drawn: Drawn) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(drawn.jpeg).decode()}" if drawn.jpeg else ""


def _chosen(slices: int, findings: Sequence[Finding], room: int) -> list[int]:
    """Which slices have a picture, from 1: all, or those of the findings and others at equal distances."""
    if slices <= room:
        return list(range(1, slices + 1))
    chosen = list(dict.fromkeys(finding.slice for finding in findings))[:room]
    every = -(-slices // max(1, room - len(chosen)))
    return sorted({*chosen, *(range(1, slices + 1, every) if len(chosen) < room else ())})


def _asked(manifest: Manifest, slice_: Slice, follow: bool) -> Draw:
    line = slice_.line
    assert line.tiles
    assert line.sha256
    path = base64.b64decode(line.path_base64) if line.path_base64 else os.fsencode(line.path or "")
    return Draw(path, follow, bytes.fromhex(line.sha256), (line.frame or 1) - 1, manifest.input, map_of(line.tiles))


def _rings(findings: Sequence[Finding], slice_: Slice, number: int) -> Iterator[Ring]:
    assert slice_.line.tiles
    for finding in findings:
        if finding.first_slice <= number <= finding.last_slice:
            x, y = slice_.pixel(finding.place_mm)
            yield Ring(finding.number, round(x + 0.5, 1), round(y + 0.5, 1), slice_.line.tiles.size / 2)
