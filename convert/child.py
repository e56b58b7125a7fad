"""The conversion in a child process, so that somebody is left to speak when a C++ library ends it (SIGABRT, SIGSEGV).

TensorFlow's converter, tf2onnx and the runtimes do so over models that they do not expect. The child is forked before any of
them is loaded; the parent loads nothing, waits, and knows what the child was at. Where that was the making of a model file,
the conversion runs once more without the file.
"""

import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from limiar.edge_app.errors import ConvertError, LimiarError, printable
from limiar.edge_app.system import stderr
from limiar.edge_app.system.children import end_with_parent

Work = Callable[["Child"], int]  # -> the exit status

_SLOT = 4096  # bytes for the step that the child is at
_REASON = 200  # characters
_TELLS = re.compile(r"check failed|error|fatal|terminate called|assert", re.IGNORECASE)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_TERMINAL = 128  # siginfo_t.si_code SI_KERNEL: Ctrl-C, which has reached the child too
_LIMITS = {
    signal.SIGKILL: "most often for want of memory: end other programs, or give fewer or smaller images",
    signal.SIGXCPU: "over the limit of computing time: raise it (ulimit -t)",
}


class Step(msgspec.Struct, frozen=True):
    """What a conversion is at."""

    text: str  # "making tflite_int8"
    files: tuple[str, ...] = ()  # that are left out if it ends the process
    status: int | None = None  # the exit status, once all is done


class Child:
    """The conversion's own end."""

    def __init__(self, slot: mmap.mmap | None, ended: Mapping[str, str]) -> None:
        self._slot = slot
        self.ended = dict(ended)  # model file -> how its making ended an earlier child

    def at(self, text: str, *files: str) -> None:
        """Says what is done from now on; files: those that it makes."""
        self._say(Step(printable(text)[:_REASON], files))

    def done(self, status: int) -> None:
        """All is done and said: a library that ends the process while it is unloaded changes nothing."""
        self._say(Step("ending", status=status))

    def _say(self, step: Step) -> None:
        if self._slot:
            self._slot[:] = msgspec.json.encode(step).ljust(_SLOT)


def in_child(work: Work) -> int:
    """Runs `work` in a child, and again without the model files over which it ended. Returns the exit status of the last.

    Raises ConvertError where it ended in a step that makes no file, and LimiarError where the machine ended it. A process that
    TensorFlow's threads run in already cannot be forked: there the work is done at once.
    """
    if "tensorflow" in sys.modules:
        return work(Child(None, {}))
    ended: dict[str, str] = {}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, nobody could wait for a child
    while True:
        slot = mmap.mmap(-1, _SLOT)
        scratch = Path(tempfile.mkdtemp(prefix="limiar-"))  # whatever ends the child, nothing of its own is left
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
        try:
            child = os.fork()
            if child:
                status = _waited(child)
                said = _said(scratch)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if os.getpid() == parent:
                shutil.rmtree(scratch, ignore_errors=True)
        if child == 0:
            end_with_parent(parent, signal.SIGTERM)
            tempfile.tempdir = str(scratch)
            stderr.kept_in = scratch
            own = Child(slot, ended)
            status = work(own)
            with suppress(OSError):  # whoever read stdout has closed it, which is met again later
                sys.stdout.flush()
                own.done(status)
            return status
        step = _step(slot)
        if status < 0 and sys.stderr.isatty():
            print("\r\x1b[2K", end="", file=sys.stderr)  # its progress
        if step.status is None and (-status in _PASSED_ON or status - 128 in _PASSED_ON):
            print(f"limiar convert was stopped while {step.text}", file=sys.stderr)
        if status >= 0:
            return status
        if step.status is not None:
            return step.status
        how = _how(-status, step, said)
        if not step.files:
            cure = "convert again, and if it ends so twice, report it with the output of `limiar doctor`"
            raise ConvertError("E-CONVERT-CRASH", f"a library ended the process while {step.text} ({how}): {cure}")
        ended |= dict.fromkeys(step.files, how)
        met = f"a library ended the process while {step.text} ({how})"
        print(f"Warning: {met}; converting again without {', '.join(step.files)}", file=sys.stderr)


def _waited(child: int) -> int:
    """The child's exit status, or minus the signal that ended it. What the parent alone is sent, the child gets."""
    while True:
        met = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if met.si_signo != signal.SIGCHLD and met.si_code != _BY_TERMINAL:
            os.kill(child, met.si_signo)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


def _step(slot: mmap.mmap) -> Step:
    try:
        return msgspec.json.decode(slot[:].rstrip(b"\0"), type=Step)
    except msgspec.DecodeError:  # empty, or cut in the middle by a SIGKILL
        return Step("starting")


def _how(number: int, step: Step, said: str) -> str:
    """In words. Raises SystemExit for a signal that asks to end, LimiarError for one that the machine sends."""
    if number in _PASSED_ON:
        raise SystemExit(128 + number)
    name = signal.Signals(number).name
    if limit := _LIMITS.get(signal.Signals(number)):
        raise LimiarError("E-MACHINE-LIMIT", f"limiar convert was ended by {name} while {step.text}, {limit}")
    return f"{name}: {said}" if said else name


def _said(scratch: Path) -> str:
    """The line that tells why, of what it wrote to stderr in its step; the last one where none does."""
    captured = sorted(scratch.glob(f"{stderr.KEPT}*"), key=lambda path: path.stat().st_mtime_ns)
    written = [line.strip() for path in captured for line in path.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in written if line]
    return printable(next(filter(_TELLS.search, lines), lines[-1] if lines else ""))[:_REASON]
