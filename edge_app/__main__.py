"""`python -m edge_app` is the `limiar` command."""

from edge_app.cli import main

main()
