"""A comparison as a page, for a reviewer."""

from pathlib import Path

from limiar.convert.compare.bench_results import BenchReview
from limiar.convert.compare.compare import Review, points
from limiar.convert.compare.machines import BenchTable, in_words, plots
from limiar.convert.report.release_report import kilobytes
from limiar.convert.report.templates import render
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.report.figures import metric_title, share
from limiar.edge_app.system.files import write_whole


def write_page(path: Path, review: Review | BenchReview | BenchTable) -> None:
    """Writes one HTML file. Raises ConvertError."""
    words = {"points": points, "kilobytes": kilobytes, "title": metric_title, "share": share}
    if isinstance(review, BenchTable):
        page = render("compare_benches.html.j2", review=review, plots=[*plots(review)], us=in_words)
    else:
        page = render("compare.html.j2", review=review, **words)
    try:
        write_whole(path, page)
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise ConvertError("E-COMPARE-OUT", f"{met}: give --html a file in a folder that can be written") from None
