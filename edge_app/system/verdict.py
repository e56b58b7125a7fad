"""Whether what the board did makes a measurement invalid, or doubtful."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from limiar.edge_app.system.board import BoardSample

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled: bit n is now, bit 16 + n is since boot.
_FLAGS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
_NOW, _EVER = 0, 16

# A virtual machine always has a little, and a call that waits for the host looks like a slow one. About that share of calls
# waits: from 5 % on, p95 is the host's figure and no longer the processor's; from 1 % on, p99 is.
STOLEN_INVALID, STOLEN_DOUBTFUL = 0.05, 0.01
WITHHELD_INVALID = 0.01  # of the run; a container's limit stops its processes for most of 100 ms, which p99 shows from 1 % on
OTHERS_DOUBTFUL = 0.10  # of all cores: on a Pi almost half a core; a quiet desktop takes 0.02
LIMIT_LOWERED = 0.01  # of the first limit; less is rounding


class Verdict(Struct, frozen=True):
    """invalid: why the figures must not be used. warnings: why they are doubtful. Each a sentence with its cure."""

    valid: bool
    invalid: tuple[str, ...]
    warnings: tuple[str, ...]


def verdict(samples: Sequence[BoardSample], emulator: str | None = None) -> Verdict:
    """Judges a recording from before to after. emulator: what `emulated` says."""
    if not samples:
        return Verdict(True, (), tuple(_emulation(emulator)))
    invalid = (*_throttling(samples), *_clocks(samples), *_withheld(samples), *_stolen(samples, STOLEN_INVALID, 1.0))
    warnings = (*_emulation(emulator), *_doubts(samples), *_stolen(samples, STOLEN_DOUBTFUL, STOLEN_INVALID))
    return Verdict(not invalid, invalid, warnings)


def throttle_flags(value: int) -> list[str]:
    """A Raspberry Pi's flags in words: 0x50001 -> under-voltage now, under-voltage since boot, throttled since boot."""
    return [f"{name} now" for name in flags_now(value)] + [f"{name} since boot" for name in flags_since_boot(value)]


def flags_now(value: int) -> list[str]:
    """Those of a Raspberry Pi's flags that hold now, in words."""
    return _named(value >> _NOW)


def flags_since_boot(value: int) -> list[str]:
    """Those of a Raspberry Pi's flags that held at some time since boot, in words."""
    return _named(value >> _EVER)


def throttles_at(samples: Sequence[BoardSample]) -> list[bool]:
    """Whether the board throttled, or lacked voltage, between the sample before and this one."""
    return [bool(_events(before, now)) for before, now in zip([samples[0], *samples], samples, strict=False)]


def mean_shares(samples: Sequence[BoardSample]) -> "Shares":
    """Over the whole recording, of the time of all cores."""
    spans = [(now.at_s - before.at_s, now) for before, now in itertools.pairwise(samples) if now.own is not None]
    whole_s = sum(span for span, _ in spans)
    if not whole_s:
        return Shares(0.0, 0.0, 0.0)
    return Shares(
        sum(span * (now.own or 0.0) for span, now in spans) / whole_s,
        sum(span * (now.others or 0.0) for span, now in spans) / whole_s,
        sum(span * (now.stolen or 0.0) for span, now in spans) / whole_s,
    )


class Shares(NamedTuple):
    """Shares of the time of all cores, 0..1."""

    own: float
    others: float
    stolen: float


def _named(bits: int) -> list[str]:
    return [name for bit, name in enumerate(_FLAGS) if bits >> bit & 1]


def _events(before: BoardSample, now: BoardSample) -> int:
    """Bits of `_FLAGS`: what happened between two samples. Bits since boot that were cleared and set again count too."""
    bits = 0
    if now.throttled is not None:
        bits |= now.throttled & 15
        if before.throttled is not None:
            bits |= (now.throttled & ~before.throttled) >> _EVER & 15
    bits |= 1 if now.under_voltage else 0
    grew = before.throttles is not None and now.throttles is not None and now.throttles > before.throttles
    return bits | (4 if grew else 0)


def _throttling(samples: Sequence[BoardSample]) -> Iterator[str]:
    """Low voltage and heat have different cures."""
    met = [(now.at_s, _events(before, now)) for before, now in zip([samples[0], *samples], samples, strict=False)]
    low = [at_s for at_s, bits in met if bits & 1]
    hot = [(at_s, bits & 14) for at_s, bits in met if bits & 14]
    if low:
        yield f"the supply voltage was too low {_when(low)}: use the power supply made for this board, and a short cable"
    if hot:
        bits = 0
        for _, some in hot:
            bits |= some
        yield f"the board slowed down {_when([at_s for at_s, _ in hot])} ({', '.join(_named(bits))}): cool it"


def _when(times_s: Sequence[float]) -> str:
    return f"at {times_s[0]:.0f} s" if len(times_s) == 1 else f"from {times_s[0]:.0f} s to {times_s[-1]:.0f} s"


def _clocks(samples: Sequence[BoardSample]) -> Iterator[str]:
    first = samples[0]
    limits = [sample.limit_mhz for sample in samples if sample.limit_mhz is not None]
    if limits and min(limits) < limits[0] * (1 - LIMIT_LOWERED):
        met = f"from {limits[0]:.0f} to {min(limits):.0f} MHz"
        yield f"the kernel lowered the limit of the clock {met}: cool the board, or stop what manages its power"
    other = next((sample for sample in samples if sample.governors != first.governors), None)
    if other:
        met = f"from {_listed(first.governors)} to {_listed(other.governors)}"
        yield f"the clock governor changed {met} at {other.at_s:.0f} s: stop what changes it"


def _listed(governors: Sequence[str]) -> str:
    return " and ".join(governors) or "none"


def _withheld(samples: Sequence[BoardSample]) -> Iterator[str]:
    seen = [sample.withheld_s for sample in samples if sample.withheld_s is not None]
    took_s = samples[-1].at_s - samples[0].at_s
    if seen and took_s > 0 and (seen[-1] - seen[0]) / took_s > WITHHELD_INVALID:
        yield f"this container's CPU limit stopped its processes for {seen[-1] - seen[0]:.1f} s: measure without one"


def _stolen(samples: Sequence[BoardSample], above: float, to: float) -> Iterator[str]:
    """Of the time that the cores had work for: an idle core has nothing that could be stolen."""
    mean = mean_shares(samples)
    wanted = sum(mean)
    if wanted and above < mean.stolen / wanted <= to:
        met = f"the host of this virtual machine kept its processor waiting for {mean.stolen / wanted:.1%} of the time"
        yield f"{met}: measure when its other guests are quiet, or on real hardware"


def _emulation(emulator: str | None) -> Iterator[str]:
    if emulator:
        yield f"this processor is emulated by {emulator}: an emulator's times mean nothing"


def _doubts(samples: Sequence[BoardSample]) -> Iterator[str]:
    first = samples[0]
    if first.governors not in ((), ("performance",)):
        yield f"the clock governor is {_listed(first.governors)}, not performance: short work runs at a low clock rate"
    if first.limit_mhz and first.rated_mhz and first.limit_mhz < first.rated_mhz * (1 - LIMIT_LOWERED):
        yield f"the clock is limited to {first.limit_mhz:.0f} MHz of {first.rated_mhz:.0f}: it may be hot, or saving power"
    if earlier := _named((first.throttled or 0) >> _EVER):
        yield f"before this run, since it was started, the board had: {', '.join(earlier)}: check its cooling and power supply"
    others = mean_shares(samples).others
    if others > OTHERS_DOUBTFUL:
        yield f"other programs took {others:.0%} of the processor: close them, and measure again"
