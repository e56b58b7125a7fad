"""Imported first by a script that needs packages: starts it again in the desktop environment, unless it is in one already.

So `studies/seeds.py runs/0 runs/1` runs as it is printed, even in a fresh clone; the environment is made if there is none.
studies/ and tests/harness/ have links to this file, which also lets them import the modules of scripts/.
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
