#!/usr/bin/env python3
"""Kills everything in a fleet, again and again, and cuts its connections: does the collector have each row once, and equal?

    tests/harness/fleet_chaos.py [--rows 48000] [--devices 8] [--seconds 240] [--seed 0] [--postgres] [--control]

A real mosquitto, a real `limiar collect`, devices with real stores and uplinks (tests/harness/fleet_writer.py), and one real
`limiar run` that answers images. All connections go through a proxy that cuts and stalls them. Broker, collector and
devices are killed at random times; one store is replaced by a new one midway, another by an older copy of itself.
At the end the collector must have each entry of each store exactly once and equal; of the replaced stores, each that had left
the outbox. The defaults are what a release runs; tests/fleet/test_chaos.py has a smaller one.
--control: devices forget what the broker has acknowledged, and the collector takes what comes: rows must be lost.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import functools
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from broker import Broker, broker
from collecting import Collecting
from limiar.edge_app.results.lines import result_line
from limiar.edge_app.store.reader import Filter, Reader
from postgres import postgres
from proxies import ChaosProxy
from services import Service, noise

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DRAIN_S = 180.0  # for what waits at the end
LENIENT = """
from limiar.edge_app.collect import receiver
receiver._following = lambda rows, committed, mark: (list(rows.rows), rows.rows[-1].mark if rows.rows else mark, False)
receiver._differ = lambda *_: False
"""  # the control's collector: it takes what comes, whether it follows or not
Kept = dict[str, str]  # key of an entry -> its line, or "review"


class Device:
    """A process of fleet_writer.py. It is started again with the same store, or with another."""

    def __init__(self, folder: Path, name: str, port: int, asked: argparse.Namespace) -> None:
        self.folder, self.name, self.port, self.era = folder, name, port, 0
        self.state, self._asked = folder / name, asked
        self.rows = asked.rows // asked.devices
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        rate = self.rows / self._asked.seconds
        words = ("--names", self.name, "--rows", self.rows, "--rate", rate, "--era", self.era, "--seed", self._asked.seed)
        command = [sys.executable, HERE / "fleet_writer.py", self.folder, self.port, *words]
        if self._asked.control:
            command.append("--control")
        with (self.folder / f"{self.name}.errors").open("ab") as errors:
            self.process = subprocess.Popen([str(word) for word in command], stderr=errors)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    @property
    def done(self) -> bool:
        """Whether its store has all entries and nothing waits."""
        count, waiting = counted(self.state / "results.db")
        return count >= self.rows and waiting == 0


def looked_at(database: Path, *sql: str) -> list[list[tuple[object, ...]]]:
    """Answers of a store beside its process; none before it has its tables."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            return [db.execute(one).fetchall() for one in sql]
    except sqlite3.OperationalError:
        return []


def counted(database: Path) -> tuple[int, int]:
    """Entries of a store, and rows that wait in its outbox."""
    found = looked_at(database, "SELECT count(*) FROM entries", "SELECT count(*) FROM outbox")
    return (int(str(found[0][0][0])), int(str(found[1][0][0]))) if found else (0, 1)


def plain(line: dict[str, object]) -> str:
    """Without the review of the moment at which it was sent: a review is a row of its own."""
    kept = {name: value for name, value in line.items() if name not in ("review", "reviewed")}
    return json.dumps(kept, sort_keys=True)


def of_store(database: Path) -> tuple[Kept, set[str]]:
    """All entries of a store, and the keys of those that wait in its outbox."""
    keys, waiting = looked_at(
        database,
        "SELECT id, kind, lower(hex(key)) FROM entries",
        "SELECT DISTINCT lower(hex(e.key)) FROM outbox o JOIN entries e ON e.id = o.entry",
    )
    with Reader(database) as reader:
        lines = {entry.id: json.loads(msgspec.json.encode(result_line(entry))) for entry in reader.entries(Filter())}
    found = {str(key): "review" if kind == "review" else plain(lines[int(str(number))]) for number, kind, key in keys}
    return found, {str(key) for (key,) in waiting}


