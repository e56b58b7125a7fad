"""Imported first by a script that needs more than Python itself: outside any environment it goes on in the desktop's.

So `scripts/score BUNDLE DATA` runs as it is printed, from a fresh clone too; the environment is made where there is none.
"""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
PYTHON = SCRIPTS.parent / ".venv" / "bin" / "python"

if sys.prefix == sys.base_prefix:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"limiar needs Python 3.11, 3.12 or 3.13, and python3 is {sys.version.split()[0]}: put one first on PATH")
    made = subprocess.run([sys.executable, str(SCRIPTS / "environment.py"), "desktop"], check=False)
    if made.returncode:
        sys.exit(made.returncode)
    os.execv(PYTHON, [str(PYTHON), *sys.orig_argv[1:]])  # noqa: S606
