"""A collector that says that it has less than before: an old message of its, or was it put back from an older backup?"""

from collections.abc import Callable

_STALE_S = 2.0  # an old message comes within so long


class Doubt:
    """It is asked at once, and again a little later; if it then still says less, it has less."""

    def __init__(self, now: Callable[[], float], again_s: float) -> None:
        """again_s: it is asked again if it does not answer."""
        self._now, self._again_s = now, again_s
        self._not_before = now()  # two collectors that contradict each other are not asked without a pause
        self.end()

    def end(self) -> None:
        """It has what it had, or another store is spoken of."""
        self.sure = False
        self._asks_at: float | None = None  # None: there is no doubt
        self._asked = 0

    def begin(self, old: bool) -> None:
        """It said less than before. old: perhaps long ago, which is no answer."""
        if self._asks_at is None:
            self._asks_at = max(self._now(), self._not_before)
        self.sure = self.sure or self._asked > 1 and not old

    @property
    def due(self) -> bool:
        """Whether to ask it now."""
        return self._asks_at is not None and not self.sure and self._now() >= self._asks_at

    def asked(self) -> None:
        """It was asked."""
        self._asked += 1
        self._not_before = self._now() + _STALE_S
        self._asks_at = self._not_before if self._asked == 1 else self._now() + self._again_s
