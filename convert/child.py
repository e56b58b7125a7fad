"""Work in a child process, so that the caller is still there when a C++ library ends it (SIGABRT, SIGSEGV).

TensorFlow's converter, tf2onnx and the runtimes do so on models that they do not expect. The child is forked before any of
them is loaded; the parent loads nothing, waits, and knows which step the child was at. If it was making a model file,
the work is done once more without that file.
"""

import mmap
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import msgspec

from limiar.edge_app.errors import ConvertError, LimiarError, printable
from limiar.edge_app.system import stderr
from limiar.edge_app.system.children import end_with_parent, has_one_thread
from limiar.edge_app.system.limits import limit_met

Done = TypeVar("Done")

_SLOT = 4096  # bytes for the step that the child is at
_REASON = 200  # characters
_TELLS = re.compile(r"check failed|error|fatal|terminate called|assert", re.IGNORECASE)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_TERMINAL = 128  # siginfo_t.si_code SI_KERNEL: Ctrl-C, which has reached the child too
_LIMITS = {
    signal.SIGKILL: "probably for lack of memory: end other programs, or give fewer or smaller images",
    signal.SIGXCPU: "over the limit of computing time: raise it (ulimit -t)",
}


class Step(msgspec.Struct, frozen=True):
    """The step that the work is at."""

    text: str  # "making tflite_int8"
    files: tuple[str, ...] = ()  # that are left out if it ends the process


class Returned(msgspec.Struct, Generic[Done], frozen=True):
    """How the work ended: with a value."""

    value: Done


class Stopped(msgspec.Struct, frozen=True):
    """How the work ended: it was asked to."""

    status: int  # of a process that is: 128 + the signal


class Raised(msgspec.Struct, frozen=True):
    """How the work ended: with an error."""

    error: BaseException


class ToParent:
    """What the work tells its parent."""

    def __init__(self, slot: mmap.mmap | None, ended: Mapping[str, str]) -> None:
        self._slot = slot
        self.ended = dict(ended)  # model file -> how its making ended an earlier child

    def at(self, text: str, *files: str) -> None:
        """Says what the next step is; files: those that it makes."""
        if self._slot:
            self._slot[:] = msgspec.json.encode(Step(printable(text)[:_REASON], files)).ljust(_SLOT)


def in_child(work: Callable[[ToParent], Done]) -> Done:
    """Does `work` in a child, and again without the model files over which it ended. Returns what the last one returned.

    What the work raises is raised here too, KeyboardInterrupt and SystemExit included. Raises ConvertError if a library ended
    it in a step that makes no file, and LimiarError if the machine did. A process with other threads, TensorFlow's for
    example, cannot be forked: there the work is done in the process itself.
    """
    if "tensorflow" in sys.modules or not has_one_thread():
        return work(ToParent(None, {}))
    ended: dict[str, str] = {}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some parents leave it ignored, and then a child cannot be waited for
    while True:
        slot = mmap.mmap(-1, _SLOT)
        told = os.memfd_create("outcome")
        sys.stdout.flush()  # otherwise both would write what is waiting there
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
        scratch = Path(tempfile.mkdtemp(prefix="limiar-"))  # removed here, whatever ends the child
        try:
            child = os.fork()
            if child == 0:
                _child(work, ToParent(slot, ended), told, scratch, parent, before)
            status = _waited(child)
            said = _said(scratch)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            shutil.rmtree(scratch, ignore_errors=True)
        with open(told, "rb") as file, suppress(EOFError, pickle.UnpicklingError):  # it has ended before it could tell
            file.seek(0)
            outcome: Returned[Done] | Stopped | Raised = pickle.load(file)  # noqa: S301  # the child is this very program
            if isinstance(outcome, Returned):
                return outcome.value
            if isinstance(outcome, Stopped):
                _stop(outcome.status, _step(slot))
            raise outcome.error
        step = _step(slot)
        if status < 0 and sys.stderr.isatty():
            print("\r\x1b[2K", end="", file=sys.stderr)  # its progress
        how = _how(status, step, said)
        if not step.files:
            cure = "convert again; if it happens again, report it with the output of `limiar doctor`"
            raise ConvertError("E-CONVERT-CRASH", f"a library ended the process while {step.text} ({how}): {cure}")
        ended |= dict.fromkeys(step.files, how)
        met = f"a library ended the process while {step.text} ({how})"
        print(f"Warning: {met}; converting again without {', '.join(step.files)}", file=sys.stderr)


def _child(
    work: Callable[[ToParent], object],
    own: ToParent,
    told: int,
    scratch: Path,
    parent: int,
    signals: "set[signal.Signals | int]",
) -> NoReturn:
    """Does the work, writes into the descriptor `told` what came of it, and ends without unloading any library."""
    outcome: Returned[object] | Stopped | Raised
    try:
        try:
            end_with_parent(parent, signal.SIGTERM)
            tempfile.tempdir = str(scratch)
            stderr.kept_in = scratch
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            outcome = Returned(work(own))
            signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # it is done, and only has to be told
        except BaseException as error:
            signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
            outcome = _to_send(error)
        with open(told, "wb") as file:
            pickle.dump(outcome, file)
        with suppress(OSError):  # the reader of stdout has closed it
            sys.stdout.flush()
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def _to_send(error: BaseException) -> Stopped | Raised:
    """The error as another process can raise it; what is not one of ours keeps its traceback as a note."""
    if isinstance(error, KeyboardInterrupt):
        return Stopped(128 + signal.SIGINT)
    if isinstance(error, SystemExit):  # a number: tblib, which TensorFlow imports where it is installed, pickles no status
        return Stopped(error.code if isinstance(error.code, int) and error.code else 1)
    if limit := limit_met(error):
        return Raised(limit)
    if not isinstance(error, LimiarError):
        error.add_note("In the child process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # just written
    except Exception:  # a library's: it holds what cannot be pickled, or cannot be made from its message
        sent = RuntimeError(f"{type(error).__name__}: {error}")
        sent.add_note("\n".join(error.__notes__))
        return Raised(sent)
    return Raised(error)


def _waited(child: int) -> int:
    """The child's exit status, or minus the signal that ended it. A signal sent only to the parent is passed on."""
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


def _how(status: int, step: Step, said: str) -> str:
    """In words. Raises KeyboardInterrupt or SystemExit after a signal that asks to end, LimiarError if the machine sent it."""
    asked = -status if status < 0 else status - 128
    if asked in _PASSED_ON:
        _stop(128 + asked, step)
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    if limit := _LIMITS.get(signal.Signals(-status)):
        raise LimiarError("E-MACHINE-LIMIT", f"limiar convert was ended by {name} while {step.text}, {limit}")
    return f"{name}: {said}" if said else name


def _stop(status: int, step: Step) -> NoReturn:
    """Says where it was, and ends with that status."""
    print(f"limiar convert was stopped while {step.text}", file=sys.stderr)
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(status)


def _said(scratch: Path) -> str:
    """The line that says why, from what it wrote to stderr in its step; the last line if none does."""
    captured = sorted(scratch.glob(f"{stderr.KEPT}*"), key=lambda path: path.stat().st_mtime_ns)
    written = [line.strip() for path in captured for line in path.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in written if line]
    return printable(next(filter(_TELLS.search, lines), lines[-1] if lines else ""))[:_REASON]
