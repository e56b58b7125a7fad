"""Starts each variant in fresh processes: what a start costs, and which variants do not start here at all."""

import itertools
import statistics
import subprocess
import time
from collections.abc import Sequence

import msgspec

from limiar.edge_app.bench.result import Variant
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import Tell
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.system.python import python_m

_START_S = 120.0  # for one of them


def start_all(
    bundle: Bundle, variants: Sequence[Variant], image: bytes, starts: int, progress: Tell
) -> dict[Variant, Start | str]:
    """Starts each variant `starts` times, in turn; returns the medians, or why it does not start.

    A file that crashes its runtime ends only that process, and is not measured.
    """
    found: dict[Variant, list[Start]] = {variant: [] for variant in variants}
    failed: dict[Variant, str] = {}
    for number, (_, variant) in enumerate(itertools.product(range(starts), variants)):
        progress("starts", number, starts * len(variants))
        if variant not in failed:
            start = _start(bundle, variant, image)
            if isinstance(start, Start):
                found[variant].append(start)
            else:
                failed[variant] = start
    return {variant: failed.get(variant) or _median(found[variant]) for variant in variants}


def _start(bundle: Bundle, variant: Variant, image: bytes) -> Start | str:
    which = (str(bundle.path), bundle.sha256, variant.file, variant.runtime, str(variant.threads))
    command = python_m("limiar.edge_app.bench.start", *which)
    try:
        done = subprocess.run(
            [*command, str(time.monotonic_ns())], input=image, capture_output=True, timeout=_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took over {_START_S:.0f} s to start"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said and done.returncode > 0 else f"its process ended with {done.returncode}"
    return msgspec.json.decode(done.stdout, type=Start)


def _median(starts: Sequence[Start]) -> Start:
    figures = {
        name: round(statistics.median(getattr(start, name) for start in starts), 3)
        for name in Start.__struct_fields__
        if name != "version"
    }
    return Start(version=starts[0].version, **figures)
