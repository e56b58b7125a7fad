"""The `limiar` command, also `python -m limiar`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first: a numpy.py or random.py there must not be run.
    sys.path.remove(sys.path[0])

import gc
import signal
from contextlib import ExitStack


def main() -> None:
    """Runs the command line; see edge_app/cli.py."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command line can report an interrupt
    from limiar.edge_app.system.streams import open_streams

    open_streams()  # before anything is opened
    try:
        with ExitStack() as beside:
            if sys.argv[1:2] in (["scan"], ["watch"]):
                from limiar.edge_app.scan.fork import worker_ahead

                beside.enter_context(worker_ahead())
            from limiar.edge_app.cli import main as command

            command()
    finally:
        gc.freeze()  # or Python looks for garbage in all that it has imported before it ends: 5 ms


if __name__ == "__main__":
    main()
