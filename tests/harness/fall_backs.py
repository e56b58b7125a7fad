#!/usr/bin/env python3
"""Installs bundles that fail in every way at every state of an update: a device is back on its old bundle soon (P6).

    sudo tests/harness/fall_backs.py [--cases 50] [--seed N] [--results FILE]

A device has a good bundle, on a file system of its own, and gets a new one. The installation, or the new bundle once it runs,
is killed, loses its power, runs out of memory, hangs, or answers wrongly: while it is copied, proven and committed, before its
model is loaded, after, and while it answers, from its first, second or third start on. The device starts again whatever ended,
as systemd does; each start is a process that loads the real model. Within 3 starts of the new bundle and 60 s the old one must
answer again, and each start must have used a try that is on the disk. As a control, starts that do not keep their tries must
not come back. Exit status 3 if a case did not come back, or the control did.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from install_cuts import small_release
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.install.record import read_record
from limiar.edge_app.install.slots import Slots
from powercut import FS_IOC_SHUTDOWN, NOLOGFLUSH, PROJECT, disk, private_mounts, run

FAULTS = ("kill", "cut", "memory", "hang", "wrong")
INSTALLING = ("copied", "proven", "committed")
RUNNING = ("before its model is loaded", "after its model is loaded", "while it answers")
STARTS, BACK_S = 3, 60.0  # of the new bundle, and until the old one answers again: reliability's P6
HANGS_S = 6.0  # a start of which so long nothing is heard is ended: several times what a start takes here

MISBEHAVE = """
import os, resource, sys, time
from pathlib import Path
def misbehave(fault):
    if fault == "kill":
        os.kill(os.getpid(), 9)
    if fault in ("cut", "hang"):
        print(fault, flush=True)
        time.sleep(1000)
    if fault == "memory":
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
        bytearray(1 << 30)
    sys.exit("the golden images differ")
"""
INSTALL = (
    MISBEHAVE
    + """
from limiar.edge_app.install import install as module
state, source, fault, moment = sys.argv[1:]
def then(function):
    def instead(*given, **named):
        done = function(*given, **named)
        misbehave(fault)
        return done
    return instead
place = {"copied": "stage", "proven": "prove", "committed": "write_record"}.get(moment)
if place:
    setattr(module, place, then(getattr(module, place)))
module.install(Path(state), Path(source))
print("installed", flush=True)
"""
)
START = (
    MISBEHAVE
    + """
from limiar.edge_app.install import slots
state, new, fault, moment, control = sys.argv[1:]
if control:
    slots.write_record = lambda *of: None
found = slots.Slots(Path(state))
start = found.start()
print(start.bundle, start.tries_left, flush=True)
def at(here):
    if start.bundle == new and moment == here:
        misbehave(fault)
