"""Limits of a machine (memory, processes, open files, disk) as one line instead of a traceback."""

import errno
import resource

from limiar.edge_app.errors import LimiarError, OutputError, printable

_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_MEMORY = frozenset({errno.ENOMEM, errno.EAGAIN})  # EAGAIN: from fork(2), also for too many processes
_OUTPUT = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EIO: "check the terminal or disk",
}
# glibc's dlopen(3) says only in words why a library could not be loaded.
_WORDS = (
    ("cannot allocate memory", errno.ENOMEM),
    ("failed to map segment", errno.ENOMEM),
    ("cannot map zero-fill pages", errno.ENOMEM),
    ("can't start new thread", errno.EAGAIN),
    ("too many open files", errno.EMFILE),
)


SIZE, DATA = 0, 5  # columns of /proc/PID/statm, proc(5): all address space; data and stack
_ASSUMED = 2 << 30  # bytes, if there is no /proc: more than Python takes with everything that limiar imports on a device


def taken_bytes(column: int) -> int:
    """Bytes of memory that this process has asked for."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[column]) * resource.getpagesize()
    except OSError:
        return _ASSUMED


def limit_met(error: BaseException) -> LimiarError | None:
    """The limit behind an error, with how to raise it; None if it is another kind of error."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM if isinstance(error, MemoryError) else None
    if isinstance(error, ImportError | RuntimeError) or (isinstance(error, OSError) and number is None):  # from ctypes.CDLL
        said = _said(error)
        number = next((number for words, number in _WORDS if words in said), None)
    if number in _FILES:
        met = "too many files are open"
        return LimiarError("E-MACHINE-LIMIT", f"{met}: raise the limit (ulimit -n 256), or close other programs")
    if number in _MEMORY:
        met = "no memory, or no process, is left"
        return LimiarError("E-MACHINE-LIMIT", f"{met}: raise the limit (ulimit -v, ulimit -u), or close other programs")
    if isinstance(error, FileNotFoundError) and str(error.strerror).startswith("No usable temporary directory"):
        return LimiarError("E-MACHINE-LIMIT", "there is no folder for temporary files: set TMPDIR to one that can be written")
    if isinstance(error, OSError) and error.errno in _OUTPUT:
        where = printable(str(error.filename)) if error.filename else "an output"
        cure = f"{_OUTPUT[error.errno]}, then run the same command"
        return OutputError("E-OUTPUT-WRITE", f"{where}: {error.strerror}: {cure}")
    return None


def _said(error: BaseException) -> str:
    """The words of an error and of its causes, in lower case: numpy 1 hides the cause behind advice about its source folder."""
    before = error.__cause__ or error.__context__
    return f"{error} {_said(before) if before else ''}".lower()
