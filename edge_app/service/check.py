"""Checks a configuration and what it names: `limiar run --check`."""

import os
from pathlib import Path

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import read_keys
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.install.current import current_bundle
from limiar.edge_app.service.config import CURRENT, read_config
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.text import counted


def check_config(path: Path) -> str:
    """Reads a configuration, and opens the keys, the bundle and the folders that it names; says for a person what it found.

    Raises LimiarError for the first thing that a service could not use.
    """
    config = read_config(path)
    answer = config.answer
    keys = read_keys(*answer.keys, revoked=answer.revoked) if answer.keys else None
    path_of = current_bundle(state_folder()) if answer.bundle == CURRENT else answer.bundle
    manifest = open_bundle(path_of, keys).manifest
    for folder in config.folder:
        if not os.access(folder.path, os.R_OK | os.W_OK | os.X_OK):
            met = f"the folder {printable(folder.path)} of {folder.source} is missing, or its files cannot be moved"
            raise LimiarError("E-CONFIG-FOLDER", f"{met}: make it, and let this user write there")
    sources = (counted(len(config.folder), "folder"), counted(len(config.camera), "camera"))
    return f"{printable(str(path))} is right: {manifest.name} {manifest.version}, {' and '.join(sources)}"
