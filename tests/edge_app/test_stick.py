"""USB sticks: what is installed from one, what is not, and results that are copied onto it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half
from limiar.edge_app.errors import LimiarError, OutputError
from limiar.edge_app.install import install as install_module
from limiar.edge_app.install import proof, stick
from limiar.edge_app.install.install import install
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.install.stick import Stick, Sticks, copy_results, mounted_sticks
from privileges import need_root
from updates import release

KEY = Ed25519PrivateKey.generate()
KEYS = Keys((public_half(KEY),))


@pytest.fixture(autouse=True)
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_module, "prove", lambda bundle, file, runtime: proof.Proof("tflite_int8", "litert 0"))


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stick, as the kernel would list it, at media/STICK."""
    folder = tmp_path / "media" / "my stick"
    folder.mkdir(parents=True)
    disk = tmp_path / "sys" / "devices" / "usb1" / "1-1" / "block" / "sda" / "sda1"
    disk.mkdir(parents=True)
    numbers = tmp_path / "sys" / "dev"
    numbers.mkdir()
    (numbers / "8:1").symlink_to(disk)
    monkeypatch.setattr(stick, "BLOCK_DEVICES", numbers)
    monkeypatch.setattr(stick, "MOUNTS", tmp_path / "mountinfo")
    # The state folder of the tests is on the same disk.
    monkeypatch.setattr(stick, "_device", lambda path: 801 if "media" in path.parts else 1)
    listed(tmp_path, folder)
    return folder


def listed(tmp_path: Path, path: Path, mount: int = 40, kind: str = "vfat", options: str = "rw,relatime") -> None:
    escaped = str(path).replace(" ", r"\040")
    line = f"{mount} 1 8:1 / {escaped} {options} shared:1 - {kind} /dev/sda1 rw\n"
    (tmp_path / "mountinfo").write_text("22 1 0:5 / / rw - ext4 /dev/root rw\nnonsense\n" + line)


def sticks(tmp_path: Path, keys: Keys | None = KEYS) -> Sticks:
    (tmp_path / "state").mkdir(exist_ok=True)
    return Sticks(tmp_path / "state", keys, [tmp_path / "media"])


def put(plugged: Path, tiny: Bundle, counter: int, key: Ed25519PrivateKey | None = KEY) -> Path:
    made = release(plugged.parents[1] / f"made-{counter}", tiny, counter, key, small=True)
    path = plugged / f"{counter}.limiar"
    write_archive(open_bundle(made), path)
    return path


def test_the_newest_signed_bundle_of_a_stick_is_installed_once(tmp_path: Path, plugged: Path, tiny_bundle: Bundle) -> None:
    for counter in (1, 3, 2):
        put(plugged, tiny_bundle, counter)
    looking = sticks(tmp_path)
    (found,) = looking.look()
    assert (found.name, found.installed.version) == ("3.limiar", "0.3.0")
    assert looking.look() == []
    listed(tmp_path, plugged, mount=41)  # pulled out and plugged in again
    assert looking.look() == []
    assert Slots(tmp_path / "state").status().current.version == "0.3.0"


def test_its_key_is_not_kept_so_that_the_configuration_can_change(tmp_path: Path, plugged: Path, tiny_bundle: Bundle) -> None:
    put(plugged, tiny_bundle, 1)
    sticks(tmp_path).look()
    assert not (tmp_path / "state" / "bundles" / "keys").exists()


@pytest.mark.parametrize(
    ("key", "keys", "code"),
    [
        (None, KEYS, "E-BUNDLE-SIGNATURE-MISSING"),
        (Ed25519PrivateKey.generate(), KEYS, "E-BUNDLE-SIGNATURE-WRONG"),
        (KEY, None, "E-UPDATE-KEY"),
    ],
)
def test_without_a_trusted_signature_nothing_is_installed(
    tmp_path: Path, plugged: Path, tiny_bundle: Bundle, key: Ed25519PrivateKey | None, keys: Keys | None, code: str
) -> None:
    put(plugged, tiny_bundle, 1, key)
    (found,) = sticks(tmp_path, keys).look()
    assert (found.installed, found.code) == (None, code)
    assert Slots(tmp_path / "state").status().current is None


def test_a_bundle_that_failed_here_or_was_rolled_back_is_not_installed_again(
    tmp_path: Path, plugged: Path, tiny_bundle: Bundle
) -> None:
    state = tmp_path / "state"
    install(state, put(plugged, tiny_bundle, 1))
    Slots(state).start()
    put(plugged, tiny_bundle, 2)
    sticks(tmp_path).look()
    slots = Slots(state)
    slots.start()
    assert slots.fail("it crashed")
    assert [found.code for found in sticks(tmp_path).look()] == ["E-UPDATE-LEFT"]
    assert Slots(state).status().current.version == "0.1.0"


