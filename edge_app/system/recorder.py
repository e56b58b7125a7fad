"""Samples the board while something is measured elsewhere; a long recording is thinned out, and keeps its extremes."""

import time
from collections.abc import Callable, Iterator, Sequence

from limiar.edge_app.system.board import Board, BoardSample

_EVERY_S = 0.5  # a Pi's heat moves by a degree in that time; ten times shorter would be work of its own on one core
_MOST = 600  # samples, 5 minutes; then every two become one, and it samples half as often. About 150 KB in the JSON


class Recorder:
    """Polled by a process that waits for another one.

    recorder = Recorder(Board())
    while child.is_alive():
        recorder.poll()
        time.sleep(0.05)
    recorder.finish()
    verdict(recorder.timeline)
    """

    def __init__(self, board: Board, every_s: float = _EVERY_S, now_s: Callable[[], float] = time.monotonic) -> None:
        """Takes the first sample: how the board was before."""
        self._board, self._every_s, self._now_s = board, every_s, now_s
        self._samples = [board.sample()]
        self._due_s = now_s() + every_s

    @property
    def timeline(self) -> tuple[BoardSample, ...]:
        """The samples so far. Each holds the extremes, and the average shares, of the time since the one before."""
        return tuple(self._samples)

    def poll(self) -> None:
        """Samples if it is time. Costs 0.1 us if not."""
        if self._now_s() >= self._due_s:
            self._add(self._board.sample())

    def finish(self) -> None:
        """Takes the last sample: how the board is afterwards."""
        self._add(self._board.sample(last=True))

    def _add(self, sample: BoardSample) -> None:
        self._samples.append(sample)
        if len(self._samples) >= _MOST:
            self._samples = list(_thinned(self._samples))
            self._every_s *= 2
        self._due_s = self._now_s() + self._every_s


def _thinned(samples: Sequence[BoardSample]) -> Iterator[BoardSample]:
    """The first as it is, since all others are compared with it; then one for every two."""
    yield samples[0]
    for place in range(1, len(samples), 2):
        before, *pair = samples[place - 1 : place + 2]
        yield _joined(before.at_s, *pair) if len(pair) == 2 else pair[0]


def _joined(start_s: float, one: BoardSample, two: BoardSample) -> BoardSample:
    """What the board did from `start_s` to the second sample."""
    weight = (one.at_s - start_s) / (two.at_s - start_s) if two.at_s > start_s else 0.5
    own, others, stolen = (
        a if b is None else b if a is None else round(weight * a + (1 - weight) * b, 4)
        for a, b in ((one.own, two.own), (one.others, two.others), (one.stolen, two.stolen))
    )
    flags = [sample.throttled for sample in (one, two) if sample.throttled is not None]
    alarms = [sample.under_voltage for sample in (one, two) if sample.under_voltage is not None]
    return BoardSample(
        at_s=two.at_s,
        governors=tuple(sorted({*one.governors, *two.governors})),
        clock_low_mhz=_least(one.clock_low_mhz, two.clock_low_mhz),
        clock_high_mhz=_most(one.clock_high_mhz, two.clock_high_mhz),
        limit_mhz=_least(one.limit_mhz, two.limit_mhz),
        rated_mhz=_most(one.rated_mhz, two.rated_mhz),
        temperature_c=_most(one.temperature_c, two.temperature_c),
        throttled=flags[0] | flags[-1] if flags else None,
        under_voltage=any(alarms) if alarms else None,
        throttles=two.throttles if two.throttles is not None else one.throttles,
        withheld_s=_most(one.withheld_s, two.withheld_s),
        own=own,
        others=others,
        stolen=stolen,
        pressure=_most(one.pressure, two.pressure),
    )


def _least(*figures: float | None) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)


def _most(*figures: float | None) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)
