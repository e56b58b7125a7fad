"""stdin, stdout and stderr that every command can rely on, however it was started."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Messages(io.FileIO):
    """stderr. A message that cannot be written (full disk, closed terminal) does not end a command; the exit status tells."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Opens /dev/null in place of a closed one: otherwise the next file that is opened would be stdin or stdout.

    Characters that the terminal's encoding does not have become \\xNN or \\uNNNN.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open() takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names in an encoding other than the terminal's
    if sys.stderr is sys.__stderr__:  # it was not replaced
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Messages(2, "w", closefd=False)), encoding, "backslashreplace", line_buffering=True
        )
