"""A USB stick at a running service: a signed bundle is installed and answers, and the results are on the stick."""

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import read_keys
from limiar.edge_app.install.install import install
from running import REAL
from services import Service, noise
from updates import public_file, release

# The stick is a folder that the kernel would list like this.
PATCH = """
import sys
from pathlib import Path
from limiar.edge_app.install import stick
from limiar.edge_app.service import sticks
sticks._LOOK_S = 0.3
stick.MOUNTS, stick.BLOCK_DEVICES = Path({root!r}) / "mountinfo", Path({root!r}) / "dev"
stick._device = lambda path: path.stat().st_dev if "media" in path.parts else 1
"""
# The process that looks for sticks is another Python, not a fork.
PLUGGED = """
from limiar.edge_app.system import children
python_c = children.python_c
children.python_c = lambda code, *words: python_c({patch!r} + code, *words)
"""


def plugged(root: Path) -> str:
    patch = PATCH.format(root=str(root))
    return patch + PLUGGED.format(patch=patch) + REAL


@pytest.fixture
def root(tmp_path: Path) -> Path:
    disk = tmp_path / "devices" / "usb1" / "sda" / "sda1"
    disk.mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "8:1").symlink_to(disk)
    (tmp_path / "media" / "stick").mkdir(parents=True)
    (tmp_path / "mountinfo").write_text("")
    return tmp_path


def plug(root: Path) -> None:
    (root / "mountinfo").write_text(f"40 1 8:1 / {root}/media/stick rw - vfat /dev/sda1 rw\n")


def device(root: Path, tiny: Bundle, key: Ed25519PrivateKey) -> Service:
    """A service whose bundle, release 1, is signed, and which trusts that key."""
    public = public_file(root / "release.pub", key)
    stick = f'[update]\nstick = true\nstick_folders = ["{root}/media"]\n'
    service = Service(root / "device", "current", more=stick, script=plugged(root))
    service.config.write_text(service.config.read_text().replace("[answer]\n", f'[answer]\nkeys = ["{public}"]\n'))
    install(service.state, release(root / "one", tiny, 1, key), read_keys(public))
    return service


def test_a_signed_bundle_is_installed_and_the_results_are_copied(root: Path, tiny_bundle: Bundle) -> None:
    key = Ed25519PrivateKey.generate()
    new = open_bundle(release(root / "two", tiny_bundle, 2, key))
    write_archive(new, root / "media" / "stick" / "two.limiar")
    with device(root, tiny_bundle, key) as service:
        service.put("a.png", noise(1)[0])
        service.wait(service.done)
        plug(root)
        service.wait(lambda: len(service.rows("SELECT * FROM audit WHERE kind = 'start'")) == 2, 60)
        service.wait(lambda: list((root / "media" / "stick").rglob("results-*.csv")), 60)
        ((detail,),) = service.rows("SELECT detail FROM audit WHERE kind = 'start' ORDER BY id DESC LIMIT 1")
    assert msgspec.json.decode(str(detail))["bundle"] == new.sha256
    (copied,) = (root / "media" / "stick").rglob("results-*.csv")
    assert len(copied.read_text().splitlines()) == 2


def test_a_bundle_of_another_key_is_refused_and_the_service_goes_on(root: Path, tiny_bundle: Bundle) -> None:
    new = open_bundle(release(root / "two", tiny_bundle, 2, Ed25519PrivateKey.generate()))
    write_archive(new, root / "media" / "stick" / "two.limiar")
    plug(root)
    with device(root, tiny_bundle, Ed25519PrivateKey.generate()) as service:
        service.wait(lambda: "E-BUNDLE-SIGNATURE" in service.log.read_text(), 60)
        service.put("a.png", noise(1)[0])
        service.wait(service.done)
        assert len(service.rows("SELECT * FROM audit WHERE kind = 'start'")) == 1
