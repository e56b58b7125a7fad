"""Boots machines in QEMU and reads what their guest prints.

A guest writes to one port: `@begin NAME`, a command's stdout, `@errors`, its stderr and `@end STATUS`, for each command of
guest/jobs or guest/service.py; `@scan`, then the lines of a running scan; `@done` at the end.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple, TextIO

from virtualpi import Failed, qemu
from virtualpi.image import Image
from virtualpi.namespace import scratch_root

_QUIET = "quiet loglevel=1 panic=-1"  # and -no-reboot: a panic ends QEMU
_PORT = "/dev/vport0p1"  # of the first virtio device


class Board(NamedTuple):
    """A machine that QEMU has."""

    machine: str  # -M
    name: str  # as its device tree says
    cpu_part: str  # as /proc/cpuinfo says
    memory_mb: int


VIRT = Board("virt", "linux,dummy-virt", "0xd08", 2048)
BOARDS = (  # QEMU has only these sizes of memory; of the 2 GB, Linux finds the first
    Board("raspi3b", "Raspberry Pi 3 Model B", "0xd03", 1024),
    Board("raspi4b", "Raspberry Pi 4 Model B", "0xd08", 2048),
)


class Data(NamedTuple):
    """A second disk whose writes are logged, in a folder."""

    disk: Path
    log: Path


class Said(NamedTuple):
    """What a command in a guest said."""

    out: str
    err: str
    status: int


@dataclass
class Guest:
    """A running machine."""

    process: "Popen[str]"
    log: TextIO
    deadline_s: float  # by the monotonic clock
    lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)  # None: it has ended

    def next_line(self) -> str:
        """Raises Failed: it has ended, or says nothing for too long."""
        try:
            line = self.lines.get(timeout=max(0.0, self.deadline_s - time.monotonic()))
        except queue.Empty:
            raise Failed("the machine did not answer in time") from None
        if line is None:
            raise Failed("the machine ended before its answer")
        return line

    def answers(self, until: str = "@done") -> Mapping[str, Said]:
        """The output of its commands, by their names, up to the line `until`. Raises Failed."""
        found: dict[str, Said] = {}
        name, out, err = "", list[str](), list[str]()
        part = out
        while (line := self.next_line()) != until:
            match line.split(" "):
                case ["@begin", begun]:
                    name, out, err = begun, [], []
                    part = out
                case ["@errors"]:
                    part = err
                case ["@end", status]:
                    found[name] = Said("\n".join(out), "\n".join(err), int(status))
                case _:
                    part.append(line)
        return found

    def read_so_far(self) -> list[str]:
        """The lines that have been read but not yet returned. Raises Failed."""
        found = []
        while not self.lines.empty():
            line = self.lines.get()
            if line is None:
                raise Failed("the machine stopped unexpectedly")
            found.append(line)
        return found

    def listen(self) -> None:
        """Reads its output until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.write(line)
            if line.endswith("\n"):  # otherwise it was cut off
                self.lines.put(line.rstrip("\r\n").replace("\0", ""))
        self.lines.put(None)

    def cut(self) -> None:
        """Kills it, and returns once nothing of it runs any more."""
        self.process.kill()
        while self.lines.get() is not None:
            pass


@contextmanager
def booted(
    board: Board, image: Image, job: Mapping[str, str], log: TextIO, data: Data | None = None, limit_s: float = 400
) -> Iterator[Guest]:
    """A machine that runs a job of guest/jobs; its output also goes to `log`."""
    binds = {"/kernel": image.kernel, "/initrd": image.initrd, "/disk": image.disk}
    words = [*_COMMON, "-M", board.machine, "-m", str(board.memory_mb)]
    if board is VIRT:
        words += _VIRT
        there = {"disk": "/dev/vda", "speech": _PORT}
    else:
        words += _BOARD
        there = {"disk": "/dev/mmcblk0", "speech": "/dev/ttyS1", "console": "ttyS1"}
        binds["/tree"] = image.trees[board.machine]
    if data:
        words += _DATA
        binds |= {"/data/disk": data.disk, "/data/log": data.log}
    append = " ".join([_QUIET, *(f"{name}={value}" for name, value in (there | dict(job)).items())])
    command = ["qemu-system-aarch64", *words, "-append", append]
    log.write(f"\n==== {board.machine}: {' '.join(command)}\n")
    with scratch_root(qemu.system_root(), binds=binds) as root, root.start(*command, network=False) as process:
        guest = Guest(process, log, time.monotonic() + limit_s)
        listener = threading.Thread(target=guest.listen, daemon=True)
        listener.start()
        try:
            yield guest
        finally:
            process.kill()
            listener.join()
            assert process.stderr is not None
            log.write(process.stderr.read())


_COMMON = (
    *("-nodefaults", "-no-reboot", "-display", "none", "-accel", "tcg,thread=multi"),
    *("-kernel", "/kernel", "-initrd", "/initrd", "-chardev", "file,id=speech,path=/dev/stdout"),
)
_VIRT = (
    *("-cpu", "cortex-a72", "-smp", "2", "-nic", "none", "-serial", "file:/dev/stderr"),
    *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=speech"),
    *("-blockdev", "driver=file,node-name=disk,filename=/disk,read-only=on", "-device", "virtio-blk-pci,drive=disk"),
)
# Every write and every flush goes to the log. The image itself is thrown away after a cut, so it is not flushed. The disk must
# report a cache, because Linux would not flush otherwise. The log has no discards, so they are off.
_DATA = (
    *("-blockdev", "driver=file,node-name=data-file,filename=/data/disk,cache.no-flush=on"),
    *("-blockdev", "driver=file,node-name=data-log,filename=/data/log,cache.no-flush=on"),
    *("-blockdev", "driver=blklogwrites,node-name=data,file=data-file,log=data-log"),
    *("-device", "virtio-blk-pci,drive=data,write-cache=on,discard=off,write-zeroes=off"),
)
# The second serial line: the first is the Bluetooth chip's.
_BOARD = ("-dtb", "/tree", "-serial", "null", "-serial", "chardev:speech", "-drive", "file=/disk,format=raw,if=sd,snapshot=on")
