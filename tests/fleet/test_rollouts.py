"""Roll-outs: a share of the devices after the other, halted by what fails, and back; devices are played, the rest is real."""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.collect import ask_rollout
from limiar.edge_app.collect.ask_rollout import Terms
from limiar.edge_app.collect.config import BundlesSection, CollectConfig, DatabaseSection
from limiar.edge_app.collect.database import FleetDatabase
from limiar.edge_app.collect.judging import wanted
from limiar.edge_app.collect.receiver import Message, Receiver
from limiar.edge_app.collect.rollouts import RollOuts
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.messages import Desired, Pull
from limiar.edge_app.health.log import Log
from limiar.edge_app.system.clock import iso
from releases import signed_release
from senders import status

OLD = "0" * 64
HOUR = 3600.0


class Played:
    """A device: takes a turn towards what is desired of it, as its manner is."""

    def __init__(self, name: str, manner: str = "good", group: str = "north") -> None:
        self.name, self.manner, self.group = name, manner, group
        self.bundle, self.on_trial, self.turns = OLD, False, 0
        self.desired: Desired | None = None
        self.pull: Pull | None = None
        self.away = False

    def told(self, desired: Desired | None) -> None:
        self.desired, self.turns, self.pull = desired, 0, None

    def turn(self) -> None:
        if self.desired is None or self.away:
            return
        self.turns += 1
        if self.desired.action == "back":
            self.bundle = OLD
            self._say("installed")
        elif self.bundle == self.desired.bundle:
            self.on_trial = False
            if self.manner == "falls":
                self.bundle, self.manner = OLD, "fell"
                self._say("refused", "E-UPDATE-LEFT", "it had this one, and left")
        elif self.manner == "fell":
            self._say("refused", "E-UPDATE-LEFT", "it had this one, and left")
        elif self.manner == "refuses":
            self._say("refused", "E-FLEET-HASH", "another sha256")
        elif self.turns == 1:
            self._say("pulling")
        elif self.turns == 2:
            self._say("installing")
        elif self.manner == "dies":
            self.away = True
        else:
            self.bundle, self.on_trial = self.desired.bundle, True
            self._say("installed")

    def status(self) -> Message:
        bundle = {"name": "lung", "version": "1", "sha256": self.bundle, "counter": 1, "file": "f", "runtime": "r"}
        drift = (
            [{"statistic": "brightness", "message": "dark", "age_s": 1}]
            if self.manner == "drifts" and self.bundle != OLD
            else []
        )
        told = status(bundle=bundle | {"verified": "bundle", "on_trial": self.on_trial}, drift=drift)
        told["fleet"] = {"groups": [self.group], "desired": self.pull and msgspec.to_builtins(self.pull)}
        return Message(f"limiar/{self.name}/up/status", json.dumps(told).encode())

    def _say(self, state: str, code: str = "", message: str = "") -> None:
        assert self.desired
        one = self.desired
        self.pull = Pull(
            rollout=one.rollout,
            bundle=one.bundle,
            archive=one.archive,
            state=state,
            code=code,
            message=message,
            attempt=one.attempt,
        )  # type: ignore[arg-type]


class Field:
    """A fleet and its collector, whose clock the test turns."""

    def __init__(self, config: CollectConfig, database: FleetDatabase, release: Path) -> None:
        self.config, self._database, self.release = config, database, release
        self.log, self.now_s = io.StringIO(), 1_800_000_000.0
        self.devices: dict[str, Played] = {}
        self.collector_starts()
        self._receiver = Receiver(now=self._now)

    def collector_starts(self) -> None:
        self._rollouts = RollOuts(Log(stream=self.log), now=self._now)

    def add(self, *devices: Played) -> None:
        self.devices |= {one.name: one for one in devices}
        self._hear(*devices)

    def begin(self, **terms: object) -> int:
        return ask_rollout.begin_rollout(self.config, self.release, Terms(**terms)).id  # type: ignore[arg-type]

    def turn(self, count: int = 1, seconds: float = 10.0) -> None:
        """The collector decides, devices hear it and go on."""
        for _ in range(count):
            self.now_s += seconds
            with self._database.engine.begin() as connection:
                changed = self._rollouts.turn(connection)
            self._rollouts.told(changed)
            for name, desired in changed.items():
                if not self.devices[name].away:
                    self.devices[name].told(desired)
            for one in self.devices.values():
                one.turn()
            self._hear(*self.devices.values())

    def have(self) -> int:
        """Devices with the new bundle."""
        return sum(one.bundle != OLD for one in self.devices.values())

    def found(self, number: int = 1) -> ask_rollout.RollOutFound:
        return next(one for one in ask_rollout.all_rollouts(self.config) if one.rollout.id == number)

    def state(self, number: int = 1) -> str:
        return self.found(number).rollout.state

    def _now(self) -> str:
        return iso(int(self.now_s * 1e9))

    def _hear(self, *devices: Played) -> None:
        with self._database.engine.begin() as connection:
            for one in devices:
                if not one.away:
                    self._receiver.take(connection, one.status())
                online = b"false" if one.away else b"true"
                self._receiver.take(connection, Message(f"limiar/{one.name}/up/online", online))


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, key: Ed25519PrivateKey) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    path = folder / "lung-2.limiar"
    write_archive(open_bundle(signed_release(folder / "two", 2, key)), path)
    return path


