"""Which bundle a service runs: the one that `limiar install` made current, perhaps on trial, or a folder that is named."""

import time
from pathlib import Path
from typing import Any

from limiar.edge_app.errors import BundleError
from limiar.edge_app.service.config import CURRENT, Config

_GOOD_AFTER_S = 3600.0  # a device that gets few images must not lose a good bundle to three restarts
_START_S = 40.0  # for a model on trial to load: with its start and the way back, under the 60 s that are promised


class Chosen:
    """The bundle of one start, which counts as a try if it is on trial."""

    def __init__(self, config: Config, state: Path) -> None:
        """Raises BundleError: none is installed, or none of them can be opened."""
        self._started_s = time.monotonic()
        self._good_after = config.update.good_after
        self._scans = 0
        if config.answer.bundle == CURRENT:
            raise BundleError("E-BUNDLE-MISSING", "no bundle is installed: name a bundle's folder in the configuration")
        self.fell_back = ""  # why the bundle before it is not current any more
        self.on_trial = False
        self.path = Path(config.answer.bundle)

    def scanned(self, count: int) -> bool:
        """So many scans were finished; returns whether the bundle has just become good. Raises OSError."""
        self._scans += count
        if not self.on_trial or (self._scans < self._good_after and time.monotonic() - self._started_s < _GOOD_AFTER_S):
            return False
        self.on_trial = False
        return True

    @property
    def late(self) -> bool:
        """Whether a bundle on trial takes too long to start."""
        return self.on_trial and time.monotonic() - self._started_s > _START_S

    def failed(self, reason: str) -> bool:
        """Falls back from a bundle on trial; returns whether there was one to fall back to. Raises OSError."""
        return False

    def status(self) -> dict[str, Any]:
        """The fields of a BundleStatus that the slots know; empty if the configuration names a folder."""
        return {}
