"""Where an unfinished run is kept. Imports no Keras: a Ctrl-C may come before it is loaded."""

from pathlib import Path

STATE = "state.json"  # names the epoch whose files are whole; written last


def partial_folder(out: Path) -> Path:
    """Where an unfinished run keeps its checkpoints, beside the RUN it will become."""
    return out.with_name(f"{out.name}.partial")