@contextlib.contextmanager
def fielded(url: str, folder: Path, release: Path) -> Iterator[Field]:
    config = CollectConfig(database=DatabaseSection(url), bundles=BundlesSection(str(folder / "bundles")))
    with FleetDatabase(url, make=True) as database:
        yield Field(config, database, release)


@pytest.fixture
def field(tmp_path: Path, release: Path) -> Iterator[Field]:
    with fielded(f"sqlite:///{tmp_path}/fleet.db", tmp_path, release) as made:
        yield made


@pytest.fixture
def each(url: str, tmp_path: Path, release: Path) -> Iterator[Field]:
    """On SQLite, and on PostgreSQL."""
    with fielded(url, tmp_path, release) as made:
        yield made


def many(count: int, manner: Callable[[int], str] = lambda number: "good") -> list[Played]:
    return [Played(f"d{number:02d}", manner(number)) for number in range(count)]


def test_a_bundle_goes_to_a_share_after_the_other_once_each_was_good_for_the_soak_time(each: Field) -> None:
    each.add(*many(20))
    each.begin(shares=(5.0, 25.0, 100.0), soak_s=HOUR)
    each.turn(10)
    assert each.have() == 1
    assert each.found().counts == {"good": 1}
    each.turn(8, HOUR / 10)
    assert each.have() == 1
    each.turn(6, HOUR / 10)
    assert each.have() == 5
    each.turn(16, HOUR / 10)
    assert each.have() == 20
    assert each.state() == "running"
    each.turn(10, HOUR / 5)
    assert each.state() == "done"
    sha256 = hashlib.sha256(each.release.read_bytes()).hexdigest()
    served = Path(each.config.bundles.folder) / f"{sha256}.limiar"
    assert served.read_bytes() == each.release.read_bytes()
    assert served.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("manner", "told"),
    [
        ("falls", "E-UPDATE-LEFT"),
        ("refuses", "E-FLEET-HASH"),
        ("dies", "not been heard of"),
        ("drifts", "W-DRIFT"),
    ],
)
def test_it_halts_at_the_first_device_on_which_the_bundle_does_badly(field: Field, manner: str, told: str) -> None:
    field.add(*many(20, lambda number: manner))
    field.begin(shares=(10.0, 100.0), soak_s=0.0)
    field.turn(20, 60.0)
    found = field.found()
    assert found.rollout.state == "halted"
    assert told in found.rollout.why
    assert len(found.devices) == 2
    assert "E-ROLLOUT-HALTED" in field.log.getvalue()
    field.turn(20, HOUR)
    assert len(field.found().devices) == 2


def test_as_many_may_fail_as_were_allowed(field: Field) -> None:
    field.add(*many(10, lambda number: "falls" if number < 2 else "drifts" if number < 5 else "good"))
    field.begin(shares=(50.0, 100.0), soak_s=0.0, failures=2, drifting=3)
    field.turn(20)
    assert field.state() == "done"
    assert field.found().counts == {"good": 8, "failed": 2}


def test_a_device_that_comes_late_gets_it_too_and_one_that_is_away_does_not_hold_it_up(field: Field) -> None:
    away = Played("away")
    field.add(*many(3), away)
    away.away = True
    field.turn(2, HOUR)  # it was not heard of for an hour
    field.begin(shares=(100.0,), soak_s=0.0)
    field.turn(10)
    assert field.state() == "done"
    assert field.have() == 3
    away.away = False
    field.add(Played("late"))
    field.turn(10)
    assert field.have() == 5
    assert field.found().counts == {"good": 5}


