"""The energy of an inference: each variant alone, at rest, busy, and at rest again, while the board's meter is read.

Not with the repeat processes, in which variants take turns every millisecond: a meter cannot tell these apart. The power at
rest is that of the board with the model loaded, and is subtracted.
"""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import msgspec
from msgspec import Struct

from limiar.edge_app.bench.alone import READY, Asked, Done
from limiar.edge_app.bench.result import Metering, Variant
from limiar.edge_app.bench.timing import Tell
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import printable
from limiar.edge_app.system.emulation import emulated
from limiar.edge_app.system.energy import Energy, Gauge, Meter, Used, energy_of, find_meter
from limiar.edge_app.system.python import python_m

_REST = 0.5  # of the time that it is busy, before and after
_EDGE = 0.1  # of the time that it is busy, at either end: not measured
_POLL_S = 0.05
_START_S = 120.0  # as in starts.py
_LATE_S = 60.0  # beyond the time that it was asked for: one inference of the slowest model


class Metered(Struct, frozen=True):
    """The energy by variant, and how it was measured."""

    metering: Metering
    energy: dict[Variant, Energy]
    notes: tuple[str, ...]  # why some variants have none


class _Lost(Exception):
    """The process ended or fell silent, or the meter did."""


def measure_energy(
    bundle: Bundle, variants: Sequence[Variant], seconds: float, poll: Callable[[], None], progress: Tell
) -> Metered:
    """seconds: of inference, for each variant. poll: called at least every 100 ms. Without a meter nothing is started."""
    if emulator := emulated():
        return Metered(Metering(None, f"the processor is emulated by {emulator}"), {}, ())
    meter = find_meter()
    if isinstance(meter, str):
        return Metered(Metering(None, meter), {}, ())
    found, notes = dict[Variant, Energy](), list[str]()
    for number, variant in enumerate(variants):
        progress("energy", number, len(variants))
        try:
            found[variant] = _measured(bundle, variant, seconds, meter, poll)
        except _Lost as error:
            notes.append(f"the energy of {variant.file} on {variant.runtime} was not measured: {error}")
    return Metered(Metering(meter.name), found, tuple(notes))


def _measured(bundle: Bundle, variant: Variant, seconds: float, meter: Meter, poll: Callable[[], None]) -> Energy:
    """Raises _Lost."""

    def rest() -> Used:
        gauge, until_s = Gauge(meter), time.monotonic() + _REST * seconds
        while time.monotonic() < until_s:
            gauge.poll()
            poll()
            time.sleep(_POLL_S)
        return _used(gauge)

    with _alone() as alone:
        alone.write(msgspec.json.encode(Asked(str(bundle.path), bundle.sha256, variant, seconds)))
        if alone.line(_START_S, poll) != READY:
            raise _Lost("it did not start")
        before, busy = rest(), _Middle(meter, seconds, poll)
        alone.write(b"")
        done = msgspec.json.decode(alone.line(seconds + _LATE_S, busy.poll), type=Done)
        if not (middle := busy.used):
            raise _Lost("this machine was too busy to read the meter in time")
        if not middle.joules:
            raise _Lost("the meter counts nothing")
        whole = Used(middle.joules / middle.seconds * done.seconds, done.seconds)
        return energy_of(meter.name, [before, rest()], whole, done.calls)


class _Middle:
    """The energy used in the middle of a time: of its edges, a meter that says watts now and then knows little."""

    def __init__(self, meter: Meter, seconds: float, poll: Callable[[], None]) -> None:
        """The time begins now."""
        self.used: Used | None = None
        self._meter, self._poll = meter, poll
        self._gauge: Gauge | None = None
        now_s = time.monotonic()
        self._from_s, self._to_s = now_s + _EDGE * seconds, now_s + (1 - _EDGE) * seconds

    def poll(self) -> None:
        """To be called all the time. Raises _Lost."""
        self._poll()
        now_s = time.monotonic()
        if self._gauge is None:
            if self._from_s <= now_s < self._to_s:
                self._gauge = Gauge(self._meter)
        elif now_s < self._to_s:
            self._gauge.poll()
        elif self.used is None:
            self.used = _used(self._gauge)


def _used(gauge: Gauge) -> Used:
    """Raises _Lost."""
    energy = gauge.used()
    if energy is None:
        raise _Lost("the meter no longer answers")
    return energy


class _Alone:
    """A process with one variant."""

    def __init__(self, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
        self._process, self._said = process, said

    def write(self, line: bytes) -> None:
        """Raises _Lost."""
        assert self._process.stdin
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._lost() from None

    def line(self, within_s: float, poll: Callable[[], None]) -> bytes:
        """What it says next. Raises _Lost."""
        assert self._process.stdout
        until_s, line = time.monotonic() + within_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < until_s:
                poll()
                if selector.select(_POLL_S):
                    more = os.read(self._process.stdout.fileno(), 4096)
                    line += more
                    if line.endswith(b"\n"):
                        return line
                    if not more:
                        raise self._lost()
        raise _Lost(f"no answer after {within_s:.0f} s")

    def _lost(self) -> _Lost:
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read(4096).decode("utf-8", "replace").strip().splitlines()
        return _Lost(printable(lines[-1]) if lines and status > 0 else f"its process ended with {status}")


@contextlib.contextmanager
def _alone() -> Iterator[_Alone]:
    with open(os.memfd_create("alone"), "w+b") as said:
        process = subprocess.Popen(
            python_m("limiar.edge_app.bench.alone", str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            process_group=0,  # not the terminal's: this process deals with Ctrl-C
        )
        try:
            yield _Alone(process, said)
        finally:
            process.kill()
            process.communicate()
