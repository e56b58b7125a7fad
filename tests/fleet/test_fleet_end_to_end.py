"""Real uplinks over real stores, a real broker, the real collector: what a store has, the collector has, once and equal."""

import json
import shutil
from pathlib import Path

import msgspec

from broker import broker
from collecting import Collecting
from limiar.edge_app.results.lines import result_line
from limiar.edge_app.service.config import FleetSection
from limiar.edge_app.store.reader import Filter, Reader
from needed import needed
from uplinks import Device, Running


def of_the_store(device: Device) -> list[dict[str, object]]:
    with Reader(device.path) as reader:
        return [json.loads(msgspec.json.encode(result_line(entry))) for entry in reader.entries(Filter())]


def of_the_collector(collector: Collecting, name: str) -> list[dict[str, object]]:
    found = collector.rows(f"SELECT line FROM rows WHERE device = '{name}' AND kind <> 'review' ORDER BY entry")
    return [json.loads(line) for (line,) in found]


def without_review(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """A line has the review of the moment at which it was sent; the review is a row of its own too."""
    return [{name: value for name, value in line.items() if name not in ("review", "reviewed")} for line in lines]


def test_a_store_that_goes_back_and_servers_that_die_lose_and_double_nothing(url: str, tmp_path: Path) -> None:
    device, copy = Device(tmp_path / "state"), tmp_path / "copy"
    with needed(broker(tmp_path / "broker")) as started, Collecting(tmp_path, started.address, url) as collector:
        fleet = FleetSection(broker=started.address, device="one")
        with Running(device, fleet, "one"):
            collector.connected()
            device.add(range(300))
            device.refuse()
            device.review(1, "neg")
            collector.wait(lambda: device.waiting == 0)
        device.add(range(300, 350))
        shutil.copytree(device.state, copy)  # in which these wait
        with Running(device, fleet, "one"):
            device.add(range(350, 500))
            collector.kill()
            started.kill()
            started.start()
            collector.start()
            device.add(range(500, 600))
            collector.wait(lambda: device.waiting == 0)
        before = without_review(of_the_store(device))
        assert without_review(of_the_collector(collector, "one")) == before

        shutil.rmtree(device.state)
        copy.rename(device.state)
        device.add(range(1000, 1700))  # it has grown beyond what the collector knows of it
        started.kill()
        (started.folder / "kept" / "mosquitto.db").unlink(missing_ok=True)  # the broker forgot what was acknowledged
        started.start()
        with Running(device, fleet, "one"):
            collector.wait(lambda: device.waiting == 0)
        after = without_review(of_the_store(device))
        found = without_review(of_the_collector(collector, "one"))
        assert sorted(map(json.dumps, found)) == sorted({json.dumps(line) for line in (*before, *after)})
        assert collector.rows("SELECT count(*) FROM rows WHERE kind = 'review'") == [(1,)]
