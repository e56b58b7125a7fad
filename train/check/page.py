"""The page of `limiar check`: every finding with its images beside each other, in one file without scripts."""

from pathlib import Path

from limiar.edge_app.errors import ImageError, TrainError, printable
from limiar.edge_app.system.files import write_whole
from limiar.edge_app.text import counted
from limiar.edge_app.text import for_html as escape
from limiar.train.check.report import Case, CheckFinding, CheckReport, CheckRequest
from limiar.train.check.seen import read_one
from limiar.train.dataset.listed import Listed
from limiar.train.report.page import NOT_FOR_DIAGNOSIS, page
from limiar.train.report.plots import data_url

CASES = 60  # of a finding are shown, the others counted: the page stays under some megabytes
_FILES = 8  # images of a case
# Their images are not read again: one may be what took too long, or ended the process that decoded it.
UNREADABLE = ("image-refused", "image-blank")


def write_page(report: CheckReport, file: Path) -> None:
    """Writes the page of a report, with the images that it names. Raises TrainError if the file cannot be written."""
    try:
        write_whole(file, render(report).encode())
    except OSError as error:
        met = f"{printable(str(file))}: {error.strerror}"
        raise TrainError("E-CHECK-OUT", f"{met}: give --html a file in a folder that can be written") from None


def render(report: CheckReport) -> str:
    """The whole page; reads the images that it shows again."""
    request = report.request
    sections = [_head(report), *(_finding(finding, request) for finding in report.findings), _method(report)]
    return page(f"limiar check: {report.folder}", sections)


def _head(report: CheckReport) -> str:
    outcome = "No fault" if report.passed else "Faults"
    drawn = f"drawn with seed {report.seed}, as training would" if report.drawn else "as given"
    tiles = "".join(
        f'<div class="tile"><b>{sum(f.severity == severity for f in report.findings)}</b><span>{words}</span></div>'
        for severity, words in (("fault", "kinds of fault"), ("warning", "kinds of warning"), ("note", "kinds of note"))
    )
    top = "".join(f"<th>{escape(printable(label))}</th>" for label in report.labels)
    body = "".join(
        f'<tr><th scope="row">{part}</th>{"".join(f"<td>{counts[label]}</td>" for label in report.labels)}</tr>'
        for part, counts in report.parts.items()
    )
    return (
        f"<header><h1>{outcome} in {escape(report.folder)}</h1>"
        f"<p>{counted(report.images, 'image')}, {report.refused} of them refused; the split is {drawn}.</p>"
        f'<div class="tiles">{tiles}</div><p class="warning">{NOT_FOR_DIAGNOSIS}</p></header>'
        f'<section><div class="scroll" tabindex="0"><table><thead><tr><th>part</th>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"{f'<p>{escape(report.evidence.text())}</p>' if report.evidence else ''}</section>"
    )


def _finding(finding: CheckFinding, request: CheckRequest) -> str:
    readable = finding.kind not in UNREADABLE
    shown = "".join(_case(case, request, readable) for case in finding.cases[:CASES])
    more = f"<p>and {len(finding.cases) - CASES} more</p>" if len(finding.cases) > CASES else ""
    state = ' class="warning"' if finding.severity == "fault" else ""
    return (
        f"<section><h2{state}>{finding.severity}: {escape(finding.kind)}, {finding.count}</h2>"
        f"<p>{escape(finding.text)}</p>{shown}{more}</section>"
    )


def _case(case: Case, request: CheckRequest, readable: bool) -> str:
    images = "".join(_image(file, request) if readable else _name(file) for file in case.files[:_FILES])
    more = f"<p>and {len(case.files) - _FILES} more images</p>" if len(case.files) > _FILES else ""
    return f'<h3>{escape(case.text)}</h3><div class="grid">{images}</div>{more}'


def _name(file: str) -> str:
    return f"<div><span>{escape(printable(file))}</span></div>"


def _image(file: str, request: CheckRequest) -> str:
    """The image as the model gets it, or only its name where that cannot be had."""
    name = escape(printable(file))
    try:
        source = data_url(read_one(request.folder, Listed(file, ""), request.input))
    except ImageError:  # meanwhile
        return _name(file)
    return f'<div><img src="{source}" alt="{name}" title="{name}"><span>{name}</span></div>'


def _method(report: CheckReport) -> str:
    near = (
        "Duplicates are the same to the model's input. Near duplicates differ in at most 7 of 64 bits of a perceptual hash, in "
        "one of eight turns and mirror images, and their thumbnails correlate by 0.98 or more."
    )
    labels = "Labels were not looked at."
    if report.judged:
        labels = (
            f"Labels of {report.judged.images} images: random trees over gradients and a small image, in five folds that keep "
            f"groups and near duplicates together, agree with {report.judged.accuracy:.3f} of them. The share of wrong "
            f"labels is estimated at {100 * report.judged.exchanged:.1f} %; a label is suspect where it is "
            "more likely wrong than right."
        )
    return f"<section><h2>Method</h2><p>{near}</p><p>{labels}</p></section>"
