#!/usr/bin/env python3
"""Cuts the power under an installation: the old bundle or the new one is current afterwards, and it loads (P4).

    sudo tests/harness/install_cuts.py [--random 50] [--mutants] [--seed N] [--results FILE]

The state folder is on a file system of its own, as in tests/harness/powercut.py. strace kills the installation as it enters its
k-th system call that changes files, for every k, and the file system is shut down at once without its journal; then --random
cuts at any time. After each, `current` must lead to a whole bundle, the new one if it was reported, a service must be able to
start it, and the same installation must succeed. The trace of a whole installation is also read: nothing may be renamed into
place before it is on the disk. With --mutants four installations, each without one of its flushes, must be caught by the cuts
or in the trace: they are the control. Exit status 3 if anything was broken, or a mutant was not caught.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import fcntl
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from limiar.edge_app.bundle.manifest import GOLDEN
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.slots import Slots
from powercut import FS_IOC_SHUTDOWN, NOLOGFLUSH, PROJECT, disk, private_mounts, run

CALLS = (
    "write,fsync,fdatasync,ftruncate,rename,renameat,renameat2,mkdir,mkdirat,"  # those that change files
    "symlink,symlinkat,link,linkat,unlink,unlinkat,rmdir"
)
INSTALL = """
import sys
from pathlib import Path
from limiar.edge_app.install import install as module, record, staging
from limiar.edge_app.install.proof import Proof
module.prove = lambda *of: Proof("any", "any")
{}
module.install(Path(sys.argv[1]), Path(sys.argv[2]))
print("installed", flush=True)
"""
# What is left out -> code that leaves it out.
MUTANTS = {
    "the flush of each file": "staging.fsync = lambda of: None",
    "the flush of each folder": "staging.sync_directory = lambda of: None",
    "the flush of slots.json": "written = record.write_whole; record.write_whole = lambda *of: written(*of, durable=False)",
    "the flush of the link": "record.sync_directory = lambda of: None",
}
INSTALL_S = 0.4  # about as long as an installation takes here, with the start of Python


class Series(msgspec.Struct):
    """The outcome of the cuts of one kind."""

    kind: str
    cuts: int = 0
    reported: int = 0  # installations that had been reported before the cut
    new: int = 0  # cuts after which the new bundle was current
    broken: tuple[str, ...] = ()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--random", type=int, default=50, help="cuts at any time, besides those after each system call")
    options.add_argument("--mutants", action="store_true", help="try the four mutants too")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line for each kind")
    asked = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("install_cuts mounts a file system: run it as root")
    private_mounts()
    with tempfile.TemporaryDirectory(prefix="limiar-cuts-") as name, disk(Path(name)) as (device, mount):
        cuts = Cuts(Path(name), device, mount, asked.bundle)
        rng = random.Random(asked.seed)
        found = [cuts.at_each_call(""), cuts.at_any_time(asked.random, rng)]
        faults = cuts.trace("")
        caught = {what: cuts.caught(code) for what, code in MUTANTS.items()} if asked.mutants else {}
    print(f"seed {asked.seed}\n{'':<24} {'cuts':>5} {'reported':>9} {'new':>5} {'broken':>7}")
    for series in found:
        print(f"{series.kind:<24} {series.cuts:>5} {series.reported:>9} {series.new:>5} {len(series.broken):>7}")
    for series in found:
        print(*series.broken, sep="\n", end="\n" if series.broken else "")
    print(*faults or ["the trace: everything is on the disk before it is renamed into place"], sep="\n")
    for what, how in caught.items():
        print(f"without {what}: {how or 'NOT CAUGHT'}")
    if asked.results:
        with asked.results.open("ab") as file:
            file.writelines(msgspec.json.encode(series) + b"\n" for series in found)
            file.write(msgspec.json.encode({"seed": asked.seed, "trace": faults, "mutants": caught}) + b"\n")
    passed = not any(series.broken for series in found) and not faults and all(caught.values())
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


def small_release(path: Path, source: Path, counter: int, **golden: object) -> Path:
    """A bundle with the default file and one golden image of `source`. golden: other fields of golden.json."""
    bundle = open_bundle(source)
    manifest = bundle.manifest
    listed = msgspec.json.decode(bundle.read(GOLDEN))
    name = manifest.default_file
    listed = {"images": listed["images"][:1], "logits": {name: listed["logits"][name][:1]}} | golden
    kept = (listed["images"][0]["path"], manifest.models[name].path)
    contents = {one: bundle.read(one) for one in kept} | {GOLDEN: msgspec.json.encode(listed)}
    files = tuple(
        msgspec.structs.replace(file, bytes=len(contents[file.path]), sha256=hashlib.sha256(contents[file.path]).hexdigest())
        for file in manifest.files
        if file.path in contents
    )
    changed = msgspec.structs.replace(
        manifest, files=files, version=f"0.{counter}.0", release_counter=counter, not_proven=msgspec.UNSET
    )
    write_bundle(path, changed, contents)
    return path


class Cuts:
    """Installations of a second bundle on a disk where a first one is good."""

    def __init__(self, folder: Path, device: str, mount: Path, bundle: Path) -> None:
        self._device, self._mount, self._before = device, mount, folder / "before"
        first, self._second = (small_release(folder / str(k), bundle, k) for k in (1, 2))
        self._sha256 = open_bundle(self._second).sha256
        subprocess.run([sys.executable, "-P", "-c", INSTALL.format(""), self._before, first], check=True, capture_output=True)
        slots = Slots(self._before)
        slots.start()
        slots.good()

    def at_each_call(self, mutant: str, backwards: bool = False) -> Series:
        """Kills it as it enters each system call; backwards: from the last one on, and only until something is broken."""
        series = Series("after each system call")
        calls = self._calls(mutant)
        for call, k in reversed(calls) if backwards else calls:
            self._mounted()
            strace = ("strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={k}")
            said = subprocess.run([*strace, *self._command(mutant)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            self._cut()
            self._judge(series, b"installed" in said, f"{call} {k}")
            if backwards and series.broken:
                break
        return series

    def at_any_time(self, count: int, rng: random.Random) -> Series:
        series = Series("at any time")
        for _ in range(count):
            self._mounted()
            at_s = rng.uniform(0.5, 1.2) * INSTALL_S
            with subprocess.Popen(self._command(""), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout
                time.sleep(at_s)
                os.set_blocking(process.stdout.fileno(), False)
                said = process.stdout.read() or b""  # what was read before the cut
                self._cut()
                process.kill()
            self._judge(series, b"installed" in said, f"after {at_s:.3f} s")
        return series

    def trace(self, mutant: str) -> list[str]:
        """What an installation renames into place before it is on the disk, read from its system calls."""
        self._mounted()
        with tempfile.NamedTemporaryFile("r") as file:
            strace = ("strace", "-qq", "-y", "-o", file.name, "-e", f"trace=openat,{CALLS}")
            subprocess.run([*strace, *self._command(mutant)], check=True, capture_output=True)
            lines = file.readlines()
        run("umount", self._mount)
        return faults_in(lines, self._mount / "state" / "bundles")

    def caught(self, mutant: str) -> str:
        """How a mutant is caught; empty if it is not."""
        broken = self.at_each_call(mutant, backwards=True).broken
        how = [f"a cut ({broken[0]})"] if broken else []
        return " and ".join(how + [f"the trace ({fault})" for fault in self.trace(mutant)[:1]])

    def _command(self, mutant: str) -> list[str]:
        return [sys.executable, "-P", "-B", "-c", INSTALL.format(mutant), str(self._mount / "state"), str(self._second)]

    def _calls(self, mutant: str) -> list[tuple[str, int]]:
        """The system calls of an installation that change files: name, and how often it was called so far, from 1 on."""
        self._mounted()
        strace = ("strace", "-qq", "-o", "/dev/stderr", "-e", f"trace={CALLS}")
        done = subprocess.run([*strace, *self._command(mutant)], check=True, capture_output=True, text=True)
        run("umount", self._mount)
        so_far: Counter[str] = Counter()
        calls = []
        for name in re.findall(r"^([a-z0-9]+)\(", done.stderr, re.MULTILINE):
            so_far[name] += 1
            calls.append((name, so_far[name]))
        return [*calls, ("exit_group", 1)]

    def _mounted(self) -> None:
        run("mount", "-t", "ext4", self._device, self._mount)
        shutil.rmtree(self._mount / "state", ignore_errors=True)
        shutil.copytree(self._before, self._mount / "state", symlinks=True)
        os.sync()

    def _cut(self) -> None:
        folder = os.open(self._mount, os.O_RDONLY)
        fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.close(folder)

    def _judge(self, series: Series, reported: bool, where: str) -> None:
        """Mounts it again, as the next boot does, and looks."""
        run("umount", self._mount)
        run("mount", "-t", "ext4", self._device, self._mount)
        series.cuts += 1
        series.reported += reported
        try:
            state = self._mount / "state"
            current = open_bundle(state / "bundles" / "current").sha256
            series.new += current == self._sha256
            start = Slots(state).start()
            if start.fell_back or start.bundle != current:
                series.broken += (f"{where}: the start falls back ({start.fell_back})",)
            elif reported and current != self._sha256:
                series.broken += (f"{where}: it was reported, and the old bundle is current",)
            elif subprocess.run(self._command(""), capture_output=True).returncode:
                series.broken += (f"{where}: the next installation fails",)
        except (LimiarError, OSError) as error:
            series.broken += (f"{where}: {error}",)
        finally:
            run("umount", self._mount)


def faults_in(lines: Iterable[str], bundles: Path) -> list[str]:
    """Reads `strace -y` of an installation; says what was renamed into place, or reported, before it was on the disk."""
    unwritten: set[str] = set()  # files with bytes that were not flushed
    entries: dict[str, set[str]] = {}  # folder -> names in it that were not flushed
    faults = []

    def named(path: str) -> None:
        entries.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))

    def waits(path: str) -> Iterator[str]:
        """What of a file or folder is not on the disk."""
        below = f"{path}/"
        yield from (one for one in unwritten if one == path or one.startswith(below))
        yield from (f"{folder}/" for folder, names in entries.items() if names and (folder == path or folder.startswith(below)))

    for line in lines:
        call, _, rest = line.partition("(")
        texts = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        files = re.findall(r"\d+<([^>]*)>", rest)
        if call == "openat" and files and ("O_CREAT" in rest or "O_TMPFILE" in rest) and "= -1" not in rest:
            if "O_TMPFILE" not in rest:
                named(files[-1])
        elif call == "write" and files and files[0].startswith(str(bundles)):
            unwritten.add(files[0])
        elif call == "write" and "installed" in rest:
            faults += [f"reported before the link was on the disk: {names}" for names in [entries.get(str(bundles))] if names]
        elif call in ("fsync", "fdatasync") and files:
            unwritten.discard(files[0])
            entries.pop(files[0], None)
        elif call in ("mkdir", "symlink") and texts:
            named(texts[-1])
        elif call == "linkat" and len(texts) == 2:
            target = os.path.join(files[-1], texts[1]) if files else texts[1]
            unwritten |= {target for one in list(unwritten) if "/#" in one}  # the file that had no name
            named(target)
        elif call.startswith("rename") and len(texts) == 2:
            old, new = texts
            name = os.path.basename(new)
            faults += [f"{name} was renamed before {os.path.relpath(one, bundles)} was on the disk" for one in waits(old)]
            if name == "current":
                others = entries.get(str(bundles), set()) - {"current.next", "install.lock", "slots.lock"}
                faults += [f"current was renamed before {one} was on the disk" for one in sorted(others)]
            for one in [one for one in unwritten if one == old]:
                unwritten.remove(one)
                unwritten.add(new)
            named(new)
    return faults


if __name__ == "__main__":
    sys.exit(main())
