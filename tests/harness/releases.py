"""Small signed releases of the reference bundle, for tests of fleets."""

from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from install_cuts import small_release
from limiar.edge_app.bundle.manifest import GOLDEN
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import public_half, public_pem
from limiar.edge_app.bundle.write import write_bundle

BUNDLE = Path(__file__).resolve().parents[2] / "models" / "lung-nodule"


def signed_release(path: Path, counter: int, key: Ed25519PrivateKey | None, **changed: Any) -> Path:
    """A bundle with one model file and one golden image, signed. changed: other fields of its manifest."""
    bundle = open_bundle(small_release(path, BUNDLE, counter))
    contents = {file.path: bundle.read(file.path) for file in bundle.manifest.files}
    write_bundle(path, msgspec.structs.replace(bundle.manifest, **changed), contents, key)
    return path


def wrong_release(path: Path, counter: int, key: Ed25519PrivateKey) -> Path:
    """One whose golden image has another answer."""
    bundle = open_bundle(small_release(path, BUNDLE, counter))
    logits = msgspec.json.decode(bundle.read(GOLDEN))["logits"]
    other = {name: [[-x for x in row] for row in rows] for name, rows in logits.items()}
    bundle = open_bundle(small_release(path, BUNDLE, counter, logits=other))
    write_bundle(path, bundle.manifest, {file.path: bundle.read(file.path) for file in bundle.manifest.files}, key)
    return path


def public_file(path: Path, key: Ed25519PrivateKey) -> Path:
    """The public half of a key, as `limiar keygen` writes it."""
    path.write_bytes(public_pem(public_half(key)))
    return path
