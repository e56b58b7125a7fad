"""Installs a bundle, or goes back to the one before: the commands of that name, in a process of their own.

They need cryptography, numpy and a runtime, which this process must not load. A command that is cut leaves the device with a
whole bundle, and so does one that goes on after the page has ended.
"""

import re
import subprocess
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.install.record import BUNDLES
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.system.python import python_m

_LONGEST_S = 300.0  # `limiar install` takes at most 45 s for the golden images, and a slow card 4 MB/s for 512 MiB twice
_REFUSED = re.compile(r"^(E-[A-Z0-9-]{1,60}): (.*)$", re.MULTILINE)
_MESSAGE = 500  # characters that are shown; a browser takes a cookie of 4,096 bytes


class Outcome(Struct, frozen=True):
    """Of what both commands print."""

    name: str
    version: str
    already: bool = False  # it was the current bundle before


def trusted(settings: PageSettings) -> tuple[Path, ...]:
    """The files of the keys of which one must have signed an uploaded bundle: those given, or those that the device keeps."""
    return settings.keys or tuple(sorted((settings.state / BUNDLES / "keys").glob("*.pub")))


def install(settings: PageSettings, bundle: IO[bytes], name: str) -> Outcome:
    """Installs a file of `limiar pack`. name: of the file, for messages. Raises LimiarError, and then nothing was changed."""
    keys = trusted(settings)
    if not keys:
        met = "this device trusts no key, of which one must have signed an uploaded bundle"
        raise LimiarError("E-PAGE-KEY", f"{met}: install the first with `limiar install BUNDLE --key FILE.pub`")
    path = f"/proc/self/fd/{bundle.fileno()}"
    words = [word for key in keys for word in ("--key", str(key))]
    try:
        return _run(settings.state, "install", path, *words, file=bundle)
    except LimiarError as error:
        raise LimiarError(error.code, error.message.replace(path, printable(name)[:100])) from None


def roll_back(state: Path) -> Outcome:
    """Goes back to the bundle before. Raises LimiarError, and then nothing was changed."""
    return _run(state, "rollback")


def _run(state: Path, *words: str, file: IO[bytes] | None = None) -> Outcome:
    try:
        done = subprocess.run(
            python_m("limiar", *words, "--json", "--state", str(state)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_S,
            pass_fds=() if file is None else (file.fileno(),),
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise LimiarError("E-PAGE-INSTALL", f"limiar {words[0]} took over {_LONGEST_S:.0f} s: try again") from None
    except OSError as error:
        raise LimiarError("E-PAGE-INSTALL", f"limiar {words[0]} cannot be started ({error.strerror}): try again") from None
    said = done.stderr.decode(errors="replace")
    try:
        outcome = msgspec.json.decode(done.stdout, type=Outcome)
    except msgspec.MsgspecError:
        outcome = None
    if refused := _REFUSED.search(said):  # also if only telling the service failed
        raise LimiarError(refused[1], refused[2][:_MESSAGE])
    if outcome is None:
        last = printable(said.strip().rpartition("\n")[2])[:200] or "it said nothing"
        met = f"limiar {words[0]} ended with status {done.returncode}: {last}"
        raise LimiarError("E-PAGE-INSTALL", f"{met}: look at the device's log, then try again")
    return outcome
