"""`python -m train DATA --out RUN` is `limiar train DATA --out RUN`."""

import sys

from edge_app.cli import main

sys.argv[1:1] = ["train"]
main()
