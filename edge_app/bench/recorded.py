"""What a comparison reads of `limiar bench --json`: of any version's, and of a stranger's."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from limiar.edge_app.bench.percentiles import Percentile
from limiar.edge_app.errors import printable
from limiar.edge_app.system.board import BoardSample
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.system.machine import Machine
from limiar.edge_app.text import counted

_LARGEST = 64 << 20  # bytes of a file: every call of dozens of variants
Us = Annotated[float, Meta(gt=0, lt=1e12)]  # microseconds


class Timed(Struct, frozen=True):
    """The latency of one thing."""

    p50_us: Us | None
    round_low_us: Us  # the lowest median of a round
    round_high_us: Us  # and the highest
    process_p50_us: tuple[Us, ...] = ()  # of each repeat process; older versions had only one
    percentiles: tuple[Percentile, ...] = ()
    rounds: int = 2  # where it is not said, there were some


class OpenLoop(Struct, frozen=True):
    """Answers at a camera's rate, from the scheduled arrival."""

    latency: Timed


class Recording(Struct, frozen=True):
    """The figures of a variant."""

    file: str
    runtime: str
    threads: int
    invoke: Timed
    total: Timed | None = None  # from reading the image to storing the answer
    open_loop: OpenLoop | None = None
    whole: Timed | None = None  # from the bytes of an image to its answer

    @property
    def variant(self) -> tuple[str, str, int]:
        """What two runs have in common."""
        return self.file, self.runtime, self.threads

    @property
    def title(self) -> str:
        """For a person: "tflite_int8 on litert, 1 thread"."""
        return f"{self.file} on {self.runtime}, {counted(self.threads, 'thread')}"


class Recorded(Struct, frozen=True):
    """One run of `limiar bench`."""

    machine: Machine
    measurements: tuple[Recording, ...]
    name: str | None = None  # of the bundle
    version: str | None = None
    bundle: str | None = None  # sha256 of its manifest
    notes: tuple[str, ...] = ()
    valid: bool = True
    invalid: tuple[str, ...] = ()  # why
    yardstick: Timed | None = None
    timeline: tuple[BoardSample, ...] = ()


def read_result(path: Path) -> Recorded:
    """Reads a file of `limiar bench --json`. Raises ValueError, which says what is wrong with it."""
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST, follow=True), type=Recorded)
    except OSError as error:
        raise ValueError(f"{printable(str(path))}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{printable(str(path))}: {printable(str(error))[:200]}") from None


def recorded(result: Struct) -> Recorded:
    """The same of a result that was just measured."""
    return msgspec.json.decode(msgspec.json.encode(result), type=Recorded)
