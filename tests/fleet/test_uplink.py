"""A device's uplink to a real broker: rows, what the collector says, status, and what goes wrong."""

import base64
import functools
import hashlib
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import msgspec
import pytest
from click.testing import CliRunner

from authority import Authority, Pair
from broker import COLLECTOR, Broker, broker
from limiar.edge_app.commands.run import run
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.fleet.connection import Connection, Will
from limiar.edge_app.fleet.job import device_name
from limiar.edge_app.fleet.messages import Desired, DeviceStatus, Pull, UplinkState
from limiar.edge_app.fleet.telling import Telling
from limiar.edge_app.fleet.tls import check_time, client_context
from limiar.edge_app.fleet.topics import sender
from limiar.edge_app.health.status import BundleStatus, ClockStatus, FleetStatus, Problem, SourceStatus, Status, StoreStatus
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.store.writer import Refusal
from needed import needed
from uplinks import STATUS, Collector, Device, Running, answer

DIGEST = "cd" * 32


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Broker]:
    with needed(broker(tmp_path_factory.mktemp("secured"), authority)) as started:
        yield started


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    with needed(broker(tmp_path / "broker")) as started:
        yield started


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "state")


def section(at: Broker, **more: object) -> FleetSection:
    return FleetSection(broker=at.address, device="d1", **more)


def context(authority: Authority, pair: Pair):
    return functools.partial(client_context, str(authority.certificate), str(pair.certificate), str(pair.key))


def opened(at: Broker, authority: Authority, pair: Pair, heard=lambda *_: None) -> Connection:
    made = Connection(("127.0.0.1", at.port), pair.certificate.stem, context(authority, pair)(), None, heard)
    made.open()
    return made


def turns(connection: Connection, seconds: float = 0.3) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.turn(0.05)


def turned_until(met: Callable[[], object], *connections: Connection) -> None:
    """All of them are turned until something is so, and a moment longer: what must not come could come then."""
    end = time.monotonic() + 120
    while not met():
        assert time.monotonic() < end
        for one in connections:
            one.turn(0.02)
    for one in connections:
        turns(one)


