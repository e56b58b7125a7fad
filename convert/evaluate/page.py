"""An evaluation as a page: one file without scripts, figures first, then the images to look at."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from limiar.convert.evaluate.evaluation import Evaluation, WrongImage, picture_name
from limiar.convert.evaluate.figures import Judged
from limiar.edge_app.bundle.manifest import PROVEN, REFER, REFUSED, InputSpec
from limiar.edge_app.output.files import writable
from limiar.edge_app.report import templates
from limiar.edge_app.report.figures import interval, metric_title, share
from limiar.edge_app.report.image import png_url
from limiar.edge_app.system.files import write_whole
from limiar.train.dataset.reading import Decoded, Item, read_all
from limiar.train.record.curves import draw_froc, draw_reliability, draw_risk_coverage, draw_roc
from limiar.train.record.froc import RATES
from limiar.train.record.metrics import ECE_BINS, RESAMPLES

_TILES = ("accuracy", "sensitivity", "specificity", "auc", "refer_rate", "accuracy_decided")
_NOT_COMPARED = ("ece", "nll", "brier")
_LABELS = 40  # with a column of their own; of more, the table has recall and precision alone
_FILES = 200  # of refused images that are listed; --json has all
_IMAGE_PX = 144


class ShownImage(msgspec.Struct, frozen=True):
    """A wrong image, with its picture as the model gets it."""

    image: WrongImage
    url: str | None  # None: it cannot be read any more, or has changed


def write_page(file: Path, found: Evaluation, judged: Judged, data: Path) -> None:
    """Writes the page; reads the images that it shows again. Raises OutputError."""
    spec = found.bundle.input
    if found.tiles:  # a whole picture shows nothing in the size of a tile
        spec = msgspec.structs.replace(spec, height=_IMAGE_PX, width=_IMAGE_PX)
    page = render(found, judged, shown(found.worst, data, spec))
    with writable(file):
        write_whole(file, page)


def render(found: Evaluation, judged: Judged, images: Sequence[ShownImage]) -> bytes:
    """The page, UTF-8."""
    few = len(found.bundle.labels) <= _LABELS
    return templates.render(
        Path(__file__).parent,
        "evaluation.html.j2",
        found=found,
        proven=PROVEN,
        tiles=[name for name in _TILES if name in found.figures],
        curves=_curves(judged.of(judged.labels >= 0), found.origin.file),
        columns=(*found.bundle.labels, REFER, REFUSED) if few else (),
        figures={name: found.figures[name] for name in found.figures if few or not name.startswith("recall_")},
        compared=[name for name in found.figures if name not in _NOT_COMPARED and (few or not name.startswith("recall_"))],
        froc=draw_froc(found.marks.froc) if found.marks else "",
        rates=[*zip(RATES, found.marks.froc.sensitivity, strict=True)] if found.marks else [],
        images=images,
        files=_FILES,
        name=picture_name,
        title=metric_title,
        share=share,
        interval=interval,
        bins=ECE_BINS,
        resamples=RESAMPLES,
    )


def shown(images: Sequence[WrongImage], data: Path, spec: InputSpec) -> list[ShownImage]:
    """The images with pictures, as a model with this input gets them, decoded in processes of their own."""
    items = [Item(row, os.fsencode(data / one.file), os.fsencode(one.file)) for row, one in enumerate(images)]
    urls: dict[int, str] = {}
    for outcome in read_all(items, spec):
        if isinstance(outcome, Decoded) and outcome.tensor and outcome.sha256.hex() == images[outcome.row].sha256:
            pixels = np.frombuffer(outcome.tensor, np.uint8).reshape(spec.height, spec.width, spec.channels)
            urls[outcome.row] = png_url(pixels, _IMAGE_PX)
    return [ShownImage(one, urls.get(row)) for row, one in enumerate(images)]


def _curves(scored: Judged, name: str) -> list[tuple[str, str]]:
    """Plots as <svg>, each with its caption."""
    if not len(scored.truth):
        return []
    answers = {name: scored.probabilities}
    positive = None if scored.positive is None else scored.names.index(scored.positive)
    drawn = [
        (
            draw_reliability(scored.truth, answers),
            "How often answers of a confidence are right, with 95 % intervals. On the dashed line, a confidence means what it "
            "says. Below: images.",
        ),
        (
            draw_risk_coverage(scored.truth, answers),
            "How often the label is wrong if only the images of the highest confidence are answered.",
        ),
    ]
    if len(np.unique(scored.truth)) == len(scored.names):  # a curve needs images of every label
        caption = "The dashed line is chance."
        drawn.insert(0, (draw_roc(scored.truth, answers, positive), caption))
    return drawn
