"""The page of `limiar check`: every finding with its images beside each other, in one file without scripts."""

from dataclasses import dataclass
from pathlib import Path

from limiar.edge_app.errors import ImageError, TrainError, printable
from limiar.edge_app.report import templates
from limiar.edge_app.report.image import png_url
from limiar.edge_app.system.files import write_whole
from limiar.edge_app.text import counted
from limiar.train.check.check_report import SEVERITIES, Case, CheckFinding, CheckReport, CheckRequest
from limiar.train.check.near import CORRELATION, DISTANCE
from limiar.train.check.survey import read_one
from limiar.train.dataset.listed import Listed

CASES = 60  # of a finding are shown, the others counted: the page stays under some megabytes
IMAGE_PX = 80  # of a side
_FILES = 8  # images of a case
# Their images are not read again: one may be what took too long, or ended the process that decoded it.
UNREADABLE = ("image-refused", "image-blank")


@dataclass(frozen=True)
class ShownImage:
    """An image of the folder."""

    name: str
    url: str | None  # None: it cannot be shown


@dataclass(frozen=True)
class ShownCase:
    """Images that belong together."""

    text: str
    images: tuple[ShownImage, ...]
    more: int  # images


@dataclass(frozen=True)
class ShownFinding:
    """A finding with its images."""

    severity: str
    kind: str
    count: int
    text: str
    cases: tuple[ShownCase, ...]
    more: int  # cases


def write_page(report: CheckReport, file: Path) -> None:
    """Writes the page of a report, with the images that it names. Raises TrainError if the file cannot be written."""
    try:
        write_whole(file, render(report))
    except OSError as error:
        met = f"{printable(str(file))}: {error.strerror}"
        raise TrainError("E-CHECK-OUT", f"{met}: give --html a file in a folder that can be written") from None


def render(report: CheckReport) -> bytes:
    """The whole page; reads the images that it shows again."""
    return templates.render(
        Path(__file__).parent,
        "check_page.html.j2",
        report=report,
        labels=report.labels,
        kinds={severity: sum(one.severity == severity for one in report.findings) for severity in SEVERITIES},
        findings=[_finding(one, report.request) for one in report.findings],
        distance=DISTANCE,
        correlation=CORRELATION,
        counted=counted,
        printable=printable,
    )


def _finding(finding: CheckFinding, request: CheckRequest) -> ShownFinding:
    readable = finding.kind not in UNREADABLE
    cases = tuple(_case(case, request, readable) for case in finding.cases[:CASES])
    more = max(0, len(finding.cases) - CASES)
    return ShownFinding(finding.severity, finding.kind, finding.count, finding.text, cases, more)


def _case(case: Case, request: CheckRequest, readable: bool) -> ShownCase:
    images = tuple(ShownImage(printable(file), _url(file, request) if readable else None) for file in case.files[:_FILES])
    return ShownCase(case.text, images, max(0, len(case.files) - _FILES))


def _url(file: str, request: CheckRequest) -> str | None:
    """The image as the model gets it; None if it cannot be read any more."""
    try:
        return png_url(read_one(request.folder, Listed(file, ""), request.input), IMAGE_PX)
    except ImageError:
        return None
