"""Checks a configuration and what it names: `limiar collect --check`."""

import os
from pathlib import Path

from limiar.edge_app.collect.config import read_config
from limiar.edge_app.collect.database import FleetDatabase, check_place, shown
from limiar.edge_app.collect.run import open_link
from limiar.edge_app.errors import LimiarError, StoreError, printable


def check_config(path: Path) -> str:
    """Reads a configuration, and opens the certificates, the database and the folders that it names.

    Returns what it found, for a person. Raises LimiarError for the first thing that a collector could not use.
    """
    config = read_config(path)
    open_link(config.broker, "check")
    for key, folder in (("images.folder", config.images.folder), ("bundles.folder", config.bundles.folder)):
        if folder and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            met = f"{key}: {printable(folder)} is missing, or this user cannot write there"
            raise LimiarError("E-CONFIG-FOLDER", f"{met}: make it, and let this user write there")
    return f"{printable(str(path))} is right: {config.broker.address}, {_database(config.database.url)}"


def _database(url: str) -> str:
    try:
        with FleetDatabase(url) as database:
            return database.where
    except StoreError as error:
        if error.code != "E-COLLECT-MISSING":
            raise
        check_place(url)
        return f"{printable(shown(url))}, whose tables the first start makes"
