"""`python -m convert RUN --out BUNDLE` is `limiar convert RUN --out BUNDLE`."""

import sys

from edge_app.cli import main

sys.argv[1:1] = ["convert"]
main()
