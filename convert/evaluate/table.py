"""An evaluation as lines for a terminal."""

from collections.abc import Iterator, Sequence

from limiar.convert.evaluate.evaluation import Evaluation, MarkFigures, picture_name
from limiar.edge_app.bundle.manifest import REFER, REFUSED, Metric
from limiar.edge_app.errors import printable
from limiar.edge_app.report.figures import interval
from limiar.edge_app.text import counted, fitted, width
from limiar.train.record.froc import RATES

_LABELS = 12  # columns of the table of what was decided; with more, only the least recognised are listed
_FILES = 5  # of a code
_COLUMN = 28  # of a name, at most


def lines(found: Evaluation) -> Iterator[str]:
    """The figures first, then what to look at."""
    bundle, origin = found.bundle, found.origin
    yield (
        f"{bundle.name} {bundle.version}, {origin.file} on {origin.runtime}: "
        f"{found.split} images, {found.images} in all, {found.refused_images} refused"
    )
    listed = len(bundle.labels) <= _LABELS
    for name, metric in found.figures.items():
        if name.startswith("recall_") and not listed:
            continue
        yield f"  {printable(name).replace('_', ' '):<18} {_interval(metric)}"
    if found.groups is not None:
        yield f"  the images are of {counted(found.groups, 'group')}, which the intervals allow for"
    if found.marks:
        yield from _marks(found.marks)
    yield from _decided(found)
    if found.operating_points:
        yield "\nother thresholds of the bundle, here"
        rows = [(point.aim, *_values(point.here, ("sensitivity", "specificity"))) for point in found.operating_points]
        yield from _table(("", "sensitivity", "specificity"), rows, 64)
    if found.compared:
        names = [name for name in found.figures if name not in ("ece", "nll", "brier", "accuracy_decided")]
        names = [name for name in names if not name.startswith("recall_")]
        yield f"\nby {printable(found.group_by or '')}"
        rows = [(one.value or "(empty)", str(one.images), *_values(one.figures, names)) for one in found.compared]
        yield from _table(("", "images", *(name.replace("_", " ") for name in names)), rows)
    yield from _look_at(found)


def _decided(found: Evaluation) -> Iterator[str]:
    if len(found.bundle.labels) <= _LABELS:
        columns = (*found.bundle.labels, REFER, REFUSED)
        yield "\ntrue label, and what was decided"
        rows = [(name, *(str(own.decided[column]) for column in columns)) for name, own in found.labels.items()]
        yield from _table(("", *columns), rows)
        return
    yield f"\nthe {_LABELS} labels that were recognised least ({len(found.labels)} in all: --json and --html have them)"
    known = [(own.recall.value, name) for name, own in found.labels.items() if own.recall]
    for _, name in sorted(known)[:_LABELS]:
        recall = found.labels[name].recall
        assert recall
        yield f"  {fitted(printable(name), 18)} {_interval(recall)}"


def _marks(found: MarkFigures) -> Iterator[str]:
    yield f"\n{counted(found.marks, 'mark')} in {found.marked_pictures} of {counted(found.pictures, 'picture')}"
    reported = found.reported
    yield f"  {'found':<18} {_interval(reported.sensitivity)}"
    yield f"  {'false per picture':<18} {_interval(reported.false_positives)}"
    yield "\nat other thresholds: share of the marks found, by false peaks per picture"
    for rate, metric in zip(RATES, found.froc.sensitivity, strict=True):
        yield f"  {f'at {rate:g}':<18} {_interval(metric)}"
    yield f"  {'CPM, their mean':<18} {_interval(found.froc.cpm)}"
    for title, places in (
        ("missed marks, the least visible to the model first", found.missed),
        ("false peaks, the strongest first", found.false),
    ):
        if places:
            yield f"\n{title}"
            rows = [(picture_name(one), f"{one.x:.1f}", f"{one.y:.1f}", f"{one.score:.3f}") for one in places]
            yield from _table(("", "x", "y", "score"), rows, 48)


def _look_at(found: Evaluation) -> Iterator[str]:
    for refused in found.refused:
        yield f"\n{counted(refused.images, 'image')} refused with {refused.code}, which count as wrong: {refused.message}"
        yield from (f"  {file}" for file in refused.files[:_FILES])
        if refused.images > _FILES:
            yield f"  and {refused.images - _FILES} more: --json has them"
    if found.outside_images:
        named = ", ".join(f"{name} {count}" for name, count in sorted(found.outside.items(), key=lambda one: -one[1]))
        yield f"\n{counted(found.outside_images, 'image is', 'images are')} unlike the training images: {named}"
    if found.worst:
        yield "\nwrong labels, the worst first"
        rows = [
            (
                picture_name(one),
                one.truth,
                f"{one.label} {one.confidence:.3f}",
                "" if one.decision == one.label else one.decision,
            )
            for one in found.worst
        ]
        yield from _table(("", "true", "answered", ""), rows, 48)


def _values(figures: dict[str, Metric], names: Sequence[str]) -> list[str]:
    return [interval(figures[name]) if name in figures else "-" for name in names]


def _interval(metric: Metric) -> str:
    return f"{metric.value:.3f}   95 % interval {metric.low:.3f} to {metric.high:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], first: int = _COLUMN) -> Iterator[str]:
    """Rows below heads; names that are too long are shortened in the middle."""
    shown = [[printable(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(width(cell) for cell in column) for column in zip(*shown, strict=True)]
    widths = [min(wide, first if k == 0 else _COLUMN) for k, wide in enumerate(widths)]
    for row in shown:
        yield ("  " + "  ".join(fitted(cell, wide) for cell, wide in zip(row, widths, strict=True))).rstrip()
