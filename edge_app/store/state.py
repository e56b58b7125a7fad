"""limiar's state folder."""

import os
from pathlib import Path

from limiar.edge_app.errors import StoreError

DATABASE = "results.db"


def default_path() -> Path:
    """results.db in limiar's state folder. Raises StoreError."""
    return state_folder() / DATABASE


def state_folder() -> Path:
    """LIMIAR_STATE; if that is not set, $XDG_STATE_HOME/limiar; and if that is not set, ~/.local/state/limiar.

    Raises StoreError if there is no home folder: containers run users that have no account.
    """
    if state := os.environ.get("LIMIAR_STATE"):
        return Path(state)
    for name, below in (("XDG_STATE_HOME", "limiar"), ("HOME", ".local/state/limiar")):
        if (folder := os.environ.get(name, "")).startswith("/"):  # the specification says to ignore relative ones
            return Path(folder) / below
    import pwd  # only if the environment does not say

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/limiar"
    except KeyError:
        met = f"user {os.getuid()} has no home folder to keep results in"
        raise StoreError("E-STORE-HOME", f"{met}: set LIMIAR_STATE to a folder that can be written") from None
