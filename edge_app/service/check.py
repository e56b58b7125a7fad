"""Checks a configuration and what it names: `limiar run --check`."""

import os
from importlib.util import find_spec
from pathlib import Path

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import read_keys
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.install.current import current_bundle
from limiar.edge_app.service.config import CURRENT, FleetSection, read_config
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
    _check_fleet(config.fleet)
    sources = (counted(len(config.folder), "folder"), counted(len(config.camera), "camera"))
    return f"{printable(str(path))} is right: {manifest.name} {manifest.version}, {' and '.join(sources)}"


def _check_fleet(fleet: FleetSection) -> None:
    """Raises LimiarError: what the uplink needs is not there."""
    if fleet.broker and find_spec("paho") is None:
        raise LimiarError("E-INSTALL-MISSING", "[fleet] needs paho-mqtt, which is not installed: pip install 'limiar[fleet]'")
    for path in filter(None, (fleet.authority, fleet.certificate, fleet.key)):
        if not os.access(path, os.R_OK):
            met = f"[fleet] names {printable(path)}, which is missing or cannot be read"
            raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: give PEM files that this user can read")
