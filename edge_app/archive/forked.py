"""Imported first by the process that forks a run's workers: it and they leave the terminal.

Ctrl-C at a terminal goes to every process there. The run notices it, and ends its workers; a worker that noticed it as well
would print where it was.
"""

import contextlib
import os

with contextlib.suppress(PermissionError):  # it leads a session already
    os.setsid()
