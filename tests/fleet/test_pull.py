"""A device pulls a bundle from a real nginx and installs it: over cut connections, killed at any time, never a wrong one."""

import contextlib
import hashlib
import io
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authority import Authority, Pair
from bundle_server import BundleServer, bundle_server
from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.fleet.desired import Pulling
from limiar.edge_app.fleet.fetch import Later, Server, Wanted, fetch
from limiar.edge_app.fleet.messages import Desired, Pull
from limiar.edge_app.health.log import Log
from limiar.edge_app.install.install import install, roll_back
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.service.uplink_child import UplinkJob
from needed import needed
from proxies import CuttingProxy
from releases import public_file, signed_release, wrong_release

KILLS = 12
SEED = 22
LONGEST_S = 120.0
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def client(authority: Authority) -> Pair:
    return authority.client("one")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[Path, BundleServer]]:
    """A folder, and what serves it."""
    folder = tmp_path_factory.mktemp("served")
    with needed(bundle_server(folder / "nginx", folder / "bundles", authority)) as server:
        yield folder / "bundles", server


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Release 1."""
    return signed_release(tmp_path_factory.mktemp("first") / "one", 1, KEY)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Release 2, as `limiar pack` writes it."""
    folder = tmp_path_factory.mktemp("second")
    return packed(signed_release(folder / "two", 2, KEY))


def packed(bundle: Path) -> Path:
    path = bundle.with_name(f"{bundle.name}.limiar")
    write_archive(open_bundle(bundle), path)
    return path


class Device:
    """A state folder with release 1, good, and what an uplink would do about bundles."""

    def __init__(self, folder: Path, address: str, authority: Authority, pair: Pair, key: Path | None, first: Path) -> None:
        self.state = folder / "state"
        install(self.state, first)
        slots = Slots(self.state)
        slots.start()
        slots.good()
        files = {"authority": authority.certificate, "certificate": pair.certificate, "key": pair.key}
        self._fleet = FleetSection(broker="127.0.0.1:1", bundles=address, **{name: str(path) for name, path in files.items()})
        self._keys = (str(key),) if key else ()
        self.pulling = self.started()

    def started(self, address: str | None = None) -> Pulling:
        """Its uplink, new, as after a start."""
        fleet = msgspec.structs.replace(self._fleet, bundles=self._fleet.bundles if address is None else address)
        job = UplinkJob(fleet, str(self.state), self._keys, (), None, None, ())
        return Pulling(job, Log("error", io.StringIO()), first_s=0.05)

    @property
    def current(self) -> str:
        """The bundle that loads."""
        return open_bundle(self.state / "bundles" / "current").sha256

    def until(self, done: Callable[[Pull], bool]) -> Pull:
        """Turns until then."""
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end:
            pull = self.pulling.turn()
            if pull and done(pull):
                return pull
            time.sleep(0.01)
        raise AssertionError(f"still {self.pulling.pull}")


def over(pull: Pull) -> bool:
    return pull.state in ("installed", "refused")


@pytest.fixture
def device(
    tmp_path: Path,
    served: tuple[Path, BundleServer],
    authority: Authority,
    client: Pair,
    first: Path,
) -> Iterator[Device]:
    made = Device(tmp_path, served[1].address, authority, client, public_file(tmp_path / "release.pub", KEY), first)
    yield made
    made.pulling.close()


def desired(served: Path, archive: Path, **changed: object) -> Desired:
    """A roll-out of a file, which is put where the web server finds it."""
    data = archive.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    (served / f"{sha256}.limiar").write_bytes(data)
    bundle = open_bundle(archive.with_suffix("")).sha256
    made = Desired(
        rollout=1, bundle=bundle, archive=sha256, bytes=len(data), counter=2, name="lung", version="2", action="install"
    )
    return msgspec.structs.replace(made, **changed)