def test_one_that_goes_away_before_it_has_anything_gives_its_place_to_another(field: Field) -> None:
    field.add(*many(4))
    field.begin(shares=(25.0, 100.0), soak_s=HOUR)
    field.turn()
    (first,) = (one for one in field.devices.values() if one.desired)
    first.away = True
    field.turn(30, 60.0)
    assert field.found().counts == {"absent": 1, "good": 1}
    assert field.state() == "running"


def test_a_share_is_of_the_devices_that_are_there(each: Field) -> None:
    devices = many(20)
    each.add(*devices)
    for one in devices[5:]:
        one.away = True
    each.turn(2, HOUR)
    each.begin(shares=(5.0, 60.0, 100.0), soak_s=HOUR)
    each.turn(8)
    assert each.have() == 1
    each.turn(8, HOUR / 4)
    assert each.have() == 3
    for one in devices[:10]:
        one.away = False  # five more, in the middle of a share
    each.turn(5)
    assert each.have() == 6
    each.turn(24, HOUR / 4)
    assert (each.state(), each.have()) == ("done", 10)


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_share_of_a_hundred_devices_is_its_percent(percent: int, field: Field) -> None:
    field.add(Played("one"))
    field.begin(shares=(float(percent), 200.0))
    assert wanted(field.found().rollout, 0, 100) == percent


def test_no_share_follows_before_what_happened_meanwhile_is_heard(field: Field) -> None:
    field.add(*many(10))
    field.begin(shares=(10.0, 100.0), soak_s=HOUR)
    field.turn(8)
    (first,) = (one for one in field.devices.values() if one.bundle != OLD)
    first.bundle, first.manner = OLD, "fell"  # while no collector runs
    field.now_s += 2 * HOUR
    field.collector_starts()
    field.turn(5, 1.0)
    assert (field.state(), field.have()) == ("halted", 0)


def test_one_that_was_halted_for_drift_goes_on_when_a_person_says_so_until_more_drift(each: Field) -> None:
    devices = many(8, lambda number: "drifts")
    each.add(*devices)
    each.begin(shares=(50.0, 100.0), soak_s=0.0)
    each.turn(10)
    assert "W-DRIFT" in each.found().rollout.why
    drifting = each.have()
    ask_rollout.resume(each.config, 1)
    each.turn(10)
    assert (each.state(), each.have() > drifting) == ("halted", True)
    ask_rollout.resume(each.config, 1)
    each.turn(10)
    assert each.state() == "done"


def test_one_whose_devices_all_follow_a_newer_one_is_shown_as_such_and_not_rolled_back(each: Field) -> None:
    each.add(*many(4))
    for _ in range(2):
        each.begin(shares=(100.0,), soak_s=0.0)
        each.turn(10)
    assert [each.found(number).counts for number in (1, 2)] == [{"overtaken": 4}, {"good": 4}]
    with pytest.raises(LimiarError, match=r"E-ROLLOUT-STATE.*roll back 2$"):
        ask_rollout.roll_back(each.config, 1)
    each.begin(device="d00", shares=(100.0,), soak_s=0.0)
    each.turn(3)
    ask_rollout.roll_back(each.config, 2)
    each.turn(3)
    assert each.have() == 1


def test_a_halted_one_goes_on_when_it_is_resumed_without_those_that_fell_back(each: Field) -> None:
    devices = many(10, lambda number: "falls" if number == 3 else "refuses" if number == 4 else "good")
    each.add(*devices)
    each.begin(shares=(100.0,), soak_s=0.0)
    each.turn(10)
    assert "d04: E-FLEET-HASH" in each.found().rollout.why
    devices[4].manner = "good"  # the file was put right
    ask_rollout.resume(each.config, 1)
    each.turn(10)
    assert "d03: E-UPDATE-LEFT" in each.found().rollout.why
    ask_rollout.resume(each.config, 1)
    each.turn(10)
    assert each.state() == "done"
    assert each.found().counts == {"good": 9, "out": 1}
    assert devices[3].desired is None


