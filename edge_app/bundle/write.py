"""Writes a bundle, whole or not at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE, Manifest, manifest_json, parse_manifest
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half, sign
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.system.files import partial_folder, replace_folder, sync_directory, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def write_bundle(path: Path, manifest: Manifest, contents: dict[str, bytes], key: "Ed25519PrivateKey | None" = None) -> None:
    """Writes a bundle at `path`, whole or not at all, signed if there is a key. An existing bundle is replaced.

    `manifest.files` must describe `contents` (relative path -> bytes) exactly. Raises BundleError, and OSError.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise BundleError(
            "E-BUNDLE-OUT", f"{printable(str(path))} exists and is not a bundle: choose another --out, or move it away"
        )
    raw = manifest_json(manifest)
    parse_manifest(raw, where=printable(str(path)))
    with partial_folder(path) as partial:
        for name, data in contents.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data)
        if key is not None:
            write_whole(partial / SIGNATURE, sign(raw, key))
        # Manifest last: a directory without one is an unfinished bundle.
        write_whole(partial / MANIFEST, raw)
        for folder in {partial, *(file.parent for file in partial.rglob("*"))}:
            sync_directory(folder)
        open_bundle(partial, Keys((public_half(key),)) if key is not None else None)
        replace_folder(partial, path)
