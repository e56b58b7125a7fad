"""The RUN contract: what train writes and convert reads. Types and their files only; needs msgspec alone.

A RUN is a folder that is whole or not there: `model.keras`, `train.json`, `splits.csv`, `predictions.csv`, `history.csv` and
`report.html`. train.json is the record that the others belong to. A RUN in storage may have packed tables, such as
`splits.csv.xz`: the tables are most of it.
"""

import csv
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from limiar.edge_app.bundle.manifest import Count, Envelope, InputSpec, Sha256, Text, Value
from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.system.files import read_bounded
from limiar.edge_app.text import csv_row

MODEL, RECORD, SPLITS, PREDICTIONS, HISTORY, REPORT = (
    "model.keras",
    "train.json",
    "splits.csv",
    "predictions.csv",
    "history.csv",
    "report.html",
)
SPLIT_NAMES = ("train", "val", "test")  # a given split whose name begins with "train" is training and keeps its name
UNPACKED_LIMIT = 256 << 20  # bytes: two million images
RECORD_LIMIT = 4 << 20  # bytes; the largest label list takes a hundredth of it
MODEL_LIMIT = 2 << 30  # bytes: the most that a TensorFlow Lite or ONNX file can hold
_LIMITS = {RECORD: RECORD_LIMIT, MODEL: MODEL_LIMIT}  # of the tables UNPACKED_LIMIT


class RunError(LimiarError):
    """A RUN folder is not what training wrote."""


class TrainingData(Value, frozen=True, forbid_unknown_fields=True):
    """What the run was trained on."""

    folder: Text  # absolute, where the images were; printable (other bytes as \\xNN)
    images: Count
    sha256: Sha256  # of splits.csv's exact bytes, which hold the sha256 of every image


class Lineage(Value, frozen=True, forbid_unknown_fields=True):
    """Which RUN this one continues, and what became of the images that people reviewed since."""

    model_sha256: Sha256  # of that RUN's model.keras
    added: Count  # new in training
    corrected: Count  # training images that got another label
    left_out: Count  # known already, or in val or test

    @property
    def facts(self) -> dict[str, str]:
        """In words, as a report or manifest names them."""
        reviewed = f"{self.added} added, {self.corrected} corrected, {self.left_out} left out"
        return {"parent_model_sha256": self.model_sha256, "reviewed": reviewed}


