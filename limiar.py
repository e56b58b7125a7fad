"""The `limiar` command, also `python -m limiar`: the packages beside this file, whatever else on the path has their names."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first: a numpy.py or random.py that lies there is not for us to run.
    sys.path.remove(sys.path[0])

import signal
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def main() -> None:
    """Runs the command line; see edge_app.cli."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command line can say that it was interrupted
    spec = PathFinder.find_spec("edge_app", [str(Path(__file__).parent)])
    assert spec, "edge_app is installed beside this file"
    assert spec.loader
    sys.modules["edge_app"] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    from edge_app.cli import main as command

    command()


if __name__ == "__main__":
    main()
