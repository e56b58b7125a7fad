"""A device with a signed bundle, a running service and its page, and generated CT-like patches to show it."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.install.install import install
from limiar.edge_app.install.slots import Slots
from limiar.train.data.phantom_folder import write_phantoms
from ports import free_port
from services import Service


class PageDevice(Service):
    """`limiar run` with a page, and release 1 of a bundle that is good; whoever has the key signs the next."""

    def __init__(self, folder: Path, reference: Path, *, more: str = "", page: str = "", patches: int = 60) -> None:
        """reference: a bundle; more, page: of the configuration, and of its section [page]; patches: how many there are."""
        port = free_port()
        super().__init__(folder, "current", more=f'{more}\n[page]\nlisten = "127.0.0.1:{port}"\n{page}')
        self.url = f"http://127.0.0.1:{port}/"
        self.key, self._reference = Ed25519PrivateKey.generate(), open_bundle(reference)
        install(self.state, self.packed(1, self.key), Keys((public_half(self.key),)))
        slots = Slots(self.state)
        slots.start()
        slots.good()
        write_phantoms(folder / "patches", patches, seed=5)
        self.patches: Sequence[Path] = sorted((folder / "patches").iterdir())

    def packed(self, counter: int, key: Ed25519PrivateKey | None = None) -> Path:
        """A file with a release of the bundle, signed if there is a key."""
        folder = self.folder / f"release-{counter}-{'signed' if key else 'unsigned'}"
        manifest = msgspec.structs.replace(self._reference.manifest, version=f"0.{counter}.0", release_counter=counter)
        contents = {file.path: self._reference.read(file.path) for file in manifest.files}
        write_bundle(folder, manifest, contents, key)
        file = folder.with_name(f"{folder.name}.limiar")
        write_archive(open_bundle(folder), file)
        return file

    def ready(self) -> None:
        """Waits until a browser can open the page."""
        self.wait(self._served, 60)

    def answer(self, patches: Sequence[Path]) -> None:
        """Has patches answered."""
        for patch in patches:
            self.put(patch.name, patch.read_bytes())
        done = self.inbox / "done"
        self.wait(lambda: all((done / patch.name).exists() for patch in patches), 60)

    def _served(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}healthz", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True  # it answers, that something is wrong
        except OSError:
            return False