class Run(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """train.json, schema 1."""

    schema: Literal[1] = 1
    model: Text  # "compact", "lenet" or "windowed"
    recipe: Text  # "standard", "limiar", "reference" or "course"
    labels: tuple[Text, ...]  # in the order of the model's outputs
    positive: Text | None  # with two labels, the one that sensitivity counts
    input: InputSpec
    data: TrainingData
    seed: int
    config: dict[str, bool | int | float | str]  # every number of the run, as train's Config names them
    temperature: float  # already folded into the model's last layer
    epochs: int  # trained
    best_epoch: int  # the epoch, from 1, whose weights were kept
    versions: dict[str, str]  # tool -> version
    commit: Text  # of limiar's source tree, or "unknown"
    model_sha256: Sha256  # of model.keras
    envelope: Envelope | None = None  # of the training images; an older RUN has none
    parent: Lineage | None = None  # None: begun with random weights


class SplitRow(msgspec.Struct, frozen=True):
    """One image: a line of splits.csv."""

    file: str  # relative to the data folder, forward slashes; os.fsdecode'd, bytes that are not UTF-8 as surrogates
    sha256: str  # of the file's bytes
    label: str
    split: str
    group: str  # images of one group (patient, scan) share a split; "" if none was given

    @property
    def part(self) -> str:
        """One of SPLIT_NAMES."""
        return "train" if self.split.startswith("train") else self.split


class PredictionRow(msgspec.Struct, frozen=True):
    """The Keras model's answer for one image: a line of predictions.csv."""

    sha256: str
    split: str
    label: str  # the true one
    logits: tuple[float, ...]  # in the order of Run.labels; columns logit_<label>


class Epoch(msgspec.Struct, frozen=True):
    """A line of history.csv. Losses are mean negative log likelihoods in nats, `loss` weighted and augmented."""

    epoch: int  # from 1
    rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


def read_run(folder: Path) -> Run:
    """train.json of a RUN, with model.keras checked against its sha256. Raises RunError."""
    try:
        run = msgspec.json.decode(_read(folder / RECORD), type=Run)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        where = printable(str(folder / RECORD))
        raise RunError("E-RUN-RECORD", f"{where}: {printable(str(error))[:200]}: train again with this limiar") from None
    _check(folder / MODEL, run.model_sha256)
    return run


def read_model(folder: Path, run: Run) -> bytes:
    """model.keras of a RUN, checked against the sha256 in train.json: these bytes are what is loaded. Raises RunError."""
    return _check(folder / MODEL, run.model_sha256)


def read_splits(folder: Path, run: Run) -> tuple[SplitRow, ...]:
    """splits.csv of a RUN, checked against the sha256 in train.json. Raises RunError."""
    _check(folder / SPLITS, run.data.sha256)
    return tuple(SplitRow(**row) for row in _rows(folder / SPLITS, SplitRow.__struct_fields__))


def read_predictions(folder: Path, run: Run) -> tuple[PredictionRow, ...]:
    """predictions.csv of a RUN. Raises RunError."""
    columns = tuple(f"logit_{label}" for label in run.labels)
    path = folder / PREDICTIONS
    try:
        return tuple(
            PredictionRow(row["sha256"], row["split"], row["label"], tuple(float(row[column]) for column in columns))
            for row in _rows(path, ("sha256", "split", "label", *columns))
        )
    except ValueError as error:
        raise RunError("E-RUN-TABLE", f"{printable(str(path))}: {printable(str(error))}: train again") from None


def record_json(run: Run) -> bytes:
    """train.json."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"


def splits_csv(rows: Iterable[SplitRow]) -> bytes:
    """splits.csv. A file name keeps its bytes, even those that are not UTF-8."""
    return table_csv(SplitRow.__struct_fields__, (msgspec.structs.astuple(row) for row in rows))


def predictions_csv(rows: Iterable[PredictionRow], labels: tuple[str, ...]) -> bytes:
    """predictions.csv; logits with enough digits to read the same float32 back."""
    columns = ("sha256", "split", "label", *(f"logit_{label}" for label in labels))
    return table_csv(columns, ((row.sha256, row.split, row.label, *(f"{x:.9g}" for x in row.logits)) for row in rows))


def table_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> bytes:
    """A CSV with Unix line ends, the same bytes everywhere."""
    return "".join(map(csv_row, (columns, *rows))).encode("utf-8", "surrogateescape")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Line by line: all rows of a large folder at once would take more memory than what is made of them."""
    reader = csv.DictReader(io.TextIOWrapper(io.BytesIO(_read(path)), "utf-8", "surrogateescape", newline=""))
    if tuple(reader.fieldnames or ()) != columns:
        raise RunError("E-RUN-TABLE", f"{printable(str(path))} does not have the columns {', '.join(columns)}: train again")
    try:
        for row in reader:
            if None in row.values() or None in row:
                raise RunError("E-RUN-TABLE", f"{printable(str(path))} has a line with missing or extra fields: train again")
            # One string for all rows that share it.
            yield {name: sys.intern(value) if name in ("label", "split", "group") else value for name, value in row.items()}
    except csv.Error as error:
        raise RunError("E-RUN-TABLE", f"{printable(str(path))} line {reader.line_num}: {error}: train again") from None


def _check(path: Path, want: str) -> bytes:
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != want:
        met = f"{printable(str(path))} has sha256 {found[:12]}, {RECORD} says {want[:12]}"
        raise RunError("E-RUN-HASH", f"{met}: copy the RUN again, or train again")
    return data


def _read(path: Path) -> bytes:
    packed = path.with_name(f"{path.name}.xz")
    try:
        if os.path.lexists(packed) and not os.path.lexists(path):
            return _unpacked(packed)
        return read_bounded(path, _LIMITS.get(path.name, UNPACKED_LIMIT))
    except OSError as error:
        where = printable(str(path))
        kind = ", and a manifest.json is there: it is a bundle" if os.path.lexists(path.with_name("manifest.json")) else ""
        raise RunError("E-RUN-MISSING", f"{where}: {error.strerror}{kind}: give the folder that limiar train wrote") from None


def _unpacked(path: Path) -> bytes:
    import lzma  # some builds of Python lack it, and only a packed table needs it

    try:
        data = lzma.LZMADecompressor().decompress(read_bounded(path, UNPACKED_LIMIT), max_length=UNPACKED_LIMIT + 1)
    except lzma.LZMAError as error:
        raise RunError("E-RUN-PACKED", f"{printable(str(path))}: {error}: copy the RUN again") from None
    if len(data) > UNPACKED_LIMIT:
        raise RunError("E-RUN-PACKED", f"{printable(str(path))} unpacks to over {UNPACKED_LIMIT >> 20} MiB: unpack it yourself")
    return data
