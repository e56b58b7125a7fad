"""Tells a new frame of a camera from an old one, which must never become an answer. Imported only in the capture process.

An old frame is one that was shown before, or one that arrives late. A sensor's noise never gives two equal frames; and a camera
that says when it took a frame shows how long the frame was on its way.
"""

import zlib
from collections import deque

import numpy as np
from msgspec import Struct

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.messages import FRAME_S, View
from limiar.edge_app.errors import SourceError

EARLIER_S = 0.5  # than the parent's deadline, so that it hears why
_FROZEN_S = FRAME_S - EARLIER_S
_SAMPLE_ROWS = 32  # every 32nd row is enough to tell most frames apart
_BUFFERS = 6  # picamera2 has so many for a video, OpenCV has 4 for V4L2: a driver that hangs may show them in turn

_PROOF_S = 5.0  # a slow camera is believed after so long, even if it has not shown more frames than there are buffers

_LATE_S = 1.0  # a frame that was so much longer on its way than another is old
_PACE_S = 2.0  # a clock is believed once it has kept this machine's pace for so long
_PACE = (0.8, 1.25)  # camera seconds in a second
_DRIFT = 1e-3  # seconds a second, at most, between two clocks that are both right: NTP may slew by half of that


class Freshness:
    """What is known of a live source's last frames."""

    def __init__(self, view: View) -> None:
        self._name = view.name
        self._patience_s = min(view.patience_s - EARLIER_S, _FROZEN_S)
        self._repeats = Repeats()
        self._delay = Delay()
        self._first_s: float | None = None  # when the first frame came
        self._new = 0  # frames so far that repeat none
        self._fresh_s = 0.0  # when the last new one came

    def is_old(self, frame: Pixels, stamp_s: float | None, now_s: float) -> bool:
        """Whether a frame was shown before or is late. Raises SourceError if no new one has come for too long.

        stamp_s: when the camera took it, by its own clock; None if it does not say. now_s: by a clock that does not jump.
        """
        repeated = self._repeats.repeated(frame)
        late = self._delay.late(stamp_s, now_s)
        self._first_s = now_s if self._first_s is None else self._first_s
        if not (repeated or late):
            self._new, self._fresh_s = self._new + 1, now_s
        elif now_s - self._fresh_s >= self._patience_s:
            for_s = f"for {self._patience_s + EARLIER_S:.0f} s"
            if repeated:
                raise SourceError("E-SOURCE-FROZEN", f"{self._name} has repeated its last frames {for_s}: restart the camera")
            met = f"{self._name} has sent only old frames {for_s}"
            raise SourceError("E-SOURCE-LATE", f"{met}: check its network, and ask it for smaller or fewer frames")
        return repeated or late

    def proves(self, now_s: float) -> bool:
        """Whether the frames so far prove that the camera shows new ones.

        One that froze before it was opened shows a stale frame first, which looks new.
        """
        assert self._first_s is not None
        return self._new > _BUFFERS or (self._new > 1 and now_s - self._first_s >= _PROOF_S)


class _Shown(Struct):
    sample: int  # of every 32nd row
    whole: int | None  # of all pixels; None: not known


class Repeats:
    """The frames that were shown last."""

    def __init__(self) -> None:
        self._last: Pixels | None = None
        self._shown: deque[_Shown] = deque(maxlen=_BUFFERS)

    def repeated(self, frame: Pixels) -> bool:
        """Whether a frame was shown before.

        One flat colour is not: a covered or blinded sensor gives it without noise, and it is refused as such later.
        """
        last, self._last = self._last, frame
        if frame.min() == frame.max():
            return False
        if last is not None and _equal(last, frame):
            return True
        sample = _digest(frame[::_SAMPLE_ROWS])
        alike = [shown for shown in self._shown if shown.sample == sample]
        # To digest all pixels of all frames would cost a small board a third of a core; so the first frame that might be a
        # repeat counts as one, and from then on it is known.
        whole = _digest(frame) if alike else None
        repeated = any(shown.whole in (None, whole) for shown in alike)
        for shown in alike:
            if shown.whole is None:
                shown.whole = whole
        if not repeated:
            self._shown.append(_Shown(sample, whole))
        return repeated


class Delay:
    """How much longer a frame was on its way than the quickest one, by the camera's clock.

    The two clocks need not agree, only go at the same pace. The clock is ignored if it stands still or goes at another pace.
    """

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None  # the camera's time and this machine's, when the pace is measured from
        self._trusted = False
        self._last_s: float | None = None  # the last stamp
        self._least: tuple[float, float] = (float("inf"), 0.0)  # the least difference between the two, and when that was

    def late(self, stamp_s: float | None, now_s: float) -> bool:
        """Whether a frame was over a second longer on its way than the quickest one. Times as for `Freshness.is_old`."""
        if stamp_s is None or stamp_s <= 0 or stamp_s == self._last_s:
            return False
        self._last_s = stamp_s
        self._measure(stamp_s, now_s)
        difference_s, (least_s, at_s) = now_s - stamp_s, self._least
        least_s = min(difference_s, least_s + _DRIFT * (now_s - at_s))
        self._least = (least_s, now_s)
        return self._trusted and difference_s - least_s > _LATE_S

    def _measure(self, stamp_s: float, now_s: float) -> None:
        if self._since is None:
            self._since = (stamp_s, now_s)
        elif not self._trusted and now_s - self._since[1] >= _PACE_S:
            pace = (stamp_s - self._since[0]) / (now_s - self._since[1])
            self._trusted = _PACE[0] <= pace <= _PACE[1]
            self._since, self._least = (stamp_s, now_s), (float("inf"), 0.0)


def _equal(one: Pixels, other: Pixels) -> bool:
    few = slice(None, None, _SAMPLE_ROWS)
    return np.array_equal(one[few], other[few]) and np.array_equal(one, other)


def _digest(pixels: Pixels) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)