def test_a_person_halts_resumes_and_rolls_back(field: Field) -> None:
    field.add(*many(8))
    field.begin(shares=(50.0, 100.0), soak_s=HOUR)
    field.turn(1)
    ask_rollout.halt(field.config, 1)
    field.turn(5)
    assert field.have() == 0
    assert all(one.desired is None for one in field.devices.values())
    ask_rollout.resume(field.config, 1)
    field.turn(5)
    assert field.have() == 4
    ask_rollout.roll_back(field.config, 1)
    field.turn(1)
    assert field.found().counts == {"going back": 4}  # that they have installed it says nothing about the way back
    field.turn(5)
    assert field.have() == 0
    assert field.found().counts == {"back": 4}
    for change in (ask_rollout.halt, ask_rollout.resume, ask_rollout.roll_back):
        with pytest.raises(LimiarError) as error:
            change(field.config, 1)
        assert error.value.code == "E-ROLLOUT-STATE"
    with pytest.raises(LimiarError) as error:
        ask_rollout.halt(field.config, 2)
    assert error.value.code == "E-ROLLOUT-ID"


def test_a_group_or_a_device_alone(field: Field) -> None:
    field.add(*many(4), Played("south", group="south"))
    field.begin(group="south", shares=(100.0,), soak_s=0.0)
    field.begin(device="d02", shares=(5.0, 100.0), soak_s=HOUR)
    field.turn(10)
    assert sorted(name for name, one in field.devices.items() if one.bundle != OLD) == ["d02", "south"]
    field.turn(3, HOUR)
    assert field.state(2) == "done"
    for terms in (Terms(group="sooth"), Terms(device="d99")):
        with pytest.raises(LimiarError) as error:
            ask_rollout.begin_rollout(field.config, field.release, terms)
        assert error.value.code == "E-ROLLOUT-TARGET"


def test_a_newer_roll_out_takes_the_devices_over(field: Field) -> None:
    field.add(*many(4))
    field.begin(shares=(100.0,), soak_s=HOUR)
    field.turn(1)
    field.begin(shares=(50.0, 100.0), soak_s=HOUR)
    field.turn(2)
    told = [one.desired.rollout for one in field.devices.values() if one.desired]
    assert sorted(told) == [1, 1, 2, 2]


def test_what_no_device_would_take_is_not_rolled_out(field: Field, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    field.add(Played("one"))
    unsigned = tmp_path / "unsigned.limiar"
    write_archive(open_bundle(signed_release(tmp_path / "unsigned", 3, None)), unsigned)
    same = tmp_path / "same.limiar"
    write_archive(open_bundle(signed_release(tmp_path / "same", 2, key, version="0.2.1")), same)
    cut = tmp_path / "cut.limiar"
    cut.write_bytes(field.release.read_bytes()[:-100])
    field.begin()
    for path, code in ((unsigned, "E-ROLLOUT-UNSIGNED"), (same, "E-ROLLOUT-COUNTER"), (cut, "E-ARCHIVE-FORMAT")):
        with pytest.raises(LimiarError) as error:
            ask_rollout.begin_rollout(field.config, path, Terms())
        assert error.value.code == code


def test_a_collector_that_was_away_itself_calls_no_device_silent(field: Field) -> None:
    field.add(*many(4))
    field.begin(shares=(100.0,), soak_s=0.0)
    field.turn(3)
    assert field.found().counts == {"installing": 4}
    for one in field.devices.values():
        one.away = True
    field._hear(*field.devices.values())
    field.now_s += HOUR
    field.collector_starts()
    field.turn(3)
    assert field.found().counts == {"trial": 4}
    for one in field.devices.values():
        one.away = False
    field.turn(3)
    assert field.state() == "done"


def test_whatever_a_device_says_of_a_bundle_stops_nothing(each: Field) -> None:
    bad = Played("bad", "refuses")
    each.add(bad)
    each.begin(shares=(100.0,), soak_s=0.0)
    each.turn(1)
    bad._say("refused", "E-\0" * 100, "\0\x1b[2J" * 500)
    each._hear(bad)
    bad.away = True
    each.turn(2)
    assert each.state() == "halted"


def test_what_devices_were_told_is_said_again_once_nobody_knows_it(field: Field) -> None:
    field.add(*many(3))
    field.begin(shares=(100.0,), soak_s=HOUR)
    field.turn(8)
    with field._database.engine.begin() as connection:
        assert field._rollouts.turn(connection) == {}
        field._rollouts.forget()
        assert len(field._rollouts.turn(connection)) == 3