def until(met, running: Running, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, running.log.getvalue()
        time.sleep(0.05)


def test_everything_that_is_kept_reaches_the_collector_once_and_is_then_forgotten(plain: Broker, device: Device) -> None:
    device.add(range(450))
    device.refuse()
    device.review(3, "neg")
    device.add(range(1), "neg")  # answered again
    collector = Collector(plain.port)
    with Running(device, section(plain), "d1"):
        collector.until(lambda: device.waiting == 0)
        device.add(range(450, 460))  # while it is connected
        collector.until(lambda: len(collector.rows) == 462 and device.waiting == 0)
    rows = list(collector.rows.values())
    assert sum(len(one.rows) for one in collector.messages) == 463  # none came twice
    kinds = [row.kind for row in rows]
    assert (kinds.count("file"), kinds.count("refusal"), kinds.count("review")) == (460, 1, 1)
    (review,) = (row.review for row in rows if row.review)
    (replaced,) = (row for row in rows if row.sequence == 453)
    assert msgspec.json.decode(replaced.line)["label"] == "neg"
    assert (review.of, review.label, review.by) == (rows[2].key, "neg", "Ana")
    messages = collector.messages
    assert messages[1].before == messages[0].rows[-1].mark
    collector.close()


def test_what_the_broker_has_acknowledged_stays_in_the_outbox_until_the_collector_has_it(plain: Broker, device: Device) -> None:
    device.add(range(300))
    collector = Collector(plain.port, acks=False)
    with Running(device, section(plain), "d1"):
        collector.until(lambda: len(collector.messages) >= 2)
        for _ in range(30):
            collector.work()
        assert device.waiting == 300
        collector.acks = True
        collector.until(lambda: device.waiting == 0)
    assert len(collector.rows) == 300
    collector.close()


def test_a_broker_that_is_killed_costs_nothing_and_the_device_goes_on_meanwhile(plain: Broker, device: Device) -> None:
    told: list[tuple[str, str]] = []
    collector = Collector(plain.port)
    with Running(device, section(plain), "d1", tell=lambda *said: not told.append(said)) as running:
        device.add(range(10))
        collector.until(lambda: len(collector.rows) == 10)
        plain.kill()
        device.add(range(10, 20))
        until(lambda: "E-FLEET-CONNECT" in running.log.getvalue(), running)
        plain.start()
        collector = Collector(plain.port)
        collector.until(lambda: len(collector.rows) >= 10 and device.waiting == 0)
        until(lambda: told[-1] == ("", ""), running)
    assert [code for code, _ in told] == ["", "E-FLEET-CONNECT", ""]
    assert "connected again" in running.log.getvalue()
    collector.close()


def test_whoever_looks_sees_whether_a_device_is_there(plain: Broker, device: Device) -> None:
    collector = Collector(plain.port)
    with Running(device, section(plain), "d1"):
        collector.until(lambda: collector.online.get("d1") == [b"true"])
    collector.until(lambda: collector.online["d1"] == [b"true", b"false"])
    lost = Connection(("127.0.0.1", plain.port), "d2", None, Will("limiar/d2/up/online", b"false"), lambda *_: None)
    lost.open()
    lost.drop()  # without a word
    collector.until(lambda: collector.online.get("d2") == [b"false"])
    collector.close()


def test_its_status_is_sent_when_it_changes_and_names_what_the_uplink_does(plain: Broker, device: Device) -> None:
    class Pulls:
        def __init__(self) -> None:
            self.wanted: list[Desired | None] = []

        def desired(self, wanted: Desired | None) -> None:
            self.wanted.append(wanted)

        def turn(self) -> Pull | None:
            wanted = self.wanted[-1] if self.wanted else None
            return wanted and Pull(rollout=wanted.rollout, bundle=wanted.bundle, archive=wanted.archive, state="waiting")

        def close(self) -> None:
            self.wanted.append(None)

    pulls, collector = Pulls(), Collector(plain.port)

    def last() -> DeviceStatus:
        return msgspec.json.decode(collector.statuses["d1"][-1], type=DeviceStatus)

    with Running(device, section(plain, groups=("ward",)), "d1", pulls=pulls):
        collector.until(lambda: "d1" in collector.statuses)
        assert (last().status.running, last().fleet.groups, last().fleet.desired) == (True, ("ward",), None)
        desired = Desired(
            rollout=7, bundle=DIGEST, archive=DIGEST, bytes=9, counter=2, name="lung", version="2.0.0", action="install"
        )
        collector.say("d1", "desired", msgspec.json.encode(desired))
        collector.until(lambda: (found := last().fleet.desired) is not None and found.rollout == 7)
        collector.say("d1", "desired", b"")
        collector.until(lambda: last().fleet.desired is None)
        collector.say("d1", "desired", b"{}")
        collector.say("d1", "acked", b"\xff")
        turns(collector.connection, 0.5)
        assert len(collector.statuses["d1"]) == 3  # nothing else changed
    assert pulls.wanted.count(desired) == 1
    collector.close()


@pytest.mark.parametrize(("images", "sent"), [("off", []), ("refer", ["a.png"]), ("all", ["a.png", "b.png"])])
def test_images_and_names_leave_only_if_the_configuration_says_so(
    plain: Broker, device: Device, tmp_path: Path, images: str, sent: list[str]
) -> None:
    done = tmp_path / "inbox" / "done"
    done.mkdir(parents=True)
    decisions = {"a.png": "refer", "b.png": None, "large.png": "refer", "gone.png": "refer"}
    with device.store() as store:
        for name, decision in decisions.items():
            data = name.encode() * (90_000 if name == "large.png" else 3)
            if name != "gone.png":
                (done / name).write_bytes(data)
            store.add(hashlib.sha256(data).digest(), str(tmp_path / "inbox" / name).encode(), answer("pos", decision))
    collector = Collector(plain.port)
    fleet = section(plain, images=images, image_megabytes=0.5, paths=images == "all")
    with Running(device, fleet, "d1", moved_to=("done",)):
        collector.until(lambda: device.waiting == 0)
    rows = list(collector.rows.values())
    assert [base64.b64decode(row.image) for row in rows if row.image] == [name.encode() * 3 for name in sent]
    assert [msgspec.json.decode(row.line).get("path") is not None for row in rows] == [images == "all"] * 4
    collector.close()


def test_names_of_files_stay_on_a_device_that_says_so_in_its_status_too() -> None:
    met = "/inbox/Maria_Silva.png cannot be moved: Permission denied"
    source = SourceStatus(name="inbox", kind="folder", code="E-WATCH-MOVE", message=met, passed_over="1 other file (1 .silva)")
    found = (Problem("failed", "E-WATCH-MOVE", f"inbox: {met}"), Problem("warning", "W-BOARD-HOT", "the board is slowed down"))
    status = Status(running=True, app="", sources=(source,), problems=found, clock=ClockStatus(trusted=True, why=""))
    said = Telling(lambda: status, 60.0, paths=False).turn(UplinkState())
    assert b"ilva" not in said
    assert b"slowed down" in said
    assert msgspec.json.decode(said, type=DeviceStatus).status.problems[0] == Problem("failed", "E-WATCH-MOVE", "inbox")
    assert b"Maria" in Telling(lambda: status, 60.0).turn(UplinkState())


def shown(said: dict, status: dict) -> list[str]:
    """What Home Assistant shows of a status."""
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return [strict.from_string(one["value_template"]).render(value_json=status) for one in said["components"].values()]


def test_without_paths_no_name_of_a_file_or_folder_leaves_in_rows_or_status(
    plain: Broker, device: Device, tmp_path: Path
) -> None:
    name, path = "Silva", str(tmp_path / "Silva" / "scan.Silva")
    with device.store() as store:
        store.add(bytes(32), path.encode(), answer(), source="inbox")
        store.add_frame(f"video:{path}", "boot", 1, 0, answer())
        store.refuse(Refusal("inbox", path.encode(), b"x", None, "E-IMAGE-BROKEN", f"{path} is broken", 0))
    device.status = msgspec.structs.replace(
        STATUS,
        problems=(Problem("failed", "E-FOLDER", path), Problem("warning", "W-CLOCK-UNTRUSTED", "it shows 1970")),
        sources=(
            SourceStatus(name="inbox", kind="folder", code="E-FOLDER", message=path, passed_over="1 other file (1 .Silva)"),
        ),
        bundle=BundleStatus(
            name="a", version="1", sha256=DIGEST, counter=1, file="f", runtime="r", verified="bundle", folder=path
        ),
        store=StoreStatus(path=path),
        fleet=FleetStatus(store="ab" * 16, waiting=0, acked=0, code="E-FLEET-CERTIFICATE", message=path),
    )
    heard: list[bytes] = []
    listener = Connection(("127.0.0.1", plain.port), "listener", None, None, lambda _topic, data, _: heard.append(data))
    listener.open()
    listener.subscribe(["limiar/#"])
    parts = (b'"frame"', b'"refusal"', b"E-IMAGE-BROKEN", b"E-FOLDER", b"it shows 1970", b'"inbox"', b'"video"')
    with Running(device, section(plain, paths=False), "d1"):
        turned_until(lambda: all(part in b"".join(heard) for part in parts), listener)
    turns(listener)
    assert name.encode() not in b"".join(heard)
    listener.close()


def test_home_assistant_learns_of_a_device_that_says_so(plain: Broker, device: Device) -> None:
    heard: dict[str, bytes] = {}
    assistant = Connection(
        ("127.0.0.1", plain.port), "assistant", None, None, lambda topic, data, _: heard.update({topic: data})
    )
    assistant.open()
    assistant.subscribe(["homeassistant/#", "limiar/d1/up/#"])
    with Running(device, section(plain, home_assistant=True), "d1"):
        wanted = {"homeassistant/device/d1/config", "limiar/d1/up/online", "limiar/d1/up/status"}
        turned_until(lambda: wanted <= heard.keys(), assistant)
    said = msgspec.json.decode(heard["homeassistant/device/d1/config"])
    assert said["availability"][0]["topic"] in heard
    assert said["device"]["identifiers"] == ["limiar_d1"]
    assert len({one["unique_id"] for one in said["components"].values()}) == len(said["components"]) == 6
    status = msgspec.json.decode(heard["limiar/d1/up/status"])
    assert all(one["state_topic"] in heard for one in said["components"].values())
    none = status["status"] | {"bundle": None, "disk": None}
    none["totals"] |= {"refer_rate_window": None}
    assert shown(said, status | {"status": none}) == ["0", "None", "0", "None", "None", "OFF"]
    some = none | {"bundle": {"version": "1.2"}, "disk": {"free_bytes": 72_251_547_648}, "problems": [{}]}
    some["totals"] |= {"refer_rate_window": 0.2666}
    assert shown(said, status | {"status": some}) == ["0", "26.7", "0", "72.3", "1.2", "ON"]
    assistant.close()


def test_a_device_with_a_certificate_of_its_own_sends_by_tls(secured: Broker, authority: Authority, device: Device) -> None:
    pair = authority.client("d1")
    device.add(range(20))
    collector = Collector(secured.port, context=context(authority, authority.client(COLLECTOR))(), name=COLLECTOR)
    fleet = section(secured, certificate=str(pair.certificate))
    with Running(device, fleet, "d1", context=context(authority, pair)) as running:
        collector.until(lambda: device.waiting == 0)
    assert len(collector.rows) == 20
    assert "E-" not in running.log.getvalue()
    collector.close()


def test_nobody_reads_or_writes_topics_of_another(secured: Broker, authority: Authority) -> None:
    heard: list[str] = []
    spy = opened(secured, authority, authority.client("spy"), lambda topic, *_: heard.append(topic))
    victim = opened(secured, authority, authority.client("victim"), lambda topic, *_: heard.append(topic))
    collector = opened(secured, authority, authority.client(COLLECTOR), lambda topic, *_: heard.append(topic))
    collector.subscribe(["limiar/+/up/#"])
    turns(collector)
    spy.subscribe(["limiar/victim/down/acked", "limiar/+/up/#", "#"])
    turns(spy)
    spy.publish("limiar/victim/up/rows", b"forged")
    spy.publish("limiar/spy/down/desired", b"forged", retain=True)
    spy.publish("homeassistant/device/victim/config", b"forged")
    spy.publish("limiar/spy/up/rows", b"its own")
    collector.publish("limiar/victim/down/acked", b"private", retain=True)
    victim.publish("limiar/victim/up/status", b"private")
    denied = {"limiar/victim/up/rows", "limiar/spy/down/desired", "homeassistant/device/victim/config"}
    come = {"limiar/spy/up/rows", "limiar/victim/up/status"}
    turned_until(lambda: spy.denied >= denied and come <= set(heard), collector, spy, victim)
    assert spy.denied == denied
    assert heard.count("limiar/spy/up/rows") == 1
    assert heard.count("limiar/victim/up/rows") == 0
    assert heard.count("limiar/victim/down/acked") == 0  # the victim did not ask for it, and the spy did not get it
    assert heard.count("limiar/victim/up/status") == 1  # the collector
    for one in (spy, victim, collector):
        one.close()


def test_a_device_that_is_denied_its_topic_says_so_and_keeps_its_rows(
    secured: Broker, authority: Authority, device: Device
) -> None:
    pair = authority.client("other")
    device.add(range(3))
    fleet = section(secured, certificate=str(pair.certificate))
    with Running(device, fleet, "d1", context=context(authority, pair)) as running:  # the broker knows it as `other`
        until(lambda: "E-FLEET-DENIED" in running.log.getvalue(), running)
    assert "limiar/d1/up/online" in running.log.getvalue()
    assert device.waiting == 3


@pytest.mark.parametrize(
    ("who", "met"),
    [
        # Under TLS 1.3 a broker refuses after the handshake, and its alert is lost if the reset overtakes it.
        ("of another authority", "E-FLEET-TLS: .* refuses this end's certificate|E-FLEET-CONNECT: .* does not take"),
        ("who trusts another authority", "E-FLEET-TLS: .* not trusted"),
        ("expired", "E-FLEET-CERTIFICATE: .* is valid from"),
    ],
)
def test_certificates_that_do_not_fit_are_refused_and_the_log_says_why(
    secured: Broker, authority: Authority, device: Device, tmp_path: Path, who: str, met: str
) -> None:
    stranger = Authority(tmp_path / "stranger")
    pair = (
        stranger.client("d1") if who == "of another authority" else authority.client("d1", days=-2 if who == "expired" else 9)
    )
    trusts = stranger if who == "who trusts another authority" else authority
    with Running(device, section(secured, certificate=str(pair.certificate)), "d1", context=context(trusts, pair)) as running:
        until(lambda: re.search(met, running.log.getvalue()), running)


def test_the_broker_takes_neither_tls_1_2_nor_an_expired_certificate_nor_none(secured: Broker, authority: Authority) -> None:
    old = context(authority, authority.client("d1"))()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    nobody = ssl.create_default_context(cafile=str(authority.certificate))
    late = context(authority, authority.client("late", days=-2))()
    for one in (old, nobody, late):
        with pytest.raises(LimiarError) as refused:
            Connection(("127.0.0.1", secured.port), "d1", one, None, lambda *_: None).open()
        assert refused.value.code in ("E-FLEET-TLS", "E-FLEET-CONNECT")


def test_a_clock_of_1970_waits_without_a_connection_and_goes_on_once_it_is_set(
    secured: Broker, authority: Authority, device: Device
) -> None:
    pair, clock = authority.client("late-clock"), [42.0]
    device.add(range(3))
    collector = Collector(secured.port, context=context(authority, authority.client(COLLECTOR))(), name=COLLECTOR)
    fleet = section(secured, certificate=str(pair.certificate))
    told: list[tuple[str, str]] = []
    with Running(
        device,
        fleet,
        "late-clock",
        context=context(authority, pair),
        wall_s=lambda: clock[0],
        tell=lambda *said: not told.append(said),
    ) as running:
        until(lambda: "W-FLEET-CLOCK" in running.log.getvalue(), running)
        turns(collector.connection, 0.5)
        assert "late-clock" not in collector.online
        clock[0] = time.time()
        collector.until(lambda: device.waiting == 0)
    assert told[0][0] == "W-FLEET-CLOCK"
    collector.close()


def test_a_device_is_called_as_its_certificate_says(authority: Authority) -> None:
    pair = authority.client("north-7")
    assert device_name(FleetSection(certificate=str(pair.certificate))) == "north-7"
    with pytest.raises(LimiarError) as refused:
        device_name(FleetSection(certificate=str(pair.certificate), device="south"))
    assert refused.value.code == "E-FLEET-NAME"
    with pytest.raises(LimiarError) as refused:
        device_name(FleetSection(certificate=str(authority.client("a b").certificate)))
    assert refused.value.code == "E-FLEET-NAME"


@pytest.mark.parametrize(("clock_s", "shown"), [(0, "1970-01-01"), (4e11, "14645-06-")])
def test_a_certificate_is_judged_by_any_clock(authority: Authority, clock_s: float, shown: str) -> None:
    with pytest.raises(LimiarError, match=f"E-FLEET-CERTIFICATE.*it is {shown}"):
        check_time(str(authority.client("any-clock").certificate), clock_s)


def test_limiar_run_check_looks_into_the_certificate(authority: Authority, tmp_path: Path, project: Path) -> None:
    def checked(pair: Pair) -> int | str:
        files = {"authority": authority.certificate, "certificate": pair.certificate, "key": pair.key}
        lines = "".join(f'{key} = "{value}"\n' for key, value in files.items())
        config = tmp_path / "limiar.toml"
        config.write_text(
            f'[answer]\nbundle = "{project}/models/lung-nodule"\n[[folder]]\npath = "."\n[fleet]\nbroker = "b:1"\n{lines}'
        )
        found = CliRunner().invoke(run, [str(config), "--check"])
        return found.exception.code if isinstance(found.exception, LimiarError) else found.exit_code

    assert checked(authority.client("good")) == 0
    assert checked(authority.client("late", days=-2)) == "E-FLEET-CERTIFICATE"
    assert checked(authority.client("a b")) == "E-FLEET-NAME"
    assert checked(Pair(authority.client("one").certificate, authority.client("two").key)) == "E-FLEET-CERTIFICATE"


@pytest.mark.parametrize(
    "topic",
    [
        "limiar/a/b/up/rows",
        "limiar//up/rows",
        "limiar/+/up/rows",
        "limiar/a/up/rows/x",
        "limiar/a/down/acked",
        "x/a/up/rows",
        "$SYS/a",
    ],
)
def test_a_topic_that_is_no_devices_is_taken_for_none(topic: str) -> None:
    assert sender(topic) is None
