"""What a bundle says of itself, read from its folder: each file only if its sha256 is in the manifest, whose own is known.

Whoever made the bundle wrote all of it, so it is shown as text. Nothing here decides anything: limiar/edge_app/install does.
"""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from limiar.edge_app.bundle.manifest import GOLDEN, MANIFEST, MANIFEST_LIMIT, InputSpec, Manifest, Metric, parse_manifest
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.page.markdown import Block, blocks
from limiar.edge_app.system.files import read_bounded

_CARD, _REPORT = "MODEL_CARD.md", "report.json"
_CARD_BYTES = 128 << 10  # the reference bundle's has 6,000
_REPORT_BYTES = 8 << 20  # the reference bundle's has 220,000
_SHOWN = ("accuracy", "auc", "sensitivity", "specificity", "refer_rate", "accuracy_decided")
_ROWS, _REASONS, _SEEN = 50, 5, 100  # that are shown: model files, why one did not pass, where the default one was verified

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "LEFT OUT"]


class _Finding(Struct, frozen=True):
    check: str
    verdict: str
    message: str
    runtime: str = ""


class _Test(Struct, frozen=True):
    metrics: dict[str, Metric] = {}


class _Run(Struct, frozen=True):
    test: _Test | None = None


class _File(Struct, frozen=True):
    name: str
    verdict: Verdict
    allowed: bool = False
    findings: tuple[_Finding, ...] = ()
    bytes: int | None = None
    runtimes: tuple[_Run, ...] = ()


class _Report(Struct, frozen=True):
    """The part of report.json that is shown."""

    files: tuple[_File, ...]
    images: dict[str, int] = {}


class Row(Struct, frozen=True):
    """A model file in the table of the gate."""

    name: str
    default: bool  # the one that a device takes if it is not told otherwise
    here: bool  # in the bundle
    verdict: Verdict | None  # None: the bundle has no report
    why: tuple[str, ...]  # what it did not pass
    bytes: int | None
    metrics: dict[str, Metric]


class Card(Struct, frozen=True):
    """A bundle, for people."""

    sha256: str  # of its manifest
    name: str
    version: str
    counter: int
    licence: str
    intended_use: str
    labels: tuple[str, ...]
    positive: str | None
    input: InputSpec
    refer_below: float  # of the default file
    verdict: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]  # metrics that at least one row has
    images: dict[str, int]  # "test", "golden"
    verified: tuple[str, ...]  # where the default file was seen to give its answers
    blocks: tuple[Block, ...]  # MODEL_CARD.md; empty if there is none


def read_card(folder: Path, sha256: str) -> Card | None:
    """The bundle with this sha256; None if it is not in the folder, or not whole. Raises nothing."""
    try:
        raw = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
        if hashlib.sha256(raw).hexdigest() != sha256:
            return None
        manifest = parse_manifest(raw, where=str(folder))
    except (OSError, LimiarError):
        return None
    default = manifest.models[manifest.default_file].model
    assert default  # `models` has only those
    report = _report(folder, manifest)
    rows = tuple(_rows(manifest, report))
    golden = sum(file.path.startswith("golden/") and file.path != GOLDEN for file in manifest.files)
    return Card(
        sha256=sha256,
        name=manifest.name,
        version=manifest.version,
        counter=manifest.release_counter,
        licence=manifest.licence,
        intended_use=manifest.intended_use,
        labels=manifest.labels,
        positive=manifest.positive,
        input=manifest.input,
        refer_below=default.decision.refer_below,
        verdict=manifest.verdict,
        rows=rows,
        columns=tuple(name for name in _SHOWN if any(name in row.metrics for row in rows)),
        images={**(report.images if report else {}), "golden": golden},
        verified=tuple(seen.line for seen in default.verified[:_SEEN]),
        blocks=tuple(blocks(_read(folder, manifest, _CARD, _CARD_BYTES).decode(errors="replace"))),
    )


def _rows(manifest: Manifest, report: _Report | None) -> list[Row]:
    """The default file first, then as in the report, then what only the manifest has."""
    said = {file.name: file for file in report.files} if report else {}
    rows = []
    for name in list(dict.fromkeys((manifest.default_file, *said, *manifest.models)))[:_ROWS]:
        listed, found = manifest.models.get(name), said.get(name)
        measured = next((run.test.metrics for run in found.runtimes if run.test), {}) if found else {}
        why = [f"{one.check}: {one.message}" for one in found.findings if one.verdict != "PASS"] if found else []
        rows.append(
            Row(
                name=name,
                default=name == manifest.default_file,
                here=listed is not None,
                verdict=found.verdict if found else None,
                why=tuple(dict.fromkeys(why))[:_REASONS],
                bytes=listed.bytes if listed else found.bytes if found else None,
                metrics=listed.model.metrics if listed and listed.model else measured,
            )
        )
    return rows


def _report(folder: Path, manifest: Manifest) -> _Report | None:
    try:
        return msgspec.json.decode(_read(folder, manifest, _REPORT, _REPORT_BYTES), type=_Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _read(folder: Path, manifest: Manifest, name: str, limit: int) -> bytes:
    """A file of the bundle; empty if it is not as the manifest says."""
    listed = next((file for file in manifest.files if file.path == name), None)
    if listed is None or listed.bytes > limit:
        return b""
    try:
        found = read_bounded(folder / name, limit)
    except OSError:
        return b""
    return found if hashlib.sha256(found).hexdigest() == listed.sha256 else b""
