"""limiar, as it is."""

from edge_app.cli import main

main()
