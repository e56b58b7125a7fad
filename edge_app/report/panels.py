"""Rows of names with one figure in each of several panels, as SVG that follows the page's colours.

Drawn without a library, so that the bytes depend only on the figures.
"""

import math
from collections.abc import Callable

import msgspec

from limiar.edge_app.report.ticks import log_ticks, ticks
from limiar.edge_app.text import fitted
from limiar.edge_app.text import for_html as escape

_NAME_PX, _ROW_PX, _PANEL_PX, _GAP_PX, _HEAD_PX, _FOOT_PX, _VALUE_PX = 118, 26, 260, 34, 30, 26, 64

_COLUMN_PX = 7  # of a name's letter, on average


class Mark(msgspec.Struct, frozen=True):
    """A figure, with its interval if it has one."""

    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""


class Panel(msgspec.Struct, frozen=True):
    """One column: row name -> mark."""

    title: str
    marks: dict[str, Mark]
    bars: bool = False  # False: points with whiskers
    from_zero: bool = False  # bars always are
    log: bool = False  # a logarithmic axis, for points above 0
    line: float | None = None  # a value to compare with
    line_text: str = ""


def draw_panels(rows: list[str], panels: list[Panel], name_columns: int | None = None) -> str:
    """An <svg> with a line for each row and a column for each panel. name_columns: longer names are shortened to so many."""
    names_px = _NAME_PX if name_columns is None else name_columns * _COLUMN_PX
    width = names_px + len(panels) * (_PANEL_PX + _GAP_PX)
    height = _HEAD_PX + len(rows) * _ROW_PX + _FOOT_PX
    title = escape(" and ".join(panel.title for panel in panels))
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">']
    for index, row in enumerate(rows):
        middle = _middle(index)
        name = row if name_columns is None else fitted(row, name_columns).rstrip()
        parts.append(f'<text class="name" x="0" y="{middle + 4}">{escape(name)}</text>')
        parts.append(f'<line class="rule" x1="0" x2="{width}" y1="{middle + 13}" y2="{middle + 13}"/>')
    for number, panel in enumerate(panels):
        parts += _draw_panel(panel, rows, names_px + number * (_PANEL_PX + _GAP_PX), height)
    return "".join([*parts, "</svg>"])


def _draw_panel(panel: Panel, rows: list[str], left: int, height: int) -> list[str]:
    if not panel.marks:
        return []
    low, high = _range(panel)
    span = _PANEL_PX - _VALUE_PX
    scale: Callable[[float], float] = math.log10 if panel.log else float

    def x(value: float) -> str:
        return f"{left + (scale(value) - scale(low)) / (scale(high) - scale(low)) * span:.1f}"

    bottom = height - _FOOT_PX
    parts = [f'<text class="head" x="{left}" y="14">{escape(panel.title)}</text>']
    for tick in log_ticks(low, high) if panel.log else ticks(low, high):
        parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{_HEAD_PX - 6}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    if panel.line is not None:
        parts.append(f'<line class="compare" x1="{x(panel.line)}" x2="{x(panel.line)}" y1="{_HEAD_PX - 6}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{left + _PANEL_PX}" y="14" text-anchor="end">┆ {escape(panel.line_text)}</text>')
    for index, row in enumerate(rows):
        if mark := panel.marks.get(row):
            parts += _draw_mark(mark, panel.bars, x, _middle(index), left)
    return parts


def _draw_mark(mark: Mark, bar: bool, x: Callable[[float], str], middle: int, left: int) -> list[str]:
    text = f'<text class="value" x="{left + _PANEL_PX}" y="{middle + 4}" text-anchor="end">{escape(mark.text)}</text>'
    if bar:
        return [f'<path class="bar" d="M{left} {middle - 5}H{x(mark.value)}V{middle + 5}H{left}Z"/>', text]
    parts = []
    if mark.low is not None and mark.high is not None:
        parts.append(f'<line class="whisker" x1="{x(mark.low)}" x2="{x(mark.high)}" y1="{middle}" y2="{middle}"/>')
    return [*parts, f'<circle class="point" cx="{x(mark.value)}" cy="{middle}" r="4.5"/>', text]


def _middle(row: int) -> int:
    return _HEAD_PX + row * _ROW_PX + _ROW_PX // 2


def _range(panel: Panel) -> tuple[float, float]:
    """The ends of the axis: from 0 for bars, otherwise around everything that is drawn."""
    values = [v for mark in panel.marks.values() for v in (mark.value, mark.low, mark.high) if v is not None]
    if panel.line is not None:
        values.append(panel.line)
    if panel.log:
        return min(values) / 1.3, max(values) * 1.3
    from_zero = panel.bars or panel.from_zero
    low, high = (0.0 if from_zero else min(values)), max(values)
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    margin = 0.0 if from_zero else 0.04 * (high - low)
    return low - margin, high + margin