def test_a_bad_archive_does_not_keep_the_good_one_out(tmp_path: Path, plugged: Path, tiny_bundle: Bundle) -> None:
    put(plugged, tiny_bundle, 1)
    (plugged / "0.limiar").write_bytes(b"PK\x03\x04 and so on")
    found = sticks(tmp_path).look()
    assert [(one.name, one.code) for one in found] == [("0.limiar", "E-ARCHIVE-FORMAT"), ("1.limiar", "")]


def test_only_plain_files_of_the_top_folder_are_read(tmp_path: Path, plugged: Path, tiny_bundle: Bundle) -> None:
    made = put(plugged, tiny_bundle, 1)
    made.rename(tmp_path / "elsewhere")
    (plugged / "link.limiar").symlink_to(tmp_path / "elsewhere")
    (plugged / "below").mkdir()
    shutil.copy(tmp_path / "elsewhere", plugged / "below" / "1.limiar")
    shutil.copy(tmp_path / "elsewhere", plugged / ".hidden.limiar")
    shutil.copytree(release(tmp_path / "made", tiny_bundle, 2, KEY, small=True), plugged / "folder.limiar")
    os.mkfifo(plugged / "fifo.limiar")
    assert sticks(tmp_path).look() == []


@pytest.mark.parametrize("kind", ["nfs4", "tmpfs", "overlay", "fuse.sshfs"])
def test_what_is_not_a_disk_is_no_stick(tmp_path: Path, plugged: Path, kind: str) -> None:
    listed(tmp_path, plugged, kind=kind)
    assert list(mounted_sticks([tmp_path / "media"])) == []


def test_a_disk_that_stays_in_the_device_is_no_stick_and_one_that_says_so_is(tmp_path: Path, plugged: Path) -> None:
    disk = tmp_path / "sys" / "devices" / "pci" / "block" / "sdb"
    (disk / "sdb1").mkdir(parents=True)
    (tmp_path / "sys" / "dev" / "8:1").unlink()
    (tmp_path / "sys" / "dev" / "8:1").symlink_to(disk / "sdb1")
    assert list(mounted_sticks([tmp_path / "media"])) == []
    for says, sticks_found in (("0\n", 0), ("1\n", 1)):
        (disk / "removable").write_text(says)
        assert len(list(mounted_sticks([tmp_path / "media"]))) == sticks_found


def test_a_stick_elsewhere_and_the_disk_of_the_state_folder_are_left_alone(
    tmp_path: Path, plugged: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(plugged, tiny_bundle, 1)
    assert list(mounted_sticks([tmp_path / "mnt"])) == []
    monkeypatch.setattr(stick, "_device", lambda path: 1)
    assert sticks(tmp_path).look() == []


def whole_of(folder: Path) -> Stick:
    return Stick(folder, 40, folder.stat().st_dev, False)


def export(write: Callable[[bytes], None]) -> None:
    write(b"path,decision\n")
    write(b"one.png,pos\n")


def test_results_are_copied_whole_into_a_folder_of_the_device(tmp_path: Path) -> None:
    path = copy_results(whole_of(tmp_path), "results.csv", export)
    assert path == tmp_path / "limiar-results" / socket.gethostname() / "results.csv"
    assert path.read_bytes() == b"path,decision\none.png,pos\n"


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = copy_results(whole_of(tmp_path), "results.csv", export)
    before = path.read_bytes()

    def broken(write: Callable[[bytes], None]) -> None:
        write(b"half")
        raise LimiarError("E-STORE-READ", "the store is damaged")

    with pytest.raises(LimiarError, match="E-STORE-READ"):
        copy_results(whole_of(tmp_path), "results.csv", broken)
    assert [file.read_bytes() for file in path.parent.iterdir()] == [before]


@pytest.mark.parametrize("name", ["limiar-results", f"limiar-results/{socket.gethostname()}", "limiar-results/h/results.csv"])
def test_a_link_on_a_stick_does_not_lead_results_elsewhere(tmp_path: Path, name: str) -> None:
    on_stick, elsewhere = tmp_path / "stick", tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = on_stick / name.replace("/h/", f"/{socket.gethostname()}/")
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(OutputError, match="plain f"):
        copy_results(whole_of(on_stick), "results.csv", export)
    assert list(elsewhere.iterdir()) == []


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Path]:
    """A real file system, mounted."""
    need_root("mkfs.ext4", "mount")
    image, mount = tmp_path / "image", tmp_path / "media" / "real"
    mount.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=False)


def test_a_real_stick_is_read_and_written(
    tmp_path: Path, real: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(real, tiny_bundle, 1)
    monkeypatch.setattr(stick, "_removable", lambda number: True)  # a loop device is not
    looking = sticks(tmp_path)
    (found,) = looking.look()
    assert found.installed
    (there,) = looking.sticks
    assert copy_results(there, "results.csv", export).read_bytes().startswith(b"path")
    subprocess.run(["mount", "-o", "remount,ro", real], check=True)
    with pytest.raises(OutputError, match="E-OUTPUT-WRITE"):
        copy_results(there, "results.csv", export)
