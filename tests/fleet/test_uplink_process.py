"""The uplink as a process: beside a real service, and alone with a clock that is wrong."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from authority import Authority
from broker import COLLECTOR, Broker, broker
from limiar.edge_app.control import AskStatus, ask
from limiar.edge_app.fleet.messages import DeviceStatus
from limiar.edge_app.fleet.tls import client_context
from limiar.edge_app.health.status import FleetStatus, Status
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.service.uplink_child import UplinkJob
from needed import Missing, needed
from services import Service, noise
from uplinks import Collector, Device

# As tests/harness/clock_jumps.py says, libfaketime makes some sleeps last for years.
UPLINK = """
import select, time
time.sleep = lambda s: select.select([], [], [], s)
from limiar.edge_app.fleet.run import main
main()
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Broker]:
    with needed(broker(tmp_path_factory.mktemp("broker"), authority)) as started:
        yield started


@pytest.fixture
def collector(secured: Broker, authority: Authority) -> Iterator[Collector]:
    pair = authority.client(COLLECTOR)
    context = client_context(str(authority.certificate), str(pair.certificate), str(pair.key))
    made = Collector(secured.port, context=context, name=COLLECTOR)
    yield made
    made.close()


def fleet(at: Broker, authority: Authority, name: str) -> dict[str, str]:
    pair = authority.client(name)
    files = {"authority": authority.certificate, "certificate": pair.certificate, "key": pair.key}
    return {"broker": at.address, **{key: str(path) for key, path in files.items()}}


def status(service: Service) -> Status | None:
    said = ask(service.state, AskStatus()) if service.state.exists() else None
    return msgspec.json.decode(said, type=Status) if said else None


def uplink(service: Service) -> FleetStatus | None:
    """What the service says about its uplink; None before it says anything."""
    return found.fleet if (found := status(service)) else None


def test_a_service_sends_what_it_answers_says_how_it_is_and_goodbye(
    secured: Broker, authority: Authority, collector: Collector, tmp_path: Path, project: Path
) -> None:
    lines = "".join(f'{key} = "{value}"\n' for key, value in fleet(secured, authority, "ward-1").items())
    with Service(tmp_path, project / "models" / "lung-nodule", more=f'[fleet]\nimages = "all"\n{lines}') as service:
        for number, data in enumerate(noise(3)):
            service.put(f"{number}.png", data)
        collector.until(lambda: len(collector.rows) == 3 and "ward-1" in collector.statuses)
        service.wait(lambda: (said := uplink(service)) and said.waiting == 0)
        assert all(row.image for row in collector.rows.values())  # found in done/, where they are by then, or before
        collector.until(
            lambda: b'"lung-nodule"' in collector.statuses["ward-1"][-1]
        )  # the first may be of before it was loaded
        said = msgspec.json.decode(collector.statuses["ward-1"][-1], type=DeviceStatus)
        assert said.status.bundle
        assert said.status.bundle.name == "lung-nodule"
        maps = Path(f"/proc/{service.pid}/maps").read_text() + Path(f"/proc/{service.pid}/status").read_text()
        assert "Threads:\t1\n" in maps
        secured.kill()
        service.wait(lambda: (said := uplink(service)) and said.code == "E-FLEET-CONNECT")
        assert [one.level for one in status(service).problems if one.code == "E-FLEET-CONNECT"] == ["warning"]
        service.put("later.png", noise(1, seed=9)[0])
        service.wait(lambda: (said := uplink(service)) and said.waiting == 1)
        secured.start()
        again = Collector(secured.port, context=collector.context, name=COLLECTOR)
        again.until(lambda: len(again.rows) >= 1 and "ward-1" in again.online)
        began = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - began < 5
        again.until(lambda: again.online["ward-1"][-1] == b"false")
        again.close()