def test_a_desired_bundle_is_pulled_and_installed_and_is_on_trial(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    wanted = desired(served[0], second)
    device.pulling.desired(wanted)
    pull = device.until(over)
    assert (pull.state, pull.code, pull.bundle) == ("installed", "", wanted.bundle)
    assert device.current == wanted.bundle
    current = Slots(device.state).status().current
    assert current
    assert not current.good
    assert not list((device.state / "fleet").glob("*.part"))
    device.pulling = device.started()
    device.pulling.desired(wanted)
    assert device.until(over).state == "installed"  # at once, from the slots


def test_every_second_connection_is_cut_and_the_slots_see_nothing_of_it(
    device: Device, served: tuple[Path, BundleServer], tmp_path: Path
) -> None:
    rng, size = random.Random(SEED), 0
    known = [device.current]
    for counter in range(2, 6):
        archive = packed(signed_release(tmp_path / str(counter), counter, KEY))
        wanted, size = desired(served[0], archive), archive.stat().st_size
        with contextlib.closing(CuttingProxy(served[1].port, rng, within=size)) as proxy:
            device.pulling.close()
            device.pulling = device.started(proxy.address)
            device.pulling.desired(wanted)
            current = device.current
            while not over(pull := device.until(lambda pull: True)):
                assert current == known[-1] or pull.state == "installing"
                time.sleep(0.05)
                current = device.current  # before the next state: the installation may end between the two
            assert (pull.state, device.current) == ("installed", wanted.bundle)
            assert proxy.cuts > 0
            assert proxy.sent < 1.5 * size  # what has come is not fetched again
        known.append(wanted.bundle)


def test_a_file_that_comes_in_many_small_parts_is_whole_in_the_end(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    size = second.stat().st_size
    with contextlib.closing(CuttingProxy(served[1].port, random.Random(SEED), within=size // 4, every=1)) as proxy:
        device.pulling = device.started(proxy.address)
        device.pulling.desired(desired(served[0], second))
        assert device.until(over).state == "installed"
        assert proxy.cuts >= 5


def test_killed_at_any_moment_the_device_has_a_whole_bundle_and_gets_the_new_one_in_the_end(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    rng = random.Random(SEED)
    wanted, begun = desired(served[0], second), time.monotonic()
    known = {device.current, wanted.bundle}
    device.pulling.desired(wanted)
    device.until(over)
    longest_s = 1.2 * (time.monotonic() - begun)
    kills, counter = 0, 2
    while kills < KILLS:
        device.pulling = device.started()
        device.pulling.desired(wanted)
        device.pulling.turn()
        time.sleep(rng.uniform(0.0, longest_s))
        pull = device.pulling.turn()
        assert device.current in known
        if pull and over(pull):
            assert pull.state == "installed"
            roll_back(device.state)  # and once more, as another release
            counter += 1
            archive = packed(signed_release(device.state.parent / str(counter), counter, KEY))
            wanted = desired(served[0], archive)
            known.add(wanted.bundle)
            continue
        device.pulling.close()  # SIGKILL
        kills += 1
        assert device.current in known
    device.pulling = device.started()
    device.pulling.desired(wanted)
    assert device.until(over).state == "installed"
    assert device.current == wanted.bundle


def other_bytes(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    wanted = desired(served, second)
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    sha256 = hashlib.sha256(data).hexdigest()
    (served / f"{sha256}.limiar").write_bytes(data)
    return msgspec.structs.replace(wanted, archive=sha256), "E-ARCHIVE-DATA"


def other_sha256(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    (served / f"{'a' * 64}.limiar").write_bytes(data)
    return msgspec.structs.replace(desired(served, second), archive="a" * 64), "E-FLEET-HASH"


def other_size(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    wanted = desired(served, second)
    return msgspec.structs.replace(wanted, bytes=wanted.bytes - 1), "E-FLEET-SIZE"


def too_large(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    return desired(served, second, bytes=1 << 40), "E-FLEET-SIZE"


def other_bundle(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    return desired(served, second, bundle="b" * 64), "E-FLEET-BUNDLE"


def older(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    return desired(served, packed(signed_release(folder / "older", 0, KEY))), "E-UPDATE-OLDER"


def unsigned(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    return desired(served, packed(signed_release(folder / "unsigned", 3, None))), "E-BUNDLE-SIGNATURE-MISSING"


def other_key(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    key = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    return desired(served, packed(signed_release(folder / "other", 3, key))), "E-BUNDLE-SIGNATURE-WRONG"


def wrong_answers(served: Path, second: Path, folder: Path) -> tuple[Desired, str]:
    return desired(served, packed(wrong_release(folder / "wrong", 3, KEY))), "E-UPDATE-ANSWERS"


CASES = (other_bytes, other_sha256, other_size, too_large, other_bundle, older, unsigned, other_key, wrong_answers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_wrong_one_is_refused_by_its_code_and_the_slots_are_as_they_were(
    device: Device, served: tuple[Path, BundleServer], second: Path, tmp_path: Path, case: Callable[..., tuple[Desired, str]]
) -> None:
    before = Slots(device.state).status()
    wanted, code = case(served[0], second, tmp_path)
    device.pulling.desired(wanted)
    pull = device.until(over)
    assert (pull.state, pull.code) == ("refused", code)
    assert Slots(device.state).status() == before


def test_without_a_key_or_an_address_a_device_takes_none(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    wanted = desired(served[0], second)
    device.pulling = device.started("")
    device.pulling.desired(wanted)
    assert device.until(over).code == "E-FLEET-BUNDLES"
    device._keys = ()
    device.pulling = device.started()
    device.pulling.desired(wanted)
    assert device.until(over).code == "E-FLEET-KEYS"
    assert not list((device.state / "fleet").glob("*.part"))


def test_a_server_that_sends_the_device_elsewhere_is_not_followed(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    device.pulling = device.started(served[1].address.replace("/limiar", "/elsewhere"))
    device.pulling.desired(desired(served[0], second))
    assert device.until(over).code == "E-FLEET-REDIRECT"


def test_a_server_of_another_authority_or_a_file_that_is_not_there_is_tried_again(
    device: Device,
    served: tuple[Path, BundleServer],
    second: Path,
    tmp_path: Path,
    authority: Authority,
    client: Pair,
    first: Path,
) -> None:
    missing = msgspec.structs.replace(desired(served[0], second), archive="c" * 64)
    device.pulling.desired(missing)
    pull = device.until(lambda pull: pull.code != "")
    assert (pull.state, pull.code) == ("waiting", "E-FLEET-FETCH")
    assert "404" in pull.message
    other = Authority(tmp_path / "other")
    stranger = Device(tmp_path / "stranger", served[1].address, other, client, tmp_path / "release.pub", first)
    stranger.pulling.desired(desired(served[0], second))
    pull = stranger.until(lambda pull: pull.code != "")
    stranger.pulling.close()
    assert (pull.state, pull.code) == ("waiting", "E-FLEET-FETCH")
    assert "certificate" in pull.message


def test_back_is_done_once_and_a_person_who_goes_forward_again_is_not_contradicted(
    device: Device, served: tuple[Path, BundleServer], second: Path
) -> None:
    before = device.current
    wanted = desired(served[0], second)
    device.pulling.desired(wanted)
    device.until(over)
    slots = Slots(device.state)
    slots.start()
    slots.good()
    back = msgspec.structs.replace(wanted, action="back")
    device.pulling.desired(back)
    assert device.until(over).state == "installed"
    assert device.current == before
    device.pulling.desired(wanted)
    assert device.until(over).code == "E-UPDATE-LEFT"
    roll_back(device.state)  # forward
    device.pulling = device.started()
    device.pulling.desired(back)
    assert device.until(over).state == "installed"
    assert device.current == wanted.bundle


def test_one_that_falls_back_in_its_trial_says_so(device: Device, served: tuple[Path, BundleServer], second: Path) -> None:
    device.pulling.desired(desired(served[0], second))
    device.until(over)
    for _ in range(4):
        Slots(device.state).start()
    assert device.until(lambda pull: pull.state == "refused").code == "E-UPDATE-LEFT"


class Endless:
    """A web server that answers with whatever it is given, again and again, as slowly as wanted."""

    def __init__(self, head: bytes, body: bytes, wait_s: float = 0.0) -> None:
        self._head, self._body, self._wait_s = head, body, wait_s
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.server = Server(f"http://127.0.0.1:{self._listening.getsockname()[1]}/")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        with client:
            client.recv(1 << 16)
            try:
                client.sendall(self._head)
                while True:
                    client.sendall(self._body)
                    time.sleep(self._wait_s)
            except OSError:
                return


def test_a_server_that_sends_for_ever_is_ended(tmp_path: Path) -> None:
    wanted = Wanted("d" * 64, 100_000)
    with pytest.raises(Exception, match="E-FLEET-SIZE"):
        fetch(Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096).server, wanted, tmp_path, lambda there: None)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 0
    for slow in (Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.1), Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1)):
        begun = time.monotonic()
        with pytest.raises(Later, match="E-FLEET-FETCH"):
            fetch(slow.server, wanted, tmp_path, lambda there: None, stalled_s=0.5)
        assert time.monotonic() - begun < 60  # it would be for ever
