"""The proof before a bundle is installed: its golden images through the model file that will answer, in a process of its own.

The model may crash that process, hang it or eat its memory, and nothing else notices.
"""

import contextlib
import os
import re
import resource
import signal
from typing import NoReturn

from msgspec import Struct

from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, RuntimeUnavailable, printable
from limiar.edge_app.system.python import python_m

# Half of it is left of the 60 s in which a device must be back on its old bundle. 72 golden images take 0.4 s on a desktop and
# 6 s on a Raspberry Pi Zero 2, most of it for imports.
PROOF_S = 45.0
# Data, not address space, which runtimes reserve without using. The reference bundle's files take under 256 MiB; a model that
# needs more than this would leave a board of 2 GiB no room to work.
PROOF_BYTES = 1 << 30
_SAYS_CODE = re.compile(r"(E-(?:RUNTIME|BUNDLE)-[A-Z-]+): (.*)")
_NO_MEMORY = re.compile(r"bad_alloc|MemoryError|E-MACHINE-LIMIT|[Ff]ailed to allocate|[Cc]annot allocate")


class Proof(Struct, frozen=True):
    """What passed."""

    file: str  # model file
    runtime: str  # name and version


def prove(bundle: Bundle, file: str | None = None, runtime: str | None = None) -> Proof:
    """Runs the golden images through a model file. None: the bundle's default file, the first runtime installed here.

    Raises BundleError E-UPDATE-ANSWERS, E-UPDATE-CRASH, E-UPDATE-MEMORY, E-UPDATE-TIME, E-BUNDLE-FILE and E-BUNDLE-GOLDEN, and
    RuntimeUnavailable.
    """
    import subprocess  # here, since a service that starts a bundle imports this room too

    name = bundle.model(file)[0].name
    words = (str(bundle.path), bundle.sha256, name, runtime or "", str(os.getpid()))
    # Not in the terminal's process group, as in inference/verified.py.
    with subprocess.Popen(
        python_m("limiar.edge_app.inference.trial", *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as child:
        _confine(child.pid)
        try:
            out, err = child.communicate(timeout=PROOF_S)
        except subprocess.TimeoutExpired:
            _refuse("E-UPDATE-TIME", name, f"took over {PROOF_S:.0f} s with its golden images")
        finally:
            child.kill()
    said = err.decode("utf-8", "replace").strip()
    last = printable(said.splitlines()[-1] if said else f"exit status {child.returncode}")[:300]
    if child.returncode == 0:
        return Proof(name, out.decode("utf-8", "replace").strip())
    if child.returncode == -signal.SIGKILL or _NO_MEMORY.search(said):
        _refuse("E-UPDATE-MEMORY", name, f"needs over {PROOF_BYTES >> 20} MiB, or more than is free")
    if child.returncode < 0:
        _refuse("E-UPDATE-CRASH", name, f"ended its process with {child.returncode}")
    if not (coded := _SAYS_CODE.match(last)):
        _refuse("E-UPDATE-ANSWERS", name, f"does not give its recorded answers here ({last})")
    raise (BundleError if coded[1].startswith("E-BUNDLE-") else RuntimeUnavailable)(coded[1], coded[2])


def _confine(pid: int) -> None:
    """Bounds a child's memory, and has the kernel end it before any other process if memory runs out all the same."""
    resource.prlimit(pid, resource.RLIMIT_DATA, (PROOF_BYTES, PROOF_BYTES))
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _refuse(code: str, name: str, met: str) -> NoReturn:
    raise BundleError(code, f"{name} {met}: nothing was changed; convert the model again, or choose another --file")
