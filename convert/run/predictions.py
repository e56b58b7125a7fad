"""Every answer for the images of validation and test: for the report's plots, and for predictions.csv beside the bundle.

`limiar compare` pairs two bundles by these, image by image.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.system.files import read_bounded
from limiar.train.record.run_folder import UNPACKED_LIMIT, table_csv

PREDICTIONS = "predictions.csv"
LATENCY = "latency.json"  # beside it, with the hash of the bundle that both belong to
KERAS = "keras"  # among the names of model files: the model that they were made from
_IMAGE = ("sha256", "split", "label")


class AnswerTable(msgspec.Struct, frozen=True):
    """Row k of everything is one image."""

    labels: tuple[str, ...]  # the K names
    sha256: tuple[str, ...]  # [N], of the images' bytes
    split: tuple[str, ...]  # [N], "val" or "test"
    truth: NDArray[np.int64]  # [N], indices into labels
    logits: Mapping[str, NDArray[np.float32]]  # KERAS, then each model file on its own runtime: [N, K]

    def part(self, split: str) -> "AnswerTable":
        """The images of one split."""
        return self.rows([number for number, own in enumerate(self.split) if own == split])

    def rows(self, numbers: list[int]) -> "AnswerTable":
        """The images of these numbers, in this order."""
        return AnswerTable(
            labels=self.labels,
            sha256=tuple(self.sha256[number] for number in numbers),
            split=tuple(self.split[number] for number in numbers),
            truth=self.truth[numbers],
            logits={name: logits[numbers] for name, logits in self.logits.items()},
        )

    def probabilities(self, name: str) -> NDArray[np.float64] | None:
        """float64 [N, K] of KERAS or a model file; None if it has given NaN or infinity, or nothing."""
        logits = self.logits.get(name)
        if logits is None or not np.isfinite(logits).all():
            return None
        return softmax(logits)


def predictions_csv(answers: AnswerTable) -> bytes:
    """predictions.csv: an image a line; logits as `<file>:<label>`, with enough digits to read the same float32 back."""
    columns = [*_IMAGE, *(f"{name}:{label}" for name in answers.logits for label in answers.labels)]
    logits = np.concatenate(list(answers.logits.values()), axis=1)
    truth = [answers.labels[label] for label in answers.truth]
    images = zip(answers.sha256, answers.split, truth, logits.tolist(), strict=True)
    return table_csv(columns, ((*image, *(f"{logit:.9g}" for logit in row)) for *image, row in images))


def read_predictions_csv(path: Path) -> AnswerTable:
    """predictions.csv of BUNDLE.measured. Raises ConvertError: it cannot be read, or is not what `predictions_csv` writes."""
    where = printable(str(path))
    try:
        columns, *rows = csv.reader(
            io.StringIO(read_bounded(path, UNPACKED_LIMIT).decode("utf-8", "surrogateescape"), newline="")
        )
        named = [column.partition(":") for column in columns[len(_IMAGE) :]]
        names = tuple(dict.fromkeys(name for name, _, _ in named))
        labels = tuple(dict.fromkeys(label for _, _, label in named))
        if tuple(columns[: len(_IMAGE)]) != _IMAGE or [(name, label) for name, _, label in named] != [
            (name, label) for name in names for label in labels
        ]:
            raise ValueError("other columns")
        logits = np.array([row[len(_IMAGE) :] for row in rows], dtype=np.float32).reshape(len(rows), len(names), len(labels))
        return AnswerTable(
            labels=labels,
            sha256=tuple(row[0] for row in rows),
            split=tuple(row[1] for row in rows),
            truth=np.array([labels.index(row[2]) for row in rows], dtype=np.int64),
            logits={name: logits[:, number] for number, name in enumerate(names)},
        )
    except (OSError, ValueError, csv.Error) as error:
        reason = printable(str(error))[:200]
        raise ConvertError("E-COMPARE-TABLE", f"{where}: {reason}: convert again, or move it away") from None
