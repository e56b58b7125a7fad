"""Whether there is space for new work, and the ballast: space kept back to write what must still be written when there is none.

A disk that is full, read-only or broken stops new work and nothing else. It goes on by itself once the ballast can be written
again, which proves more than a number of free bytes: quotas, read-only disks and I/O errors do not show in those.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from limiar.edge_app.errors import StoreError
from limiar.edge_app.health.status import DiskStatus

BALLAST = "ballast"  # in the state folder
_BALLAST_BYTES = 4 << 20  # the audit's last rows, a journal of SQLite and its index in memory take under 1 MiB
_SLACK = 1.25  # times the limit must be free before work goes on, so that it does not stop again at once
_LOOK_S = 5.0  # how often to look; work goes on at most so long after there is space


def disk_status(state: Path) -> DiskStatus | None:
    """How much is free where the state folder is; None if it is not there."""
    try:
        found = os.statvfs(state)
    except OSError:
        return None
    return DiskStatus(free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize)


class Space:
    """Watches the disk of the state folder.

    space.turn()
    if space.full:
        ...take no new work
    """

    def __init__(
        self,
        state: Path,
        free_bytes: int,
        ballast_bytes: int = _BALLAST_BYTES,
        now: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """free_bytes: with less than that, new work is refused."""
        self._state, self._free_bytes, self._ballast_bytes, self._now = state, free_bytes, ballast_bytes, now
        self._ballast = state / BALLAST
        self._full_at: float | None = None
        self._looked: float | None = None
        self.code, self.message = "", ""
        self.turn()

    @property
    def full(self) -> bool:
        """Whether new work must be refused; `code` and `message` say why."""
        return self._full_at is not None

    def turn(self) -> None:
        """To be called often: looks every 5 s, and makes the ballast again. Raises nothing."""
        if self._looked is not None and self._now() - self._looked < _LOOK_S:
            return
        self._looked = self._now()
        free = self._free()
        if free is not None and not self.full:
            if free < self._free_bytes:
                self._stop("E-STORE-FULL", f"{free >> 20} MiB are free, under the limit of {self._free_bytes >> 20}")
            elif not self._has_ballast():
                self._make()  # at the first start
        elif free is not None and free >= self._free_bytes * _SLACK + self._ballast_bytes:
            self._make()

    def met(self, error: StoreError) -> None:
        """The store could not be written: new work is refused, and the ballast is freed for what must still be written."""
        self._stop(error.code, error.message)
        with contextlib.suppress(OSError):
            self._ballast.unlink()

    def status(self) -> DiskStatus | None:
        """For `limiar status`; None if the state folder has no file system any more."""
        if (found := disk_status(self._state)) is None:
            return None
        full_s = None if self._full_at is None else round(self._now() - self._full_at, 1)
        ballast_bytes = self._ballast_bytes if self._has_ballast() else 0
        return replace(found, full=self.full, full_s=full_s, ballast_bytes=ballast_bytes)

    def _free(self) -> int | None:
        try:
            found = os.statvfs(self._state)
        except OSError as error:
            self._stop("E-STORE-WRITE", f"{error.strerror}: the state folder is gone")
            return None
        return found.f_bavail * found.f_frsize

    def _has_ballast(self) -> bool:
        try:
            return self._ballast.lstat().st_blocks * 512 >= self._ballast_bytes
        except OSError:
            return False

    def _make(self) -> None:
        """Writes the ballast, and work goes on; or says why it cannot be written."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._ballast.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self._ballast, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._ballast_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._ballast.unlink()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._stop("E-STORE-FULL" if full else "E-STORE-WRITE", f"{self._state}: {error.strerror}")
            return
        self._full_at, self.code, self.message = None, "", ""

    def _stop(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        if self._full_at is None:
            self._full_at = self._now()
