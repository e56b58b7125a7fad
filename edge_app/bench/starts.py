"""Starts each variant in fresh processes: what a start costs, and which variants do not start here at all."""

import itertools
import statistics
import subprocess
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from limiar.edge_app.bench.result import Skipped, Variant
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import Tell
from limiar.edge_app.errors import RuntimeUnavailable, printable
from limiar.edge_app.system.python import python_m

_START_S = 120.0  # for one of them


class Subject(Struct, frozen=True):
    """What is started."""

    path: str  # of a bundle or a model file
    sha256: str  # of the manifest or the model file that the caller read
    module: str = "limiar.edge_app.bench.start"


def start_all(
    subject: Subject, variants: Sequence[Variant], image: bytes, starts: int, progress: Tell
) -> tuple[dict[Variant, Start], list[Skipped]]:
    """Starts each variant `starts` times, in turn; returns the medians, and those that do not start, with the reason.

    A file that crashes its runtime ends only that process, and is not measured. Raises RuntimeUnavailable: not one starts.
    """
    found: dict[Variant, list[Start]] = {variant: [] for variant in variants}
    failed: dict[Variant, str] = {}
    for number, (_, variant) in enumerate(itertools.product(range(starts), variants)):
        progress("starts", number, starts * len(variants))
        if variant not in failed:
            start = _start(subject, variant, image)
            if isinstance(start, Start):
                found[variant].append(start)
            else:
                failed[variant] = start
    skipped = [Skipped(one.file, one.runtime, one.threads, met) for one, met in failed.items()]
    if len(failed) == len(variants):
        met = skipped[0].message if skipped else "no runtime that reads these files is installed, or chosen"
        raise RuntimeUnavailable("E-BENCH-NOTHING", f"{printable(subject.path)}: nothing runs ({met}): see `limiar doctor`")
    return {variant: _median(found[variant]) for variant in variants if variant not in failed}, skipped


def _start(subject: Subject, variant: Variant, image: bytes) -> Start | str:
    which = (subject.path, subject.sha256, variant.file, variant.runtime, str(variant.threads))
    command = python_m(subject.module, *which)
    try:
        done = subprocess.run(
            [*command, str(time.monotonic_ns())], input=image, capture_output=True, timeout=_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took over {_START_S:.0f} s to start"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said and done.returncode > 0 else f"its process ended with {done.returncode}"
    try:
        return msgspec.json.decode(done.stdout, type=Start)
    except msgspec.MsgspecError:  # a runtime may print what it likes
        return "its process wrote something else than its figures"


def _median(starts: Sequence[Start]) -> Start:
    figures = {
        name: round(statistics.median(getattr(start, name) for start in starts), 3)
        for name in Start.__struct_fields__
        if name != "version"
    }
    return Start(version=starts[0].version, **figures)
