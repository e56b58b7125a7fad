"""What a person reads on the terminal after a conversion: the files, why some are missing, and the verdict."""

from collections.abc import Iterator
from pathlib import Path

from limiar.convert.gate.decision_rule import in_words
from limiar.convert.gate.file_report import FileReport
from limiar.convert.report.release_report import ReleaseReport, alike, kilobytes
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted


def outcome(report: ReleaseReport, written: Path) -> Iterator[str]:
    """The lines, the verdict last. written: the bundle, or the folder of the refusal."""
    yield f"{'file':<16}{'size':>9}  {'accuracy':>8}  {'referred':>8}  {'highest loss':>12}  verdict"
    yield from map(_row, report.files)
    for group, faults in alike(file for file in report.files if not file.proven):
        yield f"{', '.join(file.name for file in group)}:"
        yield from (f"  {fault}" for fault in faults)
    yield from _decides(report)
    margin = report.gate.noninferiority.margin
    smallest = ", ".join(f"{name} {100 * share:.1f}" for name, share in report.smallest_margin.items())
    yield f"highest loss: its upper bound against Keras on {report.images['test']} test images; it must be below {margin:g}."
    yield f"The smallest margin that these images can decide, in points: {smallest}"
    elsewhere = [seen for file in report.files for seen in file.elsewhere]
    for seen in dict.fromkeys(elsewhere):
        yield f"verified on {seen.line}: {counted(elsewhere.count(seen), 'model file')}"
    yield from report.tiled_lines
    yield from report.not_checked
    yield from (f"A way out: {way}" for way in report.ways_out)
    yield f"{report.verdict}: {printable(str(written))}{_default(report)}"


def _decides(report: ReleaseReport) -> Iterator[str]:
    """How the default file decides, and what comes of it on the test split."""
    file = report.default
    if file is None or file.decision is None or file.test is None:
        return
    referred, right = (file.test.metrics.get(name) for name in ("refer_rate", "accuracy_decided"))
    line = f"{file.name} decides by {in_words(file.decision)}"
    if referred and right:
        low, value, high = (f"{100 * (1 - share) + 0.0:.1f}" for share in (right.high, right.value, right.low))
        wrong = f"{value} % ({low} to {high}) of the others are wrong"
        line += f": of the test images {100 * referred.value:.0f} % are referred, {wrong}"
    yield line


def _row(file: FileReport) -> str:
    test = file.test
    size = kilobytes(file.bytes) if file.bytes is not None else ""
    accuracy, refer_rate = (
        f"{test.metrics[name].value:.3f}" if test and test.finite else "" for name in ("accuracy", "refer_rate")
    )
    bound = f"{max(loss.high for loss in test.losses):.3f}" if test and test.losses else ""
    undecided = "undecided, allowed" if file.allowed else "undecided, left out"
    verdict = undecided if file.verdict == "INCONCLUSIVE" else file.verdict
    return f"{file.name:<16}{size:>9}  {accuracy:>8}  {refer_rate:>8}  {bound:>12}  {verdict}"


def _default(report: ReleaseReport) -> str:
    """What the verdict line says of the default file if a device would prefer another one."""
    if not report.published or not report.better:
        return ""
    return f" (a device takes {report.default_file}; {report.better_in_words})"
