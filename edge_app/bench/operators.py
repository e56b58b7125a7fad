"""Where the time of an inference goes, operator by operator.

onnxruntime measures it, in whole microseconds. The Python wheels of LiteRT and tflite-runtime cannot, so there the median of
invoke is shared out by multiply-accumulates, and is called an estimate.
"""

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from limiar.edge_app.bench.work import Step
from limiar.edge_app.errors import printable

_LARGEST = 256 << 20  # bytes of a profile
_LONGEST_NAME = 40  # characters; a name comes from the model file


class Operator(Struct, frozen=True):
    """One operator of a model file."""

    name: str  # "CONV_2D", "QLinearConv"
    shape: tuple[int, ...]  # of its first output
    macs: int | None  # multiply-accumulates; None: the runtime does not say
    us: float | None  # of one inference; None: it multiplies nothing, and the runtime has no clock for it
    estimated: bool  # shared out by multiply-accumulates
    runs_in: str  # "XNNPACK", "CPUExecutionProvider", or the runtime itself


def estimated(steps: Sequence[Step], invoke_us: float | None) -> tuple[Operator, ...]:
    """The median of invoke, shared out by multiply-accumulates."""
    whole = sum(one.macs for one in steps)
    return tuple(
        Operator(
            name=printable(one.name)[:_LONGEST_NAME],
            shape=one.shape,
            macs=one.macs,
            us=round(invoke_us * one.macs / whole, 3) if invoke_us and one.macs else None,
            estimated=True,
            runs_in=one.runs_in,
        )
        for one in steps
    )


def measured(profile: Path, calls: int) -> tuple[Operator, ...]:
    """What onnxruntime wrote of so many equal calls: each operator's median. Raises OSError and ValueError."""
    if os.path.getsize(profile) > _LARGEST:
        raise ValueError("its profile is too large")
    nodes: dict[str, list[dict[str, Any]]] = {}
    for event in json.loads(profile.read_bytes()):
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            nodes.setdefault(event["args"]["node_index"], []).append(event)
    return tuple(
        Operator(
            name=printable(str(events[0]["args"]["op_name"]))[:_LONGEST_NAME],
            shape=_shape(events[0]["args"].get("output_type_shape", [])),
            macs=None,
            us=statistics.median(event["dur"] for event in events) * len(events) / calls,
            estimated=False,
            runs_in=str(events[0]["args"]["provider"]),
        )
        for events in nodes.values()
    )


def _shape(outputs: Sequence[dict[str, list[int]]]) -> tuple[int, ...]:
    return tuple(int(size) for size in next(iter(outputs[0].values()))) if outputs else ()
