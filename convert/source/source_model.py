"""The model to convert with its labels and images, from a RUN of `limiar train` or from any .keras file."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from limiar.convert.source.blame import one_line
from limiar.convert.source.class_map import grid, mapped
from limiar.convert.source.ends import input_spec, logits_model, raw_pixels
from limiar.convert.source.keras_file import load_model, read_model_file, saved_with
from limiar.convert.source.keras_model import REPLACE
from limiar.convert.source.origin import KerasFile, RunFolder
from limiar.convert.source.portable import runnable
from limiar.edge_app.bundle.manifest import Envelope, InputSpec, MapGrid
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.files import read_bounded
from limiar.train.dataset.image_folder import default_positive, load
from limiar.train.dataset.image_store import RowsAlone
from limiar.train.dataset.labels import label_fault, looks
from limiar.train.dataset.splits import Shares
from limiar.train.record.run_folder import MODEL, Run, SplitRow, read_model, read_run, read_splits, splits_csv

LABELS_LIMIT = 1000  # a bundle's
_LABELS_BYTES = 1 << 20  # of --labels: a kilobyte for each
DRAWN = (
    "the test split was drawn here: its figures are evidence only if the model never saw these images; "
    "give --csv with the splits that it was trained on"
)


class SourceModel(msgspec.Struct, frozen=True):
    """One model and its images, from whichever source."""

    model: Any  # Keras: raw pixels in, a logit for each label out
    bare: Any  # the same before the scaling was put in front
    mapped: Any  # the same with a class activation map as its second output; None if none was asked for
    grid: MapGrid | None  # of that map
    labels: tuple[str, ...]  # in the order of the outputs
    positive: str | None
    input: InputSpec
    folder: Path  # of the images
    rows: tuple[SplitRow, ...]
    facts: dict[str, str]  # where the model comes from, for report and manifest
    data: dict[str, str]  # what it was trained or is judged on
    tools: dict[str, str]  # that trained it -> version
    seeds: dict[str, int]  # of the training
    envelope: Envelope | None = None  # of the training images, if the training has measured it
    notes: tuple[str, ...] = ()  # what a person should be told


def read_source(origin: RunFolder | KerasFile, seed: int, cam: bool = False) -> SourceModel:
    """Reads and checks it. seed: of the splits, if none are given; cam: with a class activation map.

    Raises ConvertError, RunError and DataError.
    """
    return _from_run(origin, cam) if isinstance(origin, RunFolder) else _from_file(origin, seed, cam)


def _from_run(origin: RunFolder, cam: bool) -> SourceModel:
    run = read_run(origin.folder)
    where = printable(str(origin.folder / MODEL))
    model = load_model(read_model(origin.folder, run), where)
    spec, model = _readied(model, where)
    spec = msgspec.structs.replace(spec, grey_max=run.input.grey_max, dicom=run.input.dicom)
    if spec != run.input:
        met = f"{where} takes {spec.height}x{spec.width}x{spec.channels}"
        wanted = f"{run.input.height}x{run.input.width}x{run.input.channels}, {run.input.decode}, {run.input.resize}"
        raise ConvertError("E-CONVERT-INPUT", f"{met}, the run's image rules give {wanted}: train it again")
    model, head = _logits(model, run.labels, where)
    return SourceModel(
        model=model,
        bare=model,
        mapped=(both := mapped(model, where) if cam else None),
        grid=both and grid(both),
        labels=run.labels,
        positive=run.positive,
        input=msgspec.structs.replace(spec, dicom=spec.dicom or origin.dicom),
        folder=origin.data or Path(run.data.folder),
        rows=read_splits(origin.folder, run),
        facts=run_facts(run) | ({"head": head} if head else {}),
        data={"images": str(run.data.images), "splits_sha256": run.data.sha256},
        tools=run.versions,
        seeds={"train": run.seed},
        envelope=run.envelope,
    )


def _from_file(origin: KerasFile, seed: int, cam: bool) -> SourceModel:
    data = read_model_file(origin.path)
    where = printable(str(origin.path))
    model = load_model(data, where)
    spec, model = _readied(model, where, origin.size)
    spec = msgspec.structs.replace(spec, grey_max=origin.grey_max, dicom=origin.dicom)
    # The gate says how few are too few, by the smallest margin that the test split can decide.
    images, notes = load(origin.data, origin.table, spec, Shares(seed=seed, minimum=1), lambda done, total: None, RowsAlone)
    labels = in_order(origin.order, images.labels) if origin.order else images.labels
    check_labels(labels)
    bare, head = _logits(model, labels, where)
    model = bare
    both = mapped(model, where) if cam else None
    cells = both and grid(both)  # before the scaling, which is not one of its layers, is put in front
    if origin.scaling:
        model = raw_pixels(model, spec, origin.scaling)
        both = both and raw_pixels(both, spec, origin.scaling)
    splits = hashlib.sha256(splits_csv(images.rows)).hexdigest()
    changes = {
        "scaling": str(origin.scaling) if origin.scaling else None,
        "head": head,
        "order of the outputs": printable(origin.order.name) if origin.order else None,
    }
    return SourceModel(
        model=model,
        bare=bare,
        mapped=both,
        grid=cells,
        labels=labels,
        positive=_positive(origin.positive, images.labels),
        input=spec,
        folder=origin.data,
        rows=images.rows,
        facts={
            "model": printable(origin.path.name),
            "images": str(len(images.rows)),
            "splits": f"drawn, seed {seed}: evidence only if the model never saw the test images" if images.drawn else "given",
            "splits_sha256": splits,
            "model_sha256": hashlib.sha256(data).hexdigest(),
        }
        | {name: value for name, value in changes.items() if value},
        data={"images": str(len(images.rows)), "splits_sha256": splits},
        tools={"keras": version} if (version := saved_with(data)) else {},
        seeds={},
        notes=(*notes, *([DRAWN] if images.drawn else [])),
    )


def _readied(model: Any, where: str, size: tuple[int, int] | None = None) -> tuple[InputSpec, Any]:
    """What it takes, and the model in a form that this machine can compute."""
    spec = input_spec(model, where, size)
    with one_line("E-CONVERT-KERAS", f"{where} cannot be rebuilt for one image on a CPU", REPLACE, model):
        return spec, runnable(model, (spec.height, spec.width, spec.channels))


def _logits(model: Any, labels: tuple[str, ...], where: str) -> tuple[Any, str | None]:
    with one_line("E-CONVERT-KERAS", f"the end of {where} cannot be cut to logits", REPLACE, model):
        return logits_model(model, labels, where)


def check_labels(labels: tuple[str, ...]) -> None:
    """Refuses labels that a bundle cannot have. Raises ConvertError."""
    if len(labels) > LABELS_LIMIT:
        raise ConvertError("E-CONVERT-LABEL", f"there are {len(labels)} labels, a bundle has up to {LABELS_LIMIT}: merge some")
    for label in labels:
        if fault := label_fault(label):  # as for training: a RUN's labels are fit
            raise ConvertError("E-CONVERT-LABEL", f"the label {printable(label)!r} {fault}")


def in_order(file: Path, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels as a file lists them, one a line, in the order of the model's outputs. Raises ConvertError.

    labels: of the images, which must be the same.
    """
    where = f"--labels {printable(str(file))}"
    cure = "give a text file in UTF-8 with the images' labels, one a line, in the order of the model's outputs"
    try:
        lines = read_bounded(file, _LABELS_BYTES, follow=True).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError("E-CONVERT-LABEL", f"{where}: {printable(str(error))[:200]}: {cure}") from None
    own = {looks(label): label for label in labels}  # an editor's é need not be the folder's
    listed = tuple(own.get(looks(line), line.strip()) for line in lines if line.strip())
    wrong = {
        "lists a label twice": len(set(listed)) < len(listed),
        f"lacks {_some(set(labels) - set(listed))}": set(labels) - set(listed),
        f"lists {_some(set(listed) - set(labels))}, which no image has": set(listed) - set(labels),
    }
    if met := next((text for text, found in wrong.items() if found), None):
        raise ConvertError("E-CONVERT-LABEL", f"{where} {met}: {cure}")
    return listed


def _some(labels: set[str]) -> str:
    return printable(", ".join(sorted(labels)[:3]))[:200]


def _positive(asked: str | None, labels: tuple[str, ...]) -> str | None:
    if asked is None:
        return default_positive(labels)
    if asked not in labels or len(labels) > 2:
        met = f"--positive {printable(asked)} is not one of two labels; there are {printable(', '.join(labels[:8]))}"
        raise ConvertError("E-CONVERT-POSITIVE", f"{met}: choose one of two, or leave it out")
    return asked


def run_facts(run: Run) -> dict[str, str]:
    """Which training run a bundle comes from."""
    return {
        "model": run.model,
        "recipe": run.recipe,
        "epoch": f"{run.best_epoch} of {run.epochs}",
        "temperature": f"{run.temperature:.4g}",
        "seed": str(run.seed),
        "images": str(run.data.images),
        "splits_sha256": run.data.sha256,
        "model_sha256": run.model_sha256,
        "commit": run.commit,
    } | (run.parent.facts if run.parent else {})
