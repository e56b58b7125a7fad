"""Timings go beside the bundle, into BUNDLE.measured, because they are never the same twice; so do the answers."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from limiar.convert.pipeline import Converted
from limiar.convert.publish.place import measured_folder
from limiar.convert.publish.publish import for_the_build, write_folder
from limiar.convert.report.release_report import accuracy_panel, rows_by_size, size_panel
from limiar.convert.report.templates import render
from limiar.convert.run.predictions import LATENCY
from limiar.edge_app import APP
from limiar.edge_app.bench.invoke import measure_invoke
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.bundle.manifest import MANIFEST
from limiar.edge_app.report.panels import Mark, Panel, draw_panels
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.machine import Condition, Machine, condition, machine

DWARFS = 8  # times the quickest file's latency: on a linear axis from 0 the quick ones would overlap
CALLS = 300  # of each file: enough for p90; `limiar bench` takes its time


class FileLatency(msgspec.Struct, frozen=True):
    """One model file on the runtime that its figures are from, one thread."""

    runtime: str
    invoke: Latency  # model input -> logits


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """latency.json"""

    schema: int = 1
    app: str
    time: str  # UTC
    bundle: str  # sha256 of the manifest
    machine: Machine
    condition: Condition  # before
    files: dict[str, FileLatency]


def publish_measured(out: Path, converted: Converted) -> Path:
    """Times the bundle's files, interleaved, and writes latency.json, latency.html and what a build reads."""
    before = condition()
    runtimes = {file.name: file.expected_runtime for file in converted.report.files if file.passed and file.expected_runtime}
    latencies = measure_invoke(
        {name: (data, runtimes[name]) for name, data in converted.models.items()}, converted.source.input, count=CALLS
    )
    measured = Measured(
        app=APP,
        time=utc_now(),
        bundle=hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest(),
        machine=machine(),
        condition=before,
        files={name: FileLatency(runtimes[name], found) for name, found in latencies.items()},
    )
    report = converted.report
    latency = _latency_panel(latencies)
    plots = [draw_panels(rows_by_size(report), [panel]) for panel in (size_panel(report), latency, accuracy_panel(report))]
    contents = {
        LATENCY: msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n",
        "latency.html": render(
            "latency.html.j2",
            report=report,
            machine=measured.machine,
            time=measured.time,
            calls=CALLS,
            plots=plots,
            logarithmic=latency.log,
        ),
    }
    folder = measured_folder(out)
    write_folder(folder, contents | for_the_build(converted))
    return folder


def _latency_panel(latencies: Mapping[str, Latency]) -> Panel:
    marks = {
        name: Mark(found.p50_us, found.round_low_us, found.round_high_us, text=f"{found.p50_us:.0f} µs")
        for name, found in latencies.items()
        if found.p50_us is not None
    }
    values = [mark.value for mark in marks.values()]
    log = bool(values) and max(values) > DWARFS * min(values)
    return Panel("latency, µs", marks, from_zero=not log, log=log)
