"""stdin, stdout and stderr as every command may rely on them, however it was started."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Messages(io.FileIO):
    """A message that nobody can read, on a full disk or a terminal that was closed, ends no command: its exit status tells."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """/dev/null takes the place of what is closed: else the next file that is opened would be stdin or stdout.

    What a terminal of another encoding cannot show becomes \\xNN or \\uNNNN.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open() takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another encoding than a name's
    if sys.stderr is sys.__stderr__:  # nobody has taken its place
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Messages(2, "w", closefd=False)), encoding, "backslashreplace", line_buffering=True
        )