at("before its model is loaded")
from limiar.edge_app.inference.open_classifier import open_classifier
classify = open_classifier(start.path)
at("after its model is loaded")
from limiar.edge_app.bundle.open import open_bundle
bundle = open_bundle(start.path)
image = next(file.path for file in bundle.manifest.files if file.path.startswith("golden/") and not file.path.endswith(".json"))
classify(bundle.read(image))
at("while it answers")
found.good()
print("answers", flush=True)
"""
)


class Case(msgspec.Struct, frozen=True):
    """One fault at one state of an update."""

    fault: str
    moment: str
    clean: int = 0  # starts of the new bundle that end before it is good, before the fault begins


class Outcome(msgspec.Struct):
    """What a device did."""

    starts: int = 0  # of the new bundle
    seconds: float = 0.0  # from the first start after the installation until the old bundle answered
    met: str = ""  # what was wrong; empty if it is back on the old one


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--cases", type=int, default=50, help="more than there are are repeated")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line")
    asked = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("fall_backs mounts a file system: run it as root")
    private_mounts()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="limiar-fall-") as name, disk(Path(name)) as (device, mount):
        field = Field(Path(name), device, mount, asked.bundle)
        outcomes = [(case, field.run(case)) for case in chosen(asked.cases, rng)]
        control = field.run(Case("kill", RUNNING[1]), control=True)
    failed = [(case, outcome) for case, outcome in outcomes if outcome.met]
    for case, outcome in failed:
        print(f"{case.fault}, {case.moment}, after {case.clean} other starts: {outcome.met}")
    most = max(outcome.starts for _, outcome in outcomes)
    longest = max(outcome.seconds for _, outcome in outcomes)
    print(f"seed {asked.seed}: {len(outcomes)} cases, {len(failed)} did not come back")
    print(f"at most {most} starts of the new bundle, and {longest:.1f} s until the old one answered")
    print(f"control, tries that are not kept: {control.met or 'CAME BACK'}")
    if asked.results:
        line = {"seed": asked.seed, "cases": len(outcomes), "failed": len(failed), "starts": most, "seconds": round(longest, 1)}
        with asked.results.open("ab") as file:
            file.write(msgspec.json.encode(line | {"control": control.met}) + b"\n")
    passed = not failed and bool(control.met)
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


def chosen(count: int, rng: random.Random) -> list[Case]:
    """So many cases, in random order; each comes as often as any other, up to once."""
    cases = [Case(fault, moment) for fault in FAULTS for moment in INSTALLING]
    cases += [Case(fault, moment, clean) for fault in FAULTS for moment in RUNNING for clean in range(STARTS)]
    repeated = [case for _ in range(-(-count // len(cases))) for case in rng.sample(cases, len(cases))]
    return repeated[:count]


class Field:
    """A device with a good bundle, whose power can be cut."""

    def __init__(self, folder: Path, device: str, mount: Path, bundle: Path) -> None:
        self._device, self._mount, self._before = device, mount, folder / "before"
        self._state = mount / "state"
        first, self._second = (small_release(folder / str(k), bundle, k) for k in (1, 2))
        self._old, self._new = open_bundle(first).sha256, open_bundle(self._second).sha256
        command = [sys.executable, "-P", "-c", INSTALL, str(self._before), str(first), "", ""]
        subprocess.run(command, check=True, capture_output=True)
        slots = Slots(self._before)
        slots.start()
        slots.good()

    def run(self, case: Case, control: bool = False) -> Outcome:
        """Installs the second bundle, with the fault, and starts the device until the old one answers."""
        run("mount", "-t", "ext4", self._device, self._mount)
        try:
            shutil.rmtree(self._state, ignore_errors=True)
            shutil.copytree(self._before, self._state, symlinks=True)
            os.sync()
            fault = case.fault if case.moment in INSTALLING else ""
            said = self._process([INSTALL, str(self._state), str(self._second), fault, case.moment])
            if ("installed" in said) != (not fault):
                return Outcome(met="the installation ended in another way")
            return self._started(case, control)
        finally:
            run("umount", self._mount)

    def _started(self, case: Case, control: bool) -> Outcome:
        outcome, begun = Outcome(), time.monotonic()
        while outcome.starts <= STARTS:
            bad = outcome.starts >= case.clean
            fault = (case.fault, case.moment) if bad else ("kill", RUNNING[1])
            said = self._process([START, str(self._state), self._new, *fault, "control" if control else ""])
            outcome.seconds = time.monotonic() - begun
            bundle, _, tries = said.partition("\n")[0].partition(" ")
            if bundle == self._old:
                late = outcome.seconds > BACK_S
                silent = "" if "answers" in said else "the old one does not answer"
                outcome.met = f"it took {outcome.seconds:.0f} s" if late else silent
                return outcome
            outcome.starts += 1
            record = read_record(self._state / "bundles")
            kept = record and record.b and record.b.tries_left
            if bundle != self._new or (kept != int(tries) and not control):
                outcome.met = f"start {outcome.starts}: {kept} tries are on the disk, {said!r} was said"
                return outcome
        outcome.met = f"{outcome.starts} starts of the new bundle, and the old one is not back"
        return outcome

    def _process(self, words: list[str]) -> str:
        """What a process said until it ended, hung, or the power was cut."""
        command = [sys.executable, "-P", "-B", "-c", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            said, until = "", time.monotonic() + 60
            while line := process.stdout.readline():
                said += line
                if line == "hang\n":
                    time.sleep(min(HANGS_S, max(0.0, until - time.monotonic())))
                    process.kill()
                if line == "cut\n":
                    self._cut()
                    process.kill()
        if "cut\n" in said:
            run("umount", self._mount)
            run("mount", "-t", "ext4", self._device, self._mount)
        return said

    def _cut(self) -> None:
        folder = os.open(self._mount, os.O_RDONLY)
        fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main())
