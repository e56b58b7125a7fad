"""The images of a model as its inputs, each checked to be the one that was listed; in a RUN, the one that training saw."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import Envelope, InputSpec
from limiar.edge_app.errors import ConvertError, ImageError, printable
from limiar.edge_app.image.read import read_file
from limiar.edge_app.image.statistics import measure
from limiar.train.dataset.reading import Item, RefusedImage, read_all
from limiar.train.record.run_folder import SplitRow

CALIBRATION_IMAGES = 300  # of the train split; TensorFlow's guide asks for 100-500
CALIBRATION_AT_LEAST = 16  # fewer say too little about the ranges inside the model


class Split(msgspec.Struct, frozen=True):
    """The images of one split as a device would see them."""

    tensors: Pixels  # uint8 [N, H, W, C]
    labels: np.ndarray  # int64 [N], indices into the run's labels
    sha256: tuple[str, ...]  # [N], of the files
    groups: tuple[str, ...]  # [N], "" if none was given


def split_rows(rows: Sequence[SplitRow], part: str, labels: tuple[str, ...]) -> list[SplitRow]:
    """Those of "val" or "test". Raises ConvertError: a label has no image, or an image a label that is not listed."""
    chosen = [row for row in rows if row.part == part]
    if foreign := {row.label for row in chosen} - set(labels):
        met = f"the {part} split has the label {printable(min(foreign))}, train.json has {', '.join(labels)}"
        raise ConvertError("E-CONVERT-LABEL", f"{met}: train again")
    for label in labels:
        if not any(row.label == label for row in chosen):
            met = f"the {part} split has no image of {printable(label)}"
            raise ConvertError("E-CONVERT-SPLIT", f"{met}: the gate needs some of each label; train with more data")
    return chosen


def split_of(rows: Sequence[SplitRow], tensors: Pixels, labels: tuple[str, ...]) -> Split:
    """A split of its rows, uint8 [N, H, W, C] of which are read."""
    truth = np.array([labels.index(row.label) for row in rows])
    return Split(tensors, truth, tuple(row.sha256 for row in rows), tuple(row.group for row in rows))


def read_tensors(folder: Path, rows: Sequence[SplitRow], spec: InputSpec) -> Pixels:
    """uint8 [N, H, W, C], decoded and resized by edge_app. Raises ConvertError: an image is missing, or is not the run's."""
    tensors = np.empty((len(rows), spec.height, spec.width, spec.channels), np.uint8)
    for index, tensor in _read(folder, rows, spec):
        tensors[index] = tensor
    return tensors


def training_envelope(folder: Path, rows: Sequence[SplitRow], spec: InputSpec) -> Envelope:
    """Of the train split's images. Raises ConvertError as `read_tensors` does; ValueError if there is none."""
    training = [row for row in rows if row.part == "train"]
    return measure(tensor[np.newaxis] for _, tensor in _read(folder, training, spec))


def _read(folder: Path, rows: Sequence[SplitRow], spec: InputSpec) -> Iterator[tuple[int, Pixels]]:
    """Each row's number with its uint8 [H, W, C], as they come: in processes that an image may hang or end."""
    items = [Item(k, os.fsencode(folder / row.file), os.fsencode(row.file)) for k, row in enumerate(rows)]
    for outcome in read_all(items, spec):
        row, path = rows[outcome.row], items[outcome.row].path
        found = _sha256(path) if isinstance(outcome, RefusedImage) else outcome.sha256.hex()
        if found and found != row.sha256:
            met = f"{printable(path)} has sha256 {found[:12]}, splits.csv says {row.sha256[:12]}"
            raise ConvertError("E-CONVERT-DATA-HASH", f"{met}: give the images of the run with --data, or train again")
        if isinstance(outcome, RefusedImage):
            met = f"{printable(path)}: {outcome.message} ({outcome.code})"
            cure = "convert needs the run's images: give their folder with --data"
            raise ConvertError("E-CONVERT-DATA", f"{met}; {cure}")
        assert outcome.tensor is not None  # no item's pixels were known before
        yield outcome.row, np.frombuffer(outcome.tensor, np.uint8).reshape(spec.height, spec.width, spec.channels)


def _sha256(path: bytes) -> str:
    """Of a file that a reader refused; "" if it cannot be read."""
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except ImageError:
        return ""


def calibration_rows(rows: Sequence[SplitRow], seed: int) -> list[SplitRow]:
    """A seeded sample of the train split. Raises ConvertError: empty, too small, one label, or also in another split."""
    train = sorted((row for row in rows if row.part == "train"), key=lambda row: row.file)
    if len(train) < CALIBRATION_AT_LEAST:
        met = f"{len(train)} training images, calibration needs {CALIBRATION_AT_LEAST}"
        raise ConvertError("E-CONVERT-CALIBRATION-SIZE", f"{met}: give more training images")
    count = min(CALIBRATION_IMAGES, len(train))
    picked = sorted(np.random.default_rng(seed).choice(len(train), count, replace=False).tolist())
    chosen = [train[index] for index in picked]
    if len({row.label for row in chosen}) < 2:
        met = f"all {count} calibration images have the label {printable(chosen[0].label)}"
        raise ConvertError(
            "E-CONVERT-CALIBRATION-LABELS", f"{met}: give training images of every label, or choose another --seed"
        )
    elsewhere = {row.sha256 for row in rows if row.part != "train"}
    for row in chosen:
        if row.sha256 in elsewhere:
            met = f"{printable(row.file)} is used for calibration and is also in val or test"
            raise ConvertError("E-CONVERT-CALIBRATION-OVERLAP", f"{met}: remove the duplicate and train again")
    return chosen


def calibration_tensors(tensors: Pixels) -> Pixels:
    """uint8 [N, H, W, C] -> [N + 1, H, W, C]: the images, and one that carries 0 and 255.

    Without that one the input's scale is fitted to the images (0.655 for pixels in 40..167), and a device's raw bytes would be
    misread. It repeats the first image stretched to the full range, so that inner ranges stay those of real images.
    """
    return np.concatenate([tensors, full_range(tensors[:1])])


def full_range(tensor: Pixels) -> Pixels:
    """The image with its smallest value at 0 and its largest at 255; a flat one gets one pixel of each."""
    low, high = int(tensor.min()), int(tensor.max())
    if low == high:
        stretched = tensor.copy()
        stretched.flat[0], stretched.flat[-1] = 0, 255
        return stretched
    levels = (tensor.astype(np.int32) - low) * 255 // (high - low)
    return levels.astype(np.uint8)
