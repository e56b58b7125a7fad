"""The `limiar` command, also `python -m limiar`: the packages beside this file, whatever else on the path has their names."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def main() -> None:
    """Runs the command line; see edge_app.cli."""
    spec = PathFinder.find_spec("edge_app", [str(Path(__file__).parent)])
    assert spec, "edge_app is installed beside this file"
    assert spec.loader
    sys.modules["edge_app"] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    from edge_app.cli import main as command

    command()


if __name__ == "__main__":
    main()
