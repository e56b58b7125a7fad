"""The page for phones of the bundle that answers: made by `limiar phone` in a process of its own, kept in the state folder.

It takes a runtime to make, which this process must not load. Pages of bundles that no longer answer are removed.
"""

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

from limiar.edge_app import __version__
from limiar.edge_app.bundle.manifest import SIGNATURE
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.page.installs import trusted
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.system.python import limiar_child

FOLDER = "phone"  # in the state folder
_LONGEST_S = 300.0  # a second on a desktop, ten on a slow board
_AGAIN_S = 30.0  # after a failure
_REFUSED = re.compile(r"^(E-[A-Z0-9-]{1,60}): (.*)$", re.MULTILINE)


class PhonePages:
    """One is made at a time; who asks meanwhile is told to wait."""

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        self._below = settings.state / FOLDER
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failed: tuple[str, float, LimiarError] | None = None  # bundle, until when it counts, and why

    def page_of(self, folder: str, sha256: str) -> Path | None:
        """The folder of a bundle's page; None: it is being made. Raises LimiarError: it cannot be made."""
        out = self._below / f"{sha256[:32]}-{__version__}"
        if (out / "index.html").is_file():
            return out
        with self._lock:
            if self._failed and self._failed[0] == sha256 and time.monotonic() < self._failed[1]:
                raise self._failed[2]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._make, args=(folder, sha256, out), name="phone", daemon=True)
                self._thread.start()
        return None

    def _make(self, folder: str, sha256: str, out: Path) -> None:
        try:
            _run("phone", folder, "--out", str(out), *self._keys(Path(folder)))
        except LimiarError as error:
            self._failed = (sha256, time.monotonic() + _AGAIN_S, error)
            return
        self._failed = None
        for other in self._below.iterdir():
            if other != out:
                shutil.rmtree(other, ignore_errors=True)

    def _keys(self, bundle: Path) -> list[str]:
        """The page asks for the signature that the device asked for."""
        keys = trusted(self._settings) if (bundle / SIGNATURE).exists() else ()
        return [word for key in keys for word in ("--trust", str(key))]


def _run(*words: str) -> None:
    """Raises LimiarError."""
    try:
        done = subprocess.run(
            limiar_child(*words),  # this thread waits for it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_S,
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise LimiarError("E-PAGE-PHONE", f"limiar phone took over {_LONGEST_S:.0f} s: try again") from None
    except OSError as error:
        raise LimiarError("E-PAGE-PHONE", f"limiar phone cannot be started ({error.strerror}): try again") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if refused := _REFUSED.search(said):
            raise LimiarError(refused[1], refused[2])
        last = printable(said.strip().rpartition("\n")[2])[:200] or "it said nothing"
        met = f"limiar phone ended with status {done.returncode}: {last}"
        raise LimiarError("E-PAGE-PHONE", f"{met}: look at the device's log, then try again")
