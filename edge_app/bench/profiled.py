"""One process that looks into a model file, or measures a peak, for `limiar bench --profile`.

    python -m limiar.edge_app.bench.profiled PARENT < ASKED

PARENT is the process that started it, with which it ends. stdin is a Look or a Climb as JSON, stdout a Seen or a Peak. stderr
says why there is none. It is not one of those that measure latency: a profiler takes time itself.
"""

import os
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.bench.bare import open_bare, same_model
from limiar.edge_app.bench.operators import Operator, measured
from limiar.edge_app.bench.roofline import Precision, measure_peak
from limiar.edge_app.bench.work import Step, Work, steps, work_of
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.runtimes import RUNTIMES, adapter
from limiar.edge_app.system.children import end_with_parent

_CALLS = 200  # of onnxruntime: its clock has whole microseconds, and an operator's median of so many is steady
_OPENING = 2  # calls that open_bare makes


class Look(Struct, frozen=True, tag=True):
    """At a model file."""

    path: str  # of a bundle, or the file itself
    sha256: str  # of the manifest, or the file
    bare: bool  # the file itself
    file: str
    runtime: str
    threads: int


class Climb(Struct, frozen=True, tag=True):
    """To the peak of this processor."""

    precision: Precision
    runtime: str
    threads: int


class Seen(Struct, frozen=True):
    """What was found in a model file."""

    work: Work
    steps: list[Step] = []  # of TFLite
    operators: tuple[Operator, ...] = ()  # of onnxruntime


def main(parent: str) -> None:
    end_with_parent(int(parent))
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Look | Climb)
    found = _seen(asked) if isinstance(asked, Look) else measure_peak(asked.precision, asked.runtime, asked.threads)
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _seen(asked: Look) -> Seen:
    format = RUNTIMES[asked.runtime].format
    if asked.bare:
        _, data = same_model(asked.path, asked.sha256)
    else:
        bundle = open_bundle(asked.path)
        if bundle.sha256 != asked.sha256:
            sys.exit("another bundle is there now")
        data = bundle.model(asked.file)[1]
    if format == "tflite":
        model = open_bare("tflite", data, asked.runtime, asked.threads).model
        return Seen(work_of(adapter(asked.runtime).open_model(data, 1, False)), steps(model, asked.runtime))
    with tempfile.TemporaryDirectory(prefix="limiar-bench-") as folder:
        bare = open_bare("onnx", data, asked.runtime, asked.threads, os.path.join(folder, "profile"))
        for _ in range(_CALLS):
            bare.invoke()
        found = measured(Path(bare.model.end_profiling()), _CALLS + _OPENING)
    return Seen(Work(None, None, None, None), operators=found)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (LimiarError, OSError, ValueError) as error:
        sys.exit(str(error))
