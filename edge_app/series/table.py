"""Studies for a person, on a terminal."""

from collections.abc import Iterator, Sequence

import click

from limiar.edge_app.errors import printable
from limiar.edge_app.output.lines import Line
from limiar.edge_app.series.study import Study
from limiar.edge_app.text import counted

_UID = 12  # digits of a hashed UID


class StudyTable:
    """A block for each study."""

    def write(self, outcomes: Sequence[Study | Line]) -> None:
        for outcome in outcomes:
            click.echo("\n".join(_rows(outcome)))

    def close(self) -> None:
        pass  # a terminal has no end


def _rows(outcome: Study | Line) -> Iterator[str]:
    """A study and its findings, or why there is none."""
    if isinstance(outcome, Line):
        frame = "" if outcome.frame is None else f", frame {outcome.frame}"
        yield f"{outcome.decision}  {printable(outcome.path or '')}{frame}"
        yield f"    {outcome.code}: {outcome.message}"
        return
    listed = f"study {outcome.study[:_UID]}, series {outcome.series[:_UID]}, {counted(len(outcome.slices), 'slice')}"
    if outcome.findings is None:
        yield f"{outcome.decision}  {listed}"
        yield f"    {outcome.code}: {outcome.message}"
        return
    yield f"{outcome.decision} {outcome.confidence:.1%}  {listed}: {counted(len(outcome.findings), 'finding')}"
    for note in outcome.notes or ():
        yield f"    {note.code}: {note.message}"
    for finding in outcome.findings:
        left, back, head = finding.place_mm
        place = f"{left:.1f} {back:.1f} {head:.1f} mm (left, back, head)"
        slices = f"slice {finding.slice} at {finding.x:.0f},{finding.y:.0f}, in {finding.first_slice} to {finding.last_slice}"
        yield f"    {finding.number}. {finding.decision} {finding.score:.1%}: {place}, {slices}"
