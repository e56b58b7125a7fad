"""A comparison as a page, for whoever decides whether a bundle is rolled out: one file without scripts."""

import base64
from collections.abc import Sequence
from pathlib import Path

from limiar.edge_app.archive.answers import open_answers
from limiar.edge_app.archive.comparison import Answered, Comparison, Look, Share
from limiar.edge_app.archive.pictures import Shown, shown
from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.output.files import writable
from limiar.edge_app.report import templates
from limiar.edge_app.report.panels import Mark, Panel, draw_panels
from limiar.edge_app.system.files import write_whole

_DECISIONS = 40  # with a column in the table of transitions; of more, the most frequent transitions are listed
_TRANSITIONS = 100
_NAME_COLUMNS = 24


def write_page(file: Path, found: Comparison, old: Path, new: Path) -> None:
    """Writes the page; reads the images that it shows again. Raises OutputError, ModuleNotFoundError: jinja2 is missing."""
    sides = [open_answers(path, partial=True) for path in (new, old)]
    page = render(found, shown(found.look, [side.archive for side in sides]))
    with writable(file):
        write_whole(file, page)


def render(found: Comparison, images: Sequence[Shown]) -> bytes:
    """The page, UTF-8. Texts are untrusted, and escaped."""
    counts = {(one.old, one.new): one.images for one in found.transitions}
    names = [one.decision for one in found.decisions]
    return templates.render(
        Path(__file__).parent,
        "compare.html.j2",
        found=found,
        counts=counts,
        names=names if len(names) <= _DECISIONS else [],
        changes=[one for one in found.transitions if one.old != one.new][:_TRANSITIONS],
        rates=[one for one in found.decisions if one.decision in (REFER, REFUSED)],
        plot=_plot(found) if found.compared and len(names) <= _DECISIONS else "",
        kinds=_kinds(images),
        counts_of=counts,
        share=_share,
        said=_said,
        path=_path,
    )


def _plot(found: Comparison) -> str:
    """Of the images with a decision, how many lost it; of those that have it, how many got it."""
    rows = [one.decision for one in found.decisions if one.old.images or one.new.images]
    left, came = (
        {
            one.decision: Mark(100 * (share.share or 0), 100 * share.low, 100 * share.high, f"{100 * (share.share or 0):.2f}")
            for one in found.decisions
            if (share := one.left if which == "left" else one.came).of
        }
        for which in ("left", "came")
    )
    panels = [
        Panel("had it, decided differently now, %", left, from_zero=True),
        Panel("has it, had another, %", came, from_zero=True),
    ]
    return draw_panels(rows, panels, _NAME_COLUMNS)


def _kinds(images: Sequence[Shown]) -> list[tuple[tuple[str, str], list[Shown]]]:
    """The images by kind of change, in their order."""
    kinds: dict[tuple[str, str], list[Shown]] = {}
    for one in images:
        assert one.look.old
        assert one.look.new
        kinds.setdefault((one.look.old.decision, one.look.new.decision), []).append(one)
    return [*kinds.items()]


def _share(share: Share) -> str:
    """A share in percent with its interval."""
    if share.share is None:
        return "none"
    return f"{100 * share.share:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"


def _said(answer: Answered | None) -> str:
    if answer is None:
        return "nothing"
    if answer.code:
        return answer.code
    confidence = "" if answer.confidence is None else f" {answer.confidence:.3f}"
    return (
        f"{answer.decision}{confidence}"
        if answer.decision == answer.label
        else f"{answer.decision}: {answer.label}{confidence}"
    )


def _path(look: Look) -> str:
    """With bytes that are not UTF-8 as \\xNN; and the frame, of a file with several."""
    text = base64.b64decode(look.path_base64).decode("utf-8", "backslashreplace") if look.path_base64 else look.path
    return f"{text}, frame {look.frame}" if look.frame else text
