"""Which program ran: the hash of its files."""

import functools
import hashlib
import os
from pathlib import Path

import limiar.edge_app


@functools.cache
def app_sha256() -> bytes:
    """sha256 over name, size and bytes of every file of edge_app, in name order, without Python's caches: 3 ms."""
    root = str(Path(limiar.edge_app.__file__).parent)
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".pyc"):
                continue
            path = os.path.join(folder, name)
            with open(path, "rb", buffering=0) as file:
                data = file.read()
            digest.update(f"{path[len(root) :]}\0{len(data)}\0".encode(errors="surrogateescape") + data)
    return digest.digest()
