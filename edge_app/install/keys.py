"""The keys that a device trusts for its updates: public keys in bundles/keys/, and revoked ones in bundles/keys/revoked/.

`limiar install --key` keeps the key once the first bundle that it signed is installed. From then on every bundle must be signed
by a kept key; whoever gives --key later asks for more, and never for less. Another key is added by hand: by whoever may write
the state folder, and could do anything there anyway.
"""

from collections.abc import Iterable
from pathlib import Path

from limiar.edge_app.bundle.signature import Keys, PublicKey, public_pem, read_public_key
from limiar.edge_app.errors import BundleError, printable
from limiar.edge_app.install.record import telling
from limiar.edge_app.system.files import sync_directory, write_whole

_KEYS = "keys"
_REVOKED = "revoked"
_MOST = 64  # key files that are read in a folder


def kept_keys(folder: Path) -> Keys | None:
    """The keys in bundles/keys/; None if there are none. Raises KeyFileError: one cannot be read, so nothing is installed."""
    trusted = _read(folder / _KEYS)
    return Keys(trusted, _read(folder / _KEYS / _REVOKED)) if trusted else None


def asked_keys(folder: Path, given: Keys | None) -> Keys | None:
    """The keys of which one must have signed a bundle: those given, as far as they are kept. None: none is asked for.

    Raises KeyFileError, and BundleError E-UPDATE-KEY: none of those given is kept.
    """
    kept = kept_keys(folder)
    if kept is None or given is None:
        return kept or given
    both = tuple(key for key in given.trusted if key in kept.trusted)
    if not both:
        names = ", ".join(key.fingerprint[:12] for key in kept.trusted)
        met = f"none of the given keys is one that this device trusts ({names})"
        raise BundleError("E-UPDATE-KEY", f"{met}: to add one, put its .pub file into {printable(str(folder / _KEYS))}")
    return Keys(both, (*kept.revoked, *given.revoked))


def keep_keys(folder: Path, given: Keys) -> None:
    """Keeps the first keys, on the disk; and always those that are revoked. Raises StoreError and KeyFileError."""
    if kept_keys(folder) is None:
        _write(folder / _KEYS, given.trusted)
    _write(folder / _KEYS / _REVOKED, given.revoked)


def _read(folder: Path) -> tuple[PublicKey, ...]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".pub")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    if len(paths) > _MOST:
        met = f"{printable(str(folder))} has over {_MOST} keys"
        raise BundleError("E-UPDATE-KEY", f"{met}: remove those that are not used any more")
    return tuple(map(read_public_key, paths))


def _write(folder: Path, keys: Iterable[PublicKey]) -> None:
    for key in keys:
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / f"{key.fingerprint[:12]}.pub", public_pem(key))
            for above in (folder.parent, folder.parent.parent):
                sync_directory(above)
