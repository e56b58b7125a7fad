"""Where limiar keeps what it must remember."""

import os
from pathlib import Path

from limiar.edge_app.errors import StoreError


def default_path() -> Path:
    """results.db in limiar's state folder. Raises StoreError."""
    return state_folder() / "results.db"


def state_folder() -> Path:
    """Where limiar keeps what it must remember: LIMIAR_STATE, else XDG_STATE_HOME/limiar, else ~/.local/state/limiar.

    Raises StoreError where there is no home: a user without an account, as containers start them.
    """
    if state := os.environ.get("LIMIAR_STATE"):
        return Path(state)
    for name, below in (("XDG_STATE_HOME", "limiar"), ("HOME", ".local/state/limiar")):
        if (folder := os.environ.get(name, "")).startswith("/"):  # the specification has relative ones ignored
            return Path(folder) / below
    import pwd  # where nothing of the environment says it

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/limiar"
    except KeyError:
        met = f"user {os.getuid()} has no home folder to keep results in"
        raise StoreError("E-STORE-HOME", f"{met}: set LIMIAR_STATE to a folder that can be written") from None
