#!/usr/bin/env python3
"""Many devices on one machine, for an hour of simulated time: how far behind is the collector, and what does it need?

    tests/harness/fleet_devices.py [--devices 200] [--hour 3600] [--speed 12] [--every 30] [--processes 4] [--postgres]

A real mosquitto with TLS 1.3, the real `limiar collect`, and devices with real stores and uplinks, several in a process
(tests/harness/fleet_writer.py). Each gets an entry every --every simulated seconds and sends its status once a simulated
minute; --speed says how much faster time passes. The lag of a row is from its commit on the device until the device knows
that the collector has committed it. At the end each entry must be with the collector once; exit status 1 if not.
The defaults are what a release runs; tests/fleet/test_chaos.py has a smaller one.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from authority import Authority
from broker import COLLECTOR, broker
from collecting import Collecting
from fleet_chaos import counted, of_store
from postgres import postgres

HERE = Path(__file__).resolve().parent
DRAIN_S = 60.0
START_S = 60.0
SAMPLE_S = 1.0


class Watched:
    """A process, and what it took."""

    def __init__(self, name: str, pid: int) -> None:
        self.name, self._at, self.rss_mb, self.cpu_s = name, Path(f"/proc/{pid}"), list[float](), 0.0

    def look(self) -> None:
        """Memory and processor time now."""
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in (self._at / "status").read_text().splitlines())
            self.rss_mb.append(int(lines["VmRSS"].split()[0]) / 1024)
            fields = (self._at / "stat").read_text().rpartition(")")[2].split()
            self.cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def text(self, seconds: float) -> str:
        """first: after a quarter of the time, when all is connected."""
        first = self.rss_mb[len(self.rss_mb) // 4]
        memory = f"{first:.0f} MB after a quarter, {self.rss_mb[-1]:.0f} MB at the end, {max(self.rss_mb):.0f} MB at most"
        return f"{self.name}: {memory}; {self.cpu_s:.1f} s of processor time, {self.cpu_s / seconds:.1%} of a core"


class Fleet:
    """The devices: some processes with many uplinks each."""

    def __init__(self, folder: Path, port: int, asked: argparse.Namespace) -> None:
        self.folder, self.names = folder / "devices", [f"device-{number}" for number in range(asked.devices)]
        self.folder.mkdir()
        self.rows = max(1, round(asked.hour / asked.every))
        rate = asked.speed / asked.every
        status_s = max(2.0, 60 / asked.speed)
        words = ("--rows", self.rows, "--rate", rate, "--status-s", status_s, "--poll-s", 0.2, "--retry-s", 10)
        certificates = ("--certificates", folder / "authority")
        self.processes = []
        with (folder / "errors").open("ab") as errors:
            for first in range(asked.processes):
                names = ",".join(self.names[first :: asked.processes])
                command = [sys.executable, HERE / "fleet_writer.py", self.folder, port, "--names", names, *words, *certificates]
                self.processes.append(subprocess.Popen([str(word) for word in command], stderr=errors))

    @property
    def finished(self) -> bool:
        """Whether the stores have all entries, and nothing waits."""
        found = [counted(self.folder / name / "results.db") for name in self.names]
        return all(count >= self.rows and waiting == 0 for count, waiting in found)

    def end(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def lags(self) -> list[float]:
        """Seconds, sorted."""
        found = (self.folder / f"{name}.lags" for name in self.names)
        return sorted(lag for path in found if path.exists() for lag in json.loads(path.read_text()))


def campaign(folder: Path, asked: argparse.Namespace, url: str) -> int:
    """Returns the exit status."""
    authority = Authority(folder / "authority")
    for number in range(asked.devices):
        authority.client(f"device-{number}")
    pair = authority.client(COLLECTOR)
    files = {"authority": authority.certificate, "certificate": pair.certificate, "key": pair.key}
    tls = "".join(f'{name} = "{path}"\n' for name, path in files.items())
    with broker(folder / "broker", authority) as at, Collecting(folder, at.address, url, tls=tls) as collector:
        collector.connected()
        began = time.monotonic()
        fleet = Fleet(folder, at.port, asked)
        watched = [Watched("collector", collector.pid), Watched("broker", at.pid)]
        devices = [Watched("devices", process.pid) for process in fleet.processes]
        try:
            grown = follow([*watched, *devices], fleet, asked, began)
        finally:
            fleet.end()
        return report(fleet, collector, watched, devices, asked, grown)


def follow(watched: Sequence[Watched], fleet: Fleet, asked: argparse.Namespace, began: float) -> float:
    """Looks at the processes until all is there; returns the seconds that took."""
    seconds = asked.hour / asked.speed
    while (now := time.monotonic() - began) < seconds + START_S + DRAIN_S:
        time.sleep(SAMPLE_S)
        for one in watched:
            one.look()
        if sys.stderr.isatty():
            print(f"\r{now:.0f} of about {seconds:.0f} s ", end="", file=sys.stderr)
        if now >= seconds and fleet.finished:
            break
    return time.monotonic() - began


def report(
    fleet: Fleet,
    collector: Collecting,
    watched: Sequence[Watched],
    devices: Sequence[Watched],
    asked: argparse.Namespace,
    took: float,
) -> int:
    """Prints the figures; 1 if something is missing or is there twice."""
    there = [(str(device), str(key)) for device, key in collector.rows("SELECT device, key FROM rows")]
    wanted = {(name, key) for name in fleet.names for key in of_store(fleet.folder / name / "results.db")[0]}
    lost, double = len(wanted - set(there)), len(there) - len(wanted & set(there))
    ((statuses,),) = collector.rows("SELECT count(*) FROM devices WHERE status IS NOT NULL")
    lags = fleet.lags()
    said = ", ".join(f"{name} {lags[int(share * (len(lags) - 1))]:.2f}" for name, share in SHARES.items())
    database = "PostgreSQL" if asked.postgres else "SQLite"
    print(f"{asked.devices} devices, {database}: {asked.hour:.0f} s of simulated time in {took:.0f} s")
    print(f"{len(wanted)} rows, {lost} lost, {double} double, {statuses} devices with a status")
    print(f"lag of {len(lags)} rows, s: {said}")
    for one in watched:
        print(one.text(took))
    memory = sum(max(one.rss_mb) for one in devices) / asked.devices
    print(f"devices: {memory:.1f} MB and {sum(one.cpu_s for one in devices) / took / asked.devices:.2%} of a core each")
    return 1 if lost or double or statuses != asked.devices else 0


SHARES = {"median": 0.5, "95 %": 0.95, "largest": 1.0}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--devices", type=int, default=200)
    options.add_argument("--hour", type=float, default=3600.0, help="simulated seconds")
    options.add_argument("--speed", type=float, default=12.0)
    options.add_argument("--every", type=float, default=30.0, help="simulated seconds between two entries of a device")
    options.add_argument("--processes", type=int, default=4)
    options.add_argument("--postgres", action="store_true", help="a PostgreSQL in place of SQLite")
    asked = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="limiar-fleet-")))
        url = stack.enter_context(postgres()).database() if asked.postgres else f"sqlite:///{folder}/fleet.db"
        return campaign(folder, asked, url)


if __name__ == "__main__":
    sys.exit(main())
