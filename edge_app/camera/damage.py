"""Which frames of a video were read, which are missing, and which are doubtful. Without OpenCV."""

import itertools
import math

from msgspec import Struct

from limiar.edge_app.text import counted

_GRID = 0.25  # of the time between two frames: a frame farther from its tick than this is not numbered by its time
_FEWER = 0.05  # of the frames: even the durations of intact files are off by this much
_SHOWN_RANGES = 6  # of missing frames, in one line
_STARTS_ANEW = ("I", "?")  # kinds of frames that build on no other, or may not: some decoders do not say


class Place(Struct, frozen=True):
    """A frame's place in its video."""

    frame: int  # from 1, counting also those that are known to exist but could not be read
    video_s: float  # seconds since the video's start


class Doubt:
    """Lasts from damage until a frame that was decoded after it and builds on no other."""

    def __init__(self) -> None:
        self.now = False  # the last frame was decoded from damaged data, or builds on a frame that was
        self._starts_anew = False

    def frame(self, damaged: bool, starts_anew: bool, kind: str) -> None:
        """Takes a frame of a `kind`: I, P, B or ?. `damaged`: damage was met since the frame before.

        `starts_anew`: the last packet that the decoder took builds on no other, and is whole. It need not be this frame's,
        since a decoder may hold frames back.
        """
        self.now = self.now or damaged
        self._starts_anew = starts_anew or (self._starts_anew and not damaged)
        if self._starts_anew and kind in _STARTS_ANEW:
            self.now = False


class Account:
    """Takes events in order: `failed`, or `placed` for a frame that was read; at the end, `loss`.

    A loss counts only if damage was met: counts and durations are wrong too often in intact files, because of a variable frame
    rate, an edit list, or sound that lasts longer.
    """

    def __init__(self, rate_hz: float, announced: int, timed: bool, met_at_start: bool) -> None:
        self._rate_hz = rate_hz  # 0.0: unknown
        self._announced = announced  # frames, according to the file's header; 0: unknown
        self._timed = timed  # the file has a time for each frame, which an earlier loss does not shift
        self._met_at_start = self._damaged = met_at_start
        self._seen: set[int] = set()
        self._count = 0  # of frames up to the last that was read, with those that failed
        self._failed = self._failed_loudly = 0  # frames that failed since then
        self._regular = rate_hz > 0  # so far the nth frame came at the nth tick of the frame rate
        self._first_s = self._last_s = 0.0
        self.doubt = Doubt()
        self.doubtful = 0  # frames

    def failed(self, loudly: bool) -> None:
        """Takes a frame that could not be read, or the end. `loudly`: the decoder complained, as it never does at the end."""
        self._failed += 1
        self._failed_loudly += loudly
        self._damaged = self._damaged or loudly

    def placed(self, time_s: float, complained: bool, key: bool, kind: str) -> Place:
        """Takes a frame that was read. time_s: by the decoder's clock.

        `complained`: the decoder complained since the frame before. `key`: the last packet that it took builds on no other.
        `kind`: this frame's, I, P, B or ?.
        """
        lost, first = self._failed, not self._seen
        self._count += lost + 1
        self._failed = self._failed_loudly = 0
        time_s = self._time(time_s, first)
        leapt = self._met_at_start and not first and self._rate_hz > 0 and (time_s - self._last_s) * self._rate_hz > 1.5
        damaged = complained or leapt or lost > 0
        self._damaged = self._damaged or damaged
        self.doubt.frame(damaged, key and not complained, kind)
        if first:
            self._first_s = 0.0 if lost else time_s
        number = self._number(time_s)
        self._seen.add(number)
        self._last_s = max(self._last_s, time_s)
        return Place(number, round(time_s, 3))

    def loss(self, missing_bytes: int, fault: str | None = None) -> str | None:
        """In words, what is missing from the video; None if no damage was met.

        `missing_bytes`: at the end of the file. `fault`: in words, what its container says.
        """
        if not (self._damaged or missing_bytes or fault):
            return None
        referred = f"{counted(self.doubtful, 'frame')} near damage {'is' if self.doubtful == 1 else 'are'} referred"
        parts = [self._missing(), referred if self.doubtful else ""]
        parts += [f"the file is {missing_bytes} bytes short" if missing_bytes else "", fault or ""]
        return ", ".join(filter(None, parts)) or "parts of it without frames are damaged"

    def remark(self) -> str | None:
        """In words, that a video without damage has far fewer frames than its header says; None if not."""
        if len(self._seen) >= self._announced * (1 - _FEWER) - 2:
            return None
        return f"{len(self._seen)} frames, though its header announces {self._announced}; no damage was met"

    @property
    def short(self) -> bool:
        """Whether fewer frames were read than the header announces; that alone is not a sign of damage."""
        return len(self._seen) < self._announced

    @property
    def empty(self) -> bool:
        """Whether no frame was read."""
        return not self._seen

    def _time(self, time_s: float, first: bool) -> float:
        """The time, or an estimate: some containers have no time for their last frames, or for any."""
        if math.isfinite(time_s) and (time_s > 0 or (first and time_s == 0)):
            return time_s
        return 0.0 if first or not self._rate_hz else self._last_s + 1 / self._rate_hz

    def _number(self, time_s: float) -> int:
        tick = (time_s - self._first_s) * self._rate_hz
        by_time = round(tick) + 1
        if not self._damaged:  # the count is right, and shows whether the times are
            self._regular = self._regular and by_time == self._count
            return self._count
        if self._regular and abs(tick + 1 - by_time) <= _GRID and by_time > 0 and by_time not in self._seen:
            self._count = max(self._count, by_time)
            return by_time
        return max(self._count, max(self._seen, default=0) + 1)

    def _missing(self) -> str:
        if self._regular:
            ranges = _ranges(sorted(self._seen), max(self._announced, max(self._seen, default=0)))
            count = sum(last - first + 1 for first, last in ranges)
            ranges = ranges if self._timed else []
        else:
            ranges, count = [], max(self._count + self._failed_loudly, self._announced) - len(self._seen)
        if not count:
            return ""
        total = f" of {self._announced}" if self._announced >= count else ""
        shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN_RANGES])
        which = f" ({shown}{', …' if len(ranges) > _SHOWN_RANGES else ''})" if shown else ""
        return f"{count}{total} frames could not be read{which}"


def _ranges(seen: list[int], last: int) -> list[tuple[int, int]]:
    """The gaps between the numbers seen, from 1 to `last`."""
    edges = [0, *seen, last + 1]
    return [(before + 1, after - 1) for before, after in itertools.pairwise(edges) if after - before > 1]
