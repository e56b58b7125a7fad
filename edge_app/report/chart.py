"""Lines in a square with axes, as SVG that follows the page's colours. Drawn without a library."""

from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.text import for_html as escape

Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # x and y, of equal length

_WIDTH_PX, _HEIGHT_PX, _LEFT_PX, _RIGHT_PX, _LEGEND_PX = 330, 320, 48, 12, 16
FLOOR_PX = _HEIGHT_PX - 42  # the x axis, unless something is drawn between it and its numbers


class Axes(msgspec.Struct, frozen=True):
    """The area of a chart, and the values at its sides."""

    x: tuple[float, float]
    y: tuple[float, float]
    bottom: int = FLOOR_PX
    top: int = 44

    def across(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x
        return _LEFT_PX + (value - low) / (high - low) * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX)

    def up(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def draw_chart(
    title: str,
    axes: Axes,
    sides: tuple[str, str],
    legend: Mapping[str, str],
    parts: Iterable[str],
    x_ticks: Iterable[float],
    y_ticks: Iterable[float],
    x_label: Callable[[float], str] = "{:g}".format,
) -> str:
    """An <svg> with `parts` drawn inside the axes. sides: names of x and y. legend: class of a line -> its meaning.

    x_label: what stands at a tick, such as a power where x is a logarithm.
    """
    described = escape(f"{title}. {sides[1]} against {sides[0]}. {'; '.join(legend.values())}")
    right, middle = _WIDTH_PX - _RIGHT_PX, (axes.bottom + axes.top) // 2
    drawn = [
        f'<svg class="curve" viewBox="0 0 {_WIDTH_PX} {_HEIGHT_PX}" width="{_WIDTH_PX}" role="img" aria-label="{described}">'
    ]
    for place, (style, name) in enumerate(legend.items()):
        y = 10 + place * _LEGEND_PX
        drawn.append(f'<path class="line {style}" d="M{_LEFT_PX} {y}h22"/>')
        drawn.append(f'<text x="{_LEFT_PX + 30}" y="{y + 4}">{escape(name)}</text>')
    for tick in x_ticks:
        x = f"{axes.across(tick):.1f}"
        drawn.append(f'<path class="grid" d="M{x} {axes.top}V{axes.bottom}"/>')
        drawn.append(f'<text class="tick" x="{x}" y="{FLOOR_PX + 15}" text-anchor="middle">{x_label(tick)}</text>')
    for tick in y_ticks:
        y_text = f"{axes.up(tick):.1f}"
        drawn.append(f'<path class="grid" d="M{_LEFT_PX} {y_text}H{right}"/>')
        drawn.append(f'<text class="tick" x="{_LEFT_PX - 6}" y="{axes.up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    centre = (_LEFT_PX + right) // 2
    drawn.append(f'<text class="head" x="{centre}" y="{_HEIGHT_PX - 8}" text-anchor="middle">{escape(sides[0])}</text>')
    turned = f'transform="translate(12 {middle}) rotate(-90)"'
    drawn.append(f'<text class="head" {turned} text-anchor="middle">{escape(sides[1])}</text>')
    return "".join([*drawn, *parts, "</svg>"])


def draw_line(axes: Axes, line: Line, style: str) -> str:
    """A path. Points that fall on the same tenth of a pixel are drawn once."""
    points = [f"{axes.across(x):.1f} {axes.up(y):.1f}" for x, y in zip(*line, strict=True)]
    seen = [point for before, point in zip([None, *points], points, strict=False) if point != before]
    return f'<path class="line {style}" d="M{"L".join(seen)}"/>' if seen else ""
