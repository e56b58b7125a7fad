"""The outcome of `limiar bench`, as `--json` writes it."""

from typing import Literal

from msgspec import Struct

from limiar.edge_app.bench.installed import Installed
from limiar.edge_app.bench.loops import WarmUp
from limiar.edge_app.bench.operators import Operator
from limiar.edge_app.bench.ratios import Ratio
from limiar.edge_app.bench.roofline import Peak
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import BEYOND, Latency
from limiar.edge_app.bench.work import Work
from limiar.edge_app.inference.verified import VerifiedBy
from limiar.edge_app.system.board import BoardSample
from limiar.edge_app.system.energy import Energy
from limiar.edge_app.system.machine import Condition, Machine
from limiar.edge_app.text import counted


class Variant(Struct, frozen=True):
    """One thing to measure: a model file on a runtime with so many threads."""

    file: str
    runtime: str
    threads: int


class OpenLoop(Struct, frozen=True):
    """Images that arrive at a camera's rate, each measured from when it was due to its answer in the store."""

    rate_hz: float
    planned: int  # images
    late: int  # images that were due while an earlier one was being answered
    latency: Latency

    @property
    def kept_up(self) -> bool:
        """Otherwise it fell behind for good and gave up: its percentiles are too low."""
        return self.latency.count == self.planned


class Measurement(Struct, frozen=True):
    """The figures of a variant."""

    file: str
    runtime: str
    version: str  # of the runtime
    threads: int
    verified: VerifiedBy | Literal["no"]  # no: `limiar scan` would run the golden images first
    bytes: int  # of the model file
    invoke: Latency  # inference alone: input and output are not copied
    whole: Latency | None  # from the bytes of an image to its answer: decode, resize, invoke, decide; None: kind is "model"
    start: Start  # the median of each of its figures
    stages: dict[str, Latency] = {}  # read, decode, resize, invoke, decide, store: pipeline.STAGES
    total: Latency | None = None  # all stages: from the image's file to its answer on the disk
    warm_up: WarmUp | None = None  # of invoke, in the process that took longest
    open_loop: OpenLoop | None = None  # with --rate
    energy: Energy | None = None  # of one inference, by BenchResult.energy's meter
    work: Work | None = None  # with --profile
    operators: tuple[Operator, ...] = ()  # with --profile


class Proposal(Struct, frozen=True):
    """What should answer on this device."""

    best: Variant
    why: str
    over: Ratio | None  # its time from image to answer, divided by that of the bundle's default file; None: it is that one
    runner_up: Variant | None


class VariantRatio(Struct, frozen=True):
    """A variant's time divided by that of the reference, in the same rounds. None: under two rounds."""

    variant: Variant
    reference: Variant  # the bundle's default file on the first runtime and threads that were measured, else the first variant
    invoke: Ratio | None  # inference alone
    whole: Ratio | None  # from the bytes of an image to its answer


class Skipped(Struct, frozen=True):
    """A variant that does not start here, and why."""

    file: str
    runtime: str
    threads: int
    message: str


class Metering(Struct, frozen=True):
    """What measured energy, or why nothing did."""

    meter: str | None
    reason: str = ""  # if there is no meter


def titled(one: Variant | Measurement | Skipped) -> str:
    """tflite_int8 on litert, 2 threads."""
    return f"{one.file} on {one.runtime}, {counted(one.threads, 'thread')}"


class Unread(Struct, frozen=True):
    """An image that was not measured, and why."""

    path: str
    message: str


class BenchResult(Struct, frozen=True, kw_only=True):
    """The outcome."""

    schema: int = 1  # of this file
    app: str  # "limiar 0.1.0"
    time: str  # UTC
    bundle: str  # sha256 of the manifest, or of a model file without a bundle
    name: str  # of the bundle, or the model file
    version: str  # of the bundle; empty for a model file
    seed: int  # of the order in which variants took turns
    beyond: int = BEYOND  # calls beyond a percentile that is given, with a confidence of 99 %
    starts: int  # fresh processes for each variant
    inputs: int  # different images
    image: str  # what they are
    machine: Machine
    before: Condition  # the machine, before the run
    after: Condition  # and after it
    notes: tuple[str, ...]  # why the figures are doubtful
    measurements: tuple[Measurement, ...]  # of each variant
    skipped: tuple[Skipped, ...]  # variants that do not start here
    preset: str = ""  # plan.PRESETS
    processes: int = 1  # fresh ones that measured, one after another
    valid: bool = True
    invalid: tuple[str, ...] = ()  # why the figures must not be used
    yardstick: Latency | None = None  # a fixed piece of work that took turns with the variants
    timeline: tuple[BoardSample, ...] = ()  # what the board did meanwhile
    unread: tuple[Unread, ...] = ()  # images that were not measured
    proposal: Proposal | None = None  # None: no variant is verified here
    energy: Metering | None = None
    installed: Installed | None = None
    ratios: tuple[VariantRatio, ...] = ()  # of all variants but the reference
    peaks: tuple[Peak, ...] = ()  # of this processor, with --profile
    kind: Literal["bundle", "model"] = "bundle"  # model: a model file alone, of which only invoke was measured