class Campaign:
    """A fleet, and what is done to it."""

    def __init__(self, folder: Path, at: Broker, proxy: ChaosProxy, collector: Collecting, asked: argparse.Namespace) -> None:
        self.asked, self.rng, self.folder = asked, random.Random(asked.seed), folder
        self.broker, self.proxy, self.collector = at, proxy, collector
        self.devices = [Device(folder, f"device-{number}", proxy.port, asked) for number in range(asked.devices)]
        fleet = f'[fleet]\nbroker = "{proxy.address}"\ndevice = "service"\n'
        self.service = Service(folder / "service", PROJECT / "models" / "lung-nodule", more=fleet)
        self.images = [] if asked.control else noise(max(10, asked.rows // 200), asked.seed)
        self.kills = dict.fromkeys(("broker", "collector", "device", "service"), 0)
        self.replaced: list[tuple[str, Path]] = []  # device and database

    def run(self) -> None:
        for device in self.devices:
            device.start()
        if self.images:
            self.service.start()
        began, given = time.monotonic(), 0
        events, seconds = self._events(), self.asked.seconds
        for at, event in events:
            while (now := time.monotonic() - began) < at:
                given = self._give(given, int(len(self.images) * min(1.0, now / seconds)))
                time.sleep(0.05)
            event()
        self._give(given, len(self.images))
        self.proxy.lasts_s = float("inf")
        self._drain()

    def _give(self, given: int, until: int) -> int:
        for number in range(given, until):
            self.service.put(f"{number}.png", self.images[number])
        return max(given, until)

    def _events(self) -> list[tuple[float, Callable[[], None]]]:
        """When, and what."""
        seconds, asked = self.asked.seconds, self.asked
        found: list[tuple[float, Callable[[], None]]] = []
        count = asked.kills or max(9, int(seconds / 4))
        choices = ["broker", "collector", "device", "device", *(["service"] if self.images else [])]
        for number in range(count):
            what = choices[number % len(choices)]
            found.append((self.rng.uniform(0.05, 1.0) * seconds, functools.partial(self._kill, what)))
        if not asked.control:
            new, back = self.devices[0], self.devices[-1]
            found.append((0.35 * seconds, lambda: self._new_store(new)))
            found.append((0.30 * seconds, lambda: self._copy(back)))
            found.append((0.60 * seconds, lambda: self._put_back(back)))
        return sorted(found, key=lambda one: one[0])

    def _kill(self, what: str) -> None:
        self.kills[what] += 1
        if what == "device":
            device = self.rng.choice(self.devices)
            device.kill()
            device.start()
            return
        servers: dict[str, Broker | Collecting | Service] = {"broker": self.broker, "collector": self.collector}
        one = servers.get(what, self.service)
        one.kill()
        time.sleep(self.rng.uniform(0, 1.5))
        one.start()

    def _aside(self, device: Device) -> None:
        device.kill()
        self.kills["device"] += 1
        gone = self.folder / f"{device.name}-replaced-{len(self.replaced)}"
        device.state.rename(gone)
        self.replaced.append((device.name, gone / "results.db"))
        device.era += 1

    def _new_store(self, device: Device) -> None:
        self._aside(device)
        device.start()

    def _copy(self, device: Device) -> None:
        device.kill()
        self.kills["device"] += 1
        shutil.copytree(device.state, self.folder / "copy")
        device.start()

    def _put_back(self, device: Device) -> None:
        self._aside(device)
        (self.folder / "copy").rename(device.state)
        device.start()

    def _drain(self) -> None:
        """Until nothing waits."""
        end = time.monotonic() + DRAIN_S
        while not all(self._finished()):
            if time.monotonic() > end:
                waiting = {device.name: counted(device.state / "results.db") for device in self.devices}
                print(f"  still waiting after {DRAIN_S:.0f} s: {waiting}, service {counted(self.service.db)}", flush=True)
                break
            time.sleep(0.2)
        if self.asked.control:
            time.sleep(5)  # the broker may still have rows for the collector
        for device in self.devices:
            device.kill()
        if self.images:
            self.service.kill()

    def _finished(self) -> Iterator[bool]:
        for device in self.devices:
            assert device.process
            assert device.process.poll() is None, (device.folder / f"{device.name}.errors").read_text()[-2000:]
        yield from (device.done for device in self.devices)
        if self.images:
            count, waiting = counted(self.service.db)
            yield count >= len(self.images) and waiting == 0

    def end(self) -> None:
        """Ends the devices, whatever has happened."""
        for device in self.devices:
            if device.process:
                device.kill()
        self.service.__exit__()

    def compare(self) -> dict[str, int]:
        """What the stores have, against what the collector has."""
        had: dict[str, Kept] = {}
        for device, key, kind, line in self.collector.rows("SELECT device, key, kind, line FROM rows"):
            shown = "review" if kind == "review" else plain(json.loads(line))
            had.setdefault(device, {})[key] = shown
        (total,) = self.collector.rows("SELECT count(*) FROM rows")
        stores = [(device.name, device.state / "results.db", True) for device in self.devices]
        stores += [(name, path, False) for name, path in self.replaced]
        stores += [("service", self.service.db, True)] if self.images else []
        counts = {"rows": 0, "lost": 0, "other": 0, "foreign": 0, "double": int(total[0]) - sum(map(len, had.values()))}
        known: dict[str, set[str]] = {}
        for name, path, final in stores:
            entries, waiting = of_store(path)
            known.setdefault(name, set()).update(entries)
            there = had.get(name, {})
            must = set(entries) if final else set(entries) - waiting
            counts["rows"] += len(must)
            counts["lost"] += len(must - set(there))
            same = (must & set(there)) - self._later(name, path)
            counts["other"] += sum(there[key] != entries[key] for key in same)
        counts["foreign"] = sum(len(set(there) - known.get(name, set())) for name, there in had.items())
        lines = [(name, line) for name, there in had.items() for line in there.values() if line != "review"]
        counts["double"] += len(lines) - len(set(lines))
        return counts

    def _later(self, name: str, path: Path) -> set[str]:
        """Entries of a replaced store whose copy went on: their last line is that of the copy."""
        if (name, path) not in self.replaced:
            return set()
        return set(of_store(self.folder / name / "results.db")[0])


def campaign(folder: Path, asked: argparse.Namespace) -> int:
    """Prints a line; 0 if all is there once, or if the control lost."""
    started, began = contextlib.ExitStack(), time.monotonic()
    with started:
        at = started.enter_context(broker(folder / "broker", more="max_queued_messages 100000\n"))
        proxy = ChaosProxy(at.port, random.Random(asked.seed + 1), asked.lasts_s)
        started.callback(proxy.close)
        url = started.enter_context(postgres()).database() if asked.postgres else f"sqlite:///{folder}/fleet.db"
        collector = Collecting(folder, proxy.address, url)
        if asked.control:
            collector.script = LENIENT + collector.script
        started.enter_context(collector)
        collector.connected()  # a busy machine would kill it before it has tables, and a session at the broker
        run = Campaign(folder, at, proxy, collector, asked)
        started.callback(run.end)
        run.run()
        counts = run.compare()
        said = collector.end(signal.SIGTERM)
    kills = ", ".join(f"{count} of the {name}" for name, count in run.kills.items() if count)
    database = "PostgreSQL" if asked.postgres else "SQLite"
    print(
        f"{'control, ' if asked.control else ''}seed {asked.seed}, {database}, {asked.devices} devices: {counts['rows']} rows, "
        f"{counts['lost']} lost, {counts['double']} double, {counts['other']} with another content, {counts['foreign']} of "
        f"nobody; {sum(run.kills.values())} kills ({kills}), {proxy.cuts} cuts, {proxy.stalls} stalls, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    if asked.control:
        return 0 if counts["lost"] else 1
    wrong = any(counts[name] for name in ("lost", "double", "other", "foreign"))
    return 1 if wrong or said else 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=48_000, help="of all devices")
    options.add_argument("--devices", type=int, default=8)
    options.add_argument("--seconds", type=float, default=240.0, help="in which the stores grow, and everything is killed")
    options.add_argument("--kills", type=int, default=0, help="0: one in 4 s")
    options.add_argument("--lasts-s", type=float, default=8.0, help="mean time until a connection is cut or stalled")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--postgres", action="store_true", help="a PostgreSQL in place of SQLite")
    options.add_argument("--control", action="store_true", help="trust the broker: rows must be lost")
    options.add_argument("--keep", type=Path, help="a new folder for stores and logs, kept")
    asked = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="limiar-fleet-")))
        folder.mkdir(parents=True, exist_ok=True)
        return campaign(folder, asked)


if __name__ == "__main__":
    sys.exit(main())