def test_an_uplink_that_is_killed_is_started_again_and_ends_with_its_service(
    secured: Broker, authority: Authority, tmp_path: Path, project: Path
) -> None:
    lines = "".join(f'{key} = "{value}"\n' for key, value in fleet(secured, authority, "ward-2").items())
    with Service(tmp_path, project / "models" / "lung-nodule", more=f"[fleet]\n{lines}") as service:

        def uplinks() -> list[int]:
            found = []
            for pid in service.children():
                with contextlib.suppress(OSError):  # it has ended
                    found += [pid] if b"fleet.run" in Path(f"/proc/{pid}/cmdline").read_bytes() else []
            return found

        service.wait(uplinks)
        first = uplinks()
        os.kill(first[0], signal.SIGKILL)
        service.wait(lambda: set(uplinks()) - set(first))
        (last,) = set(uplinks()) - set(first)
        service.kill()
        end = time.monotonic() + 60
        while Path(f"/proc/{last}/exe").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{last}/exe").exists()


def test_what_keeps_an_uplink_from_beginning_is_in_the_status_until_it_is_mended(
    secured: Broker, authority: Authority, tmp_path: Path, project: Path
) -> None:
    files = fleet(secured, authority, "ward-3")
    lines = "".join(f'{key} = "{value}"\n' for key, value in files.items())
    more = f'[log]\nlevel = "error"\n[fleet]\n{lines}'
    key = Path(files["key"])
    away = key.rename(tmp_path / "away.key")
    with Service(tmp_path, project / "models" / "lung-nodule", more=more) as service:
        service.wait(lambda: (said := uplink(service)) and said.code == "E-FLEET-CERTIFICATE")
        away.rename(key)
        service.wait(lambda: (said := uplink(service)) and said.code == "")
        secured.kill()
        service.wait(lambda: (said := uplink(service)) and said.code == "E-FLEET-CONNECT")
        secured.start()
    assert "error E-FLEET-ENDED" in service.log.read_text()
    assert "warning E-FLEET-CONNECT" not in service.log.read_text()


def faked(offset: Path) -> dict[str, str]:
    found = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise Missing("libfaketime: apt-get install faketime")
    rest = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(offset), **rest}


def test_a_board_that_starts_in_1970_waits_and_connects_when_its_clock_is_set(
    secured: Broker, authority: Authority, collector: Collector, tmp_path: Path
) -> None:
    device, offset, log = Device(tmp_path / "state"), tmp_path / "offset", tmp_path / "log"
    device.add(range(5))
    offset.write_text(f"{-int(time.time()) + 60:+d}\n")
    section = msgspec.convert(fleet(secured, authority, "board"), FleetSection)
    job = UplinkJob(fleet=section, state=str(device.state), keys=(), revoked=(), file=None, runtime=None, moved_to=())
    try:
        environment = {**os.environ, **faked(offset)}
    except Missing as missing:
        pytest.skip(str(missing))
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-P", "-c", UPLINK], stdin=subprocess.PIPE, stderr=stderr, env=environment)
    with process.stdin as stdin:
        stdin.write(msgspec.json.encode(job))
    try:
        collector.until(lambda: "W-FLEET-CLOCK" in log.read_text())
        for _ in range(20):
            collector.work()
        assert "board" not in collector.online
        assert "1970-01-01T00:01" in log.read_text()
        partial = tmp_path / "partial"
        partial.write_text("+0\n")
        partial.replace(offset)
        collector.until(lambda: len(collector.rows) == 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        collector.until(lambda: collector.online["board"][-1] == b"false")
    finally:
        process.kill()
        process.wait()


def test_without_paho_the_uplink_says_what_to_install(tmp_path: Path) -> None:
    section = FleetSection(broker="127.0.0.1:1", device="d1")
    job = UplinkJob(fleet=section, state=str(tmp_path), keys=(), revoked=(), file=None, runtime=None, moved_to=())
    program = f"import sys; sys.modules['paho'] = None\n{UPLINK}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], input=msgspec.json.encode(job), capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"E-INSTALL-MISSING" in done.stderr
    assert b"Traceback" not in done.stderr
