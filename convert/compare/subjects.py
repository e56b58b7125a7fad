"""What `limiar compare` reads from a bundle or a RUN, in the same form for both."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from limiar.convert.run.predictions import KERAS, LATENCY, PREDICTIONS, AnswerTable, read_predictions_csv
from limiar.edge_app.bundle.manifest import MANIFEST, PROVEN, Decision, InputSpec, Manifest, Metric
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded
from limiar.train.record.metrics import class_metrics
from limiar.train.record.run_folder import MODEL, RECORD, RECORD_LIMIT, Run, read_predictions, read_run

Kind = Literal["bundles", "runs"]


class Subject(msgspec.Struct, frozen=True):
    """One of the two."""

    kind: Kind
    name: str
    version: str
    sha256: str  # of manifest.json or train.json
    labels: tuple[str, ...]
    positive: str | None
    default_file: str
    files: dict[str, "SubjectFile"]
    answers: AnswerTable | None  # of the test split
    measured_of: str | None  # sha256 of the bundle that the measurements beside it belong to, if they say so
    splits: str | None  # sha256 of splits.csv: which images it was measured on
    not_proven: str | None  # the verdict of a bundle that was allowed without proof
    facts: dict[str, str]  # tool versions, licence, where it comes from, …


class SubjectFile(msgspec.Struct, frozen=True):
    """A model file, or the Keras model of a RUN."""

    bytes: int
    sha256: str
    decision: Decision
    metrics: dict[str, Metric]  # of its whole test split


def read_subject(path: Path) -> Subject:
    """A bundle or a RUN, depending on the folder's files. Raises ConvertError, BundleError, RunError."""
    if (path / MANIFEST).exists():
        return _bundle(open_bundle(path))
    if (path / RECORD).exists():
        return _run(path, read_run(path))
    met = f"{printable(str(path))} has neither {MANIFEST} nor {RECORD}"
    raise ConvertError("E-COMPARE-KIND", f"{met}: give two bundles, two RUNs, or two files of limiar bench --json")


def _bundle(bundle: Bundle) -> Subject:
    manifest = bundle.manifest
    files = {
        name: SubjectFile(file.bytes, file.sha256, file.model.decision, file.model.metrics)
        for name, file in manifest.models.items()
        if file.model
    }
    beside = bundle.path.resolve()
    table = beside.with_name(f"{beside.name}.measured") / PREDICTIONS
    facts = {
        "verdict": manifest.verdict,
        "licence": manifest.licence,
        "intended use": manifest.intended_use,
        "input": _input(manifest.input),
    }
    facts |= {"release counter": str(manifest.release_counter)} | dict(manifest.provenance.run)
    return Subject(
        kind="bundles",
        name=manifest.name,
        version=manifest.version,
        sha256=bundle.sha256,
        labels=manifest.labels,
        positive=manifest.positive,
        default_file=manifest.default_file,
        files=files,
        answers=read_predictions_csv(table).part("test") if table.exists() else None,
        measured_of=_measured_of(table.with_name(LATENCY)),
        splits=manifest.provenance.data.get("splits_sha256"),
        not_proven=_not_proven(manifest),
        facts=facts | {f"tool: {name}": version for name, version in manifest.provenance.tools.items()},
    )


def _measured_of(latency: Path) -> str | None:
    """The manifest's sha256 in latency.json; None if there is no such file, or it is not one."""
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        return msgspec.json.decode(read_bounded(latency, RECORD_LIMIT), type=_Of).bundle
    return None


class _Of(msgspec.Struct, frozen=True):
    bundle: str


def _not_proven(manifest: Manifest) -> str | None:
    if manifest.verdict == PROVEN:
        return None
    return f"{manifest.verdict}: {', '.join(sorted(found.files))}" if (found := manifest.not_proven) else manifest.verdict


def _run(path: Path, run: Run) -> Subject:
    rows = [row for row in read_predictions(path, run) if row.split == "test"]
    answers = AnswerTable(
        labels=run.labels,
        sha256=tuple(row.sha256 for row in rows),
        split=tuple(row.split for row in rows),
        truth=np.array([run.labels.index(row.label) for row in rows], dtype=np.int64),
        logits={KERAS: np.array([row.logits for row in rows], dtype=np.float32).reshape(len(rows), len(run.labels))},
    )
    probabilities = answers.probabilities(KERAS)
    metrics = {} if probabilities is None else class_metrics(answers.truth, probabilities, run.labels, run.positive)
    facts = {"model": run.model, "recipe": run.recipe, "input": _input(run.input), "seed": str(run.seed), "commit": run.commit}
    facts |= {"temperature": f"{run.temperature:.4g}", "epoch kept": f"{run.best_epoch} of {run.epochs}"}
    facts |= {"images": str(run.data.images), "splits sha256": run.data.sha256[:12]}
    facts |= run.parent.facts if run.parent else {}
    return Subject(
        kind="runs",
        name=run.model,
        version=run.recipe,
        sha256=hashlib.sha256(read_bounded(path / RECORD, RECORD_LIMIT)).hexdigest(),
        labels=run.labels,
        positive=run.positive,
        default_file=KERAS,
        files={KERAS: SubjectFile((path / MODEL).stat().st_size, run.model_sha256, Decision(), metrics)},
        answers=answers,
        measured_of=None,
        splits=run.data.sha256,
        not_proven=None,
        facts=facts
        | {f"config: {name}": str(value) for name, value in run.config.items()}
        | {f"tool: {name}": version for name, version in run.versions.items()},
    )


def _input(spec: InputSpec) -> str:
    return " ".join(str(value) for value in msgspec.structs.astuple(spec) if value is not msgspec.UNSET)
