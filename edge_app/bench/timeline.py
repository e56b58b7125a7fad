"""What the board did over a run, as SVG that follows the page's colours: heat, clock, other programs, stolen time."""

from collections.abc import Callable, Sequence

from limiar.edge_app.report.ticks import ticks
from limiar.edge_app.system.board import BoardSample
from limiar.edge_app.system.verdict import throttles_at

_WIDTH_PX, _LEFT_PX, _RIGHT_PX, _STRIP_PX, _GAP_PX, _FOOT_PX = 680, 52, 12, 64, 30, 26
Figure = Callable[[BoardSample], float | None]
# Title, figure, and the least span of the axis, so that a wobble does not fill it.
_STRIPS: tuple[tuple[str, Figure, float], ...] = (
    ("processor, degrees Celsius", lambda one: one.temperature_c, 10.0),
    ("slowest clock, MHz", lambda one: one.clock_low_mhz, 200.0),
    ("other programs, percent of all cores", lambda one: None if one.others is None else one.others * 100, 10.0),
    ("stolen by the host, percent of all cores", lambda one: None if one.stolen is None else one.stolen * 100, 2.0),
)


def timeline_svg(samples: Sequence[BoardSample]) -> str:
    """An <svg> with a strip for each figure that this board tells, over seconds; shaded where it throttled. Empty: none."""
    strips = [
        (title, points, least)
        for title, figure, least in _STRIPS
        if len(points := [(one.at_s, value) for one in samples if (value := figure(one)) is not None]) > 1
    ]
    if not strips or samples[-1].at_s <= samples[0].at_s:
        return ""
    height = len(strips) * (_STRIP_PX + _GAP_PX) + _FOOT_PX
    start_s, end_s = samples[0].at_s, samples[-1].at_s

    def x(at_s: float) -> float:
        return _LEFT_PX + (at_s - start_s) / (end_s - start_s) * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX)

    bottom = height - _FOOT_PX
    titles = ", ".join(title for title, _, _ in strips)
    parts = [f'<svg class="curve" viewBox="0 0 {_WIDTH_PX} {height}" width="{_WIDTH_PX}" role="img" aria-label="{titles}">']
    for before, now, bad in zip([samples[0], *samples], samples, throttles_at(samples), strict=False):
        if bad:
            left, right = x(before.at_s), max(x(now.at_s), x(before.at_s) + 2)
            shape = f"M{left:.1f} {_GAP_PX - 6}H{right:.1f}V{bottom}H{left:.1f}Z"
            parts.append(f'<path style="fill: var(--bad); opacity: 0.18" d="{shape}"/>')
    for tick in ticks(start_s, end_s):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {_GAP_PX - 6}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g} s</text>')
    for number, (title, points, least) in enumerate(strips):
        parts += _strip(title, [(x(at_s), value) for at_s, value in points], least, number * (_STRIP_PX + _GAP_PX) + _GAP_PX)
    return "".join([*parts, "</svg>"])


def _strip(title: str, points: Sequence[tuple[float, float]], least: float, top: int) -> list[str]:
    """points: pixels from the left, and the value."""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    if high - low < least:
        low = max(0.0, (low + high - least) / 2)
        high = low + least

    def y(value: float) -> float:
        return top + _STRIP_PX - (value - low) / (high - low) * _STRIP_PX

    parts = [f'<text class="head" x="{_LEFT_PX}" y="{top - 10}">{title}</text>']
    for tick in ticks(low, high):
        parts.append(f'<path class="grid" d="M{_LEFT_PX} {y(tick):.1f}H{_WIDTH_PX - _RIGHT_PX}"/>')
        parts.append(f'<text class="tick" x="{_LEFT_PX - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    line = "L".join(f"{across:.1f} {y(value):.1f}" for across, value in points)
    return [*parts, f'<path class="line second" d="M{line}"/>']
