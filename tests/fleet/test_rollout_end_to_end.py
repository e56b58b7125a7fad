"""A roll-out from the command to the device: real `limiar fleet`, collector, mosquitto, nginx and `limiar run`."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authority import Authority
from broker import COLLECTOR, broker
from bundle_server import bundle_server
from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import read_keys
from limiar.edge_app.collect.ask_rollout import all_rollouts
from limiar.edge_app.collect.config import read_config
from limiar.edge_app.install.install import install
from limiar.edge_app.install.slots import Slots
from needed import needed
from releases import public_file, signed_release
from services import Service, noise

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


class Fleet:
    """A collector and a device, at a broker and a web server."""

    def __init__(self, folder: Path, config: Path, service: Service) -> None:
        self.folder, self.config, self.service = folder, config, service

    def limiar(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "limiar", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})

    def rollout(self) -> dict[str, object]:
        """The newest one: state, and device -> state."""
        found = all_rollouts(read_config(self.config))[0]
        return {"state": found.rollout.state} | {one.device: one.state for one in found.devices}

    def seen(self) -> bool:
        """Whether the collector has heard what the device says about itself."""
        path = self.folder / "fleet.db"
        if not path.exists():
            return False
        with (
            contextlib.suppress(sqlite3.OperationalError),  # it has no tables yet
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        ):
            return connection.execute("SELECT bundle FROM devices").fetchall() not in ([], [(None,)])
        return False

    def until(self, done: Callable[[], object], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not done():
            told = self.limiar("fleet", "roll-outs", self.config).stdout
            assert time.monotonic() < end, (
                told + self.service.log.read_text()[-3000:] + (self.folder / "log").read_text()[-3000:]
            )
            time.sleep(0.3)

    def packed(self, counter: int) -> Path:
        path = self.folder / f"{counter}.limiar"
        write_archive(open_bundle(signed_release(self.folder / str(counter), counter, KEY)), path)
        return path

    @property
    def current(self) -> str:
        return open_bundle(self.service.state / "bundles" / "current").manifest.version


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    authority = Authority(tmp_path / "authority")
    collector, device = authority.client(COLLECTOR), authority.client("one")
    public, bundles, config = public_file(tmp_path / "release.pub", KEY), tmp_path / "bundles", tmp_path / "collect.toml"
    with (
        needed(broker(tmp_path / "broker", authority)) as mqtt,
        needed(bundle_server(tmp_path / "web", bundles, authority)) as web,
    ):
        tls = f'authority = "{authority.certificate}"\ncertificate = "{{0.certificate}}"\nkey = "{{0.key}}"\n'
        config.write_text(f'[broker]\naddress = "{mqtt.address}"\n{tls.format(collector)}[bundles]\nfolder = "bundles"\n')
        more = f'[fleet]\nbroker = "{mqtt.address}"\nbundles = "{web.address}"\ngroups = ["north"]\n{tls.format(device)}'
        more += "[update]\ngood_after = 3\n"
        service = Service(tmp_path / "device", "current", more=more)
        service.config.write_text(service.config.read_text().replace("[answer]\n", f'[answer]\nkeys = ["{public}"]\n'))
        install(service.state, signed_release(tmp_path / "1", 1, KEY), read_keys(public))
        slots = Slots(service.state)
        slots.start()
        slots.good()
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-P", "-m", "limiar", "collect", str(config)]
            collecting = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with service:
                yield Fleet(tmp_path, config, service)
        finally:
            collecting.terminate()
            collecting.wait(60)


def test_a_roll_out_reaches_the_device_is_good_there_and_goes_back(fleet: Fleet) -> None:
    fleet.until(fleet.seen)
    begun = fleet.limiar(
        "fleet", "roll-out", fleet.config, fleet.packed(2), "--group", "north", "--shares", "100", "--soak", "0s"
    )
    assert begun.returncode == 0, begun.stderr
    assert "lung-nodule 0.2.0 (counter 2) to group north" in begun.stdout
    fleet.until(lambda: fleet.rollout() == {"state": "running", "one": "trial"})
    assert fleet.current == "0.2.0"
    for number, image in enumerate(noise(4)):
        fleet.service.put(f"{number}.png", image)
    fleet.until(lambda: fleet.rollout() == {"state": "done", "one": "good"})
    told = json.loads(fleet.limiar("fleet", "roll-outs", fleet.config, "--json").stdout)
    assert [one["state"] for one in told[0]["devices"]] == ["good"]
    assert fleet.limiar("fleet", "roll-back", fleet.config, "1").returncode == 0
    fleet.until(lambda: fleet.rollout() == {"state": "back", "one": "back"})
    assert fleet.current == "0.1.0"
    kinds = [kind for (kind,) in fleet.service.rows("SELECT kind FROM audit ORDER BY rowid")]
    assert [kind for kind in kinds if kind in ("install", "roll-back")] == ["install", "roll-back"]
