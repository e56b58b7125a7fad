"""The plots of a benchmark's page, as SVG that follows the page's colours. Binned: no call is drawn by itself."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from limiar.edge_app.bench.ratios import Ratio
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.report.chart import FLOOR_PX, Axes, draw_chart, draw_line
from limiar.edge_app.report.panels import Mark, Panel, draw_panels
from limiar.edge_app.report.ticks import log_ticks, ticks
from limiar.edge_app.text import fitted
from limiar.edge_app.text import for_html as escape

Calls = NDArray[np.float64]  # microseconds, in ascending order

_DWARFED = 5.0  # times as long: on a linear axis the shorter one would be a line at its edge
_LEAST_US = 1e-3  # the clock's nanosecond: a call of 0 has no logarithm
_BINS, _STEPS = 54, 140  # of an axis of 270 px: bars of 5 px, and a point of the CDF every 2 px
_HISTOGRAM_PX = 64
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NAME_COLUMNS = 34  # of a variant
_BARS_PX, _BAR_PX, _ROW_PX, _KEY_PX = 330, 12, 36, 18
_KEYS_IN_ROW = 3


class Scale(Struct, frozen=True):
    """The axis that all variants share. Microseconds."""

    low_us: float
    high_us: float
    log: bool

    def of(self, us: Calls) -> Calls:
        """Where they are on the axis."""
        return np.log10(np.maximum(us, _LEAST_US)) if self.log else us

    def ends(self) -> tuple[float, float]:
        low, high = self.of(np.array([self.low_us, self.high_us]))
        return float(low), float(high)


def common_scale(variants: Sequence[Calls]) -> Scale:
    """To the highest p99; linear, unless that dwarfs something."""
    low = max(min(float(calls[0]) for calls in variants), _LEAST_US)
    high = max(float(np.quantile(calls, 0.99)) for calls in variants)
    if high > _DWARFED * min(float(np.median(calls)) for calls in variants):
        return Scale(low / 1.1, high * 1.1, True)
    margin = 0.04 * (high - low) or low / 10
    return Scale(low - margin, high + margin, False)


def scale_words(variants: Mapping[str, Calls], scale: Scale) -> str:
    """Why the axis is logarithmic; empty if it is not."""
    if not scale.log:
        return ""
    medians = {name: float(np.median(calls)) for name, calls in variants.items()}
    fastest = min(medians, key=lambda name: medians[name])
    slow = [name for name, us in medians.items() if us > _DWARFED * medians[fastest]]
    why = (
        f"{'; '.join(slow)} took over {_DWARFED:g} times as long as {fastest}"
        if slow
        else "some calls took far longer than most"
    )
    return f"The axis is logarithmic, since {why}."


def distribution(title: str, name: str, calls: Calls, found: Latency, scale: Scale, reference: tuple[str, Calls] | None) -> str:
    """Empirical CDF with the percentiles that are given and their intervals; below it the histogram, its highest bar full.

    reference: the name and the calls of another variant, for a second line.
    """
    axes = Axes(x=scale.ends(), y=(0.0, 1.0), bottom=FLOOR_PX - _HISTOGRAM_PX - 6)
    parts = _bars(axes, calls, scale)
    legend = {"second": fitted(name, _NAME_COLUMNS).rstrip()}
    if reference is not None:
        legend["first"] = fitted(reference[0], _NAME_COLUMNS).rstrip()
        parts.append(_cdf(axes, reference[1], scale, "first"))
    parts.append(_cdf(axes, calls, scale, "second"))
    for one in found.percentiles:
        if one.us is not None and one.low_us is not None and one.high_us is not None and one.us <= scale.high_us:
            low, at, high = (
                axes.across(float(x)) for x in scale.of(np.array([one.low_us, one.us, min(one.high_us, scale.high_us)]))
            )
            up = axes.up(one.percent / 100)
            parts.append(f'<path class="whisker" d="M{low:.1f} {up:.1f}H{high:.1f}"/>')
            parts.append(f'<circle class="dot second" cx="{at:.1f}" cy="{up:.1f}" r="3"/>')
    x_ticks = np.log10(log_ticks(scale.low_us, scale.high_us)) if scale.log else ticks(*scale.ends())
    return draw_chart(
        f"{title}, {name}",
        axes,
        ("microseconds", "share of calls"),
        legend,
        parts,
        x_ticks,
        _QUARTERS,
        x_label=(lambda power: f"{10**power:g}") if scale.log else "{:g}".format,
    )


def beyond_words(calls: Calls, scale: Scale) -> str:
    """How many calls the axis does not reach; empty: none."""
    count = int((calls > scale.high_us).sum())
    return f"{count:,} of {len(calls):,} took longer, up to {calls[-1]:,.0f} microseconds." if count else ""


def ratio_plot(title: str, ratios: Mapping[str, Ratio]) -> str:
    """Dots with whiskers around 1. Empty: there are none."""
    if not ratios:
        return ""
    ends = [value for one in ratios.values() for value in (one.low, one.high, 1.0)]
    marks = {name: Mark(one.ratio, one.low, one.high, f"x {one.ratio:.3g}") for name, one in ratios.items()}
    panel = Panel(title, marks, log=max(ends) > _DWARFED * min(ends), line=1.0, line_text="reference")
    return draw_panels([*ratios], [panel], name_columns=min(_NAME_COLUMNS, max(map(len, ratios))))


def stage_bars(variants: Mapping[str, Mapping[str, float]]) -> str:
    """variants: the median of each stage, microseconds. A bar for each, its parts coloured by the classes s0, s1, …"""
    stages = list(dict.fromkeys(name for medians in variants.values() for name in medians))
    longest = max((sum(medians.values()) for medians in variants.values()), default=0.0)
    if not longest:
        return ""
    top = -(-len(stages) // _KEYS_IN_ROW) * _KEY_PX + 6
    height = top + len(variants) * _ROW_PX
    described = escape(f"Stacked bars of the medians of {', '.join(stages)}, for each variant; the figures are in the table")
    parts = [f'<svg class="curve" viewBox="0 0 {_BARS_PX} {height}" width="{_BARS_PX}" role="img" aria-label="{described}">']
    for number, name in enumerate(stages):
        row, column = divmod(number, _KEYS_IN_ROW)
        x, y = column * (_BARS_PX // _KEYS_IN_ROW), row * _KEY_PX
        parts.append(f'<rect class="s{number}" x="{x}" y="{y + 2}" width="11" height="11"/>')
        parts.append(f'<text x="{x + 17}" y="{y + 12}">{escape(name)}</text>')
    for number, (title, medians) in enumerate(variants.items()):
        left, y = 0.0, top + number * _ROW_PX
        total = f"{sum(medians.values()):,.0f}"
        parts.append(f'<text x="0" y="{y + 12}">{escape(fitted(title, _NAME_COLUMNS).rstrip())}</text>')
        parts.append(f'<text class="tick" x="{_BARS_PX}" y="{y + 12}" text-anchor="end">{total}</text>')
        for name, us in medians.items():
            wide = us / longest * _BARS_PX
            shape = f'x="{left:.1f}" y="{y + 17}" width="{max(wide - 0.6, 0.4):.1f}" height="{_BAR_PX}"'
            parts.append(f'<rect class="s{stages.index(name)}" {shape}/>')
            left += wide
    return "".join([*parts, "</svg>"])


def _cdf(axes: Axes, calls: Calls, scale: Scale, style: str) -> str:
    at = np.linspace(*axes.x, _STEPS)
    shares = np.searchsorted(scale.of(calls), at, side="right") / len(calls)
    return draw_line(axes, (at, shares), style)


def _bars(axes: Axes, calls: Calls, scale: Scale) -> list[str]:
    counts, edges = np.histogram(scale.of(calls), _BINS, axes.x)
    highest = max(int(counts.max()), 1)
    shapes = [
        f"M{axes.across(float(left)):.1f} {FLOOR_PX}V{FLOOR_PX - _HISTOGRAM_PX * count / highest:.1f}"
        f"H{axes.across(float(right)) - 0.5:.1f}V{FLOOR_PX}Z"
        for count, left, right in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    ]
    return [f'<path class="bar" d="{"".join(shapes)}"/>']
