"""Imported first by a script that needs more than Python itself: outside any environment, it continues in the desktop's.

So `studies/score.py BUNDLE DATA` runs as it is printed, from a fresh clone too; the environment is made if there is none.
studies/ and tests/harness/ have links to this file, and find the modules of scripts/ by it.
"""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
PYTHON = SCRIPTS.parent / ".venv" / "bin" / "python"

if sys.prefix == sys.base_prefix:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"limiar needs Python 3.11, 3.12 or 3.13, but python3 is {sys.version.split()[0]}: put one first on PATH")
    made = subprocess.run([sys.executable, str(SCRIPTS / "environment.py"), "desktop"], check=False)
    if made.returncode:
        sys.exit(made.returncode)
    os.execv(PYTHON, [str(PYTHON), *sys.orig_argv[1:]])  # noqa: S606

if str(SCRIPTS) not in sys.path:
    sys.path.append(str(SCRIPTS))
