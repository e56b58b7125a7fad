"""Which bundle a service runs: the one that `limiar install` made current, perhaps on trial, or a folder that is named."""

import time
from pathlib import Path
from typing import Any

from limiar.edge_app.health.status import OtherSlot
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.service.config import CURRENT, Config

_GOOD_AFTER_S = 3600.0  # a device that gets few images must not lose a good bundle to three restarts
_START_S = 40.0  # for a model on trial to load: with its start and the way back, under the 60 s that are promised


class Chosen:
    """The bundle of one start, which counts as a try if it is on trial."""

    def __init__(self, config: Config, state: Path) -> None:
        """Raises LimiarError E-UPDATE-NONE and E-UPDATE-DAMAGED, and StoreError."""
        self._started_s = time.monotonic()
        self._good_after = config.update.good_after
        self._scans = 0
        self._slots = Slots(state) if config.answer.bundle == CURRENT else None
        self.fell_back = ""  # why the bundle before it is not current any more
        self.on_trial = False
        self.path = Path(config.answer.bundle)
        if self._slots:
            start = self._slots.start()
            self.path, self.on_trial, self.fell_back = start.path, start.on_trial, start.fell_back

    def scanned(self, count: int) -> bool:
        """So many scans were finished; returns whether the bundle has just become good. Raises StoreError."""
        self._scans += count
        if not self.on_trial or (self._scans < self._good_after and time.monotonic() - self._started_s < _GOOD_AFTER_S):
            return False
        assert self._slots
        self._slots.good()
        self.on_trial = False
        return True

    @property
    def late(self) -> bool:
        """Whether a bundle on trial takes too long to start."""
        return self.on_trial and time.monotonic() - self._started_s > _START_S

    def failed(self, reason: str) -> bool:
        """Falls back from a bundle on trial; returns whether there was one to fall back to. Raises StoreError."""
        return self.on_trial and self._slots is not None and self._slots.fail(reason)

    def ended(self) -> None:
        """The service ends in order, so this start was not a try of a bundle on trial. Raises StoreError."""
        if self.on_trial and self._slots:
            self._slots.ended()

    def status(self) -> dict[str, Any]:
        """The fields of a BundleStatus that the slots know; none if the configuration names a folder."""
        if self._slots is None:
            return {}
        found = self._slots.status()
        current, other = found.current, next((slot for slot in found.slots if not slot.current), None)
        return {
            "slot": current and current.slot,
            "on_trial": self.on_trial,
            "tries_left": current.tries_left if current and self.on_trial else None,
            "other": other and OtherSlot(other.name, other.version, other.release_counter),
            "floor": found.floor,
        }
