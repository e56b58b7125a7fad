#!/usr/bin/env python3
"""What is a recipe worth on images that it was not trained on? Does not look at the test split.

    studies/cross_validate.py DATA [--recipe limiar] [--set KEY=VALUE] [--folds 3] [--against OTHER.csv]

The images of train and val are cut into contiguous folds of about the same size (groups stay whole). A network trained on the
other folds answers each. Any other split whose name begins with `train` is used only for training, and only its rows outside
the fold's range. Early stopping is off, because the fold itself would have to choose the epoch. Prints AUC (mean over folds: a
network's logits are comparable only with its own), accuracy, and the mean negative log likelihood at the best single
temperature. --out keeps the answers; --against compares them with those of another recipe, image by image.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import csv
import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import Metric
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.system.files import write_whole
from limiar.train.config import INPUT, RECIPES, Config, configured
from limiar.train.data.feed import Examples, labelled
from limiar.train.dataset.image_folder import DataSet, load
from limiar.train.dataset.splits import Shares
from limiar.train.fit import models
from limiar.train.fit.calibrate import fit_temperature
from limiar.train.fit.fit import Identity, fit, logits, prepare
from limiar.train.record.metrics import auc, auc_difference, nll, proportion
from limiar.train.record.run_folder import SplitRow, splits_csv, table_csv

COLUMNS = ("sha256", "fold", "truth", "score")


@dataclass(frozen=True)
class Answers:
    """The answers for the images that are scored."""

    sha256: list[str]
    fold: NDArray[np.int64]  # [N]
    truth: NDArray[np.int64]  # [N], 1 for the second label
    score: NDArray[np.float64]  # [N], logit of the second label against the first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="limiar")
    parser.add_argument("--model", choices=sorted(models.BUILDERS), default="compact")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--share", type=float, default=1.0, help="use this share of each fold's training images: a learning curve"
    )
    parser.add_argument("--out", type=Path, help="write the answers to this CSV")
    parser.add_argument("--against", type=Path, help="print paired differences from the --out of another run")
    asked = parser.parse_args()
    config = msgspec.structs.replace(configured(asked.recipe, asked.changes), patience=0)
    shares = Shares(seed=asked.seed)
    data, _ = load(asked.data, None, INPUT, shares, lambda done, total: None)
    if len(data.labels) != 2:
        sys.exit(f"{asked.data} has {len(data.labels)} labels: give images with two")
    started = time.monotonic()
    answers = held_out(data, asked.model, config, asked.folds, asked.seed, asked.share)
    name = " ".join([asked.recipe, asked.model, *asked.changes, f"seed={asked.seed}", f"share={asked.share:g}"])
    print(f"{name}: {line(answers)}  {time.monotonic() - started:.0f} s", flush=True)
    if asked.out:
        rows = zip(answers.sha256, answers.fold.tolist(), answers.truth.tolist(), answers.score.tolist(), strict=True)
        write_whole(asked.out, table_csv(COLUMNS, rows))
    if asked.against:
        print(f"  against {asked.against.name}: {difference(answers, read(asked.against))}")
    return 0


def held_out(data: DataSet, model: str, config: Config, folds: int, seed: int, share: float) -> Answers:
    """Trains a network for each fold and answers it."""
    scored = [k for k, row in enumerate(data.rows) if row.split in ("train", "val")]
    part = parts([data.rows[k] for k in scored], folds)
    further = [k for k, row in enumerate(data.rows) if row.part == "train" and row.split != "train"]
    score = np.empty(len(scored))
    for fold in range(folds):
        mine = [k for k, own in zip(scored, part, strict=True) if own == fold]
        files = {data.rows[k].file for k in mine}
        # Neighbours in a listing may be from one scan: rows between the fold's images in name order are not trained on.
        outside = [k for k in further if not min(files) <= data.rows[k].file <= max(files)]
        learnt = sorted([k for k, own in zip(scored, part, strict=True) if own != fold] + outside)
        learnt = first_of_each(data, learnt, share)
        if {*data.truth[mine]} != {0, 1} or {*data.truth[learnt]} != {0, 1}:
            sys.exit(
                "a fold or its training images lack a label: give images whose labels are mixed in name order, or fewer --folds"
            )
        train = labelled(data.images, *_with_truth(data, learnt), 2, config.balance, config.smoothing)
        held = labelled(data.images, *_with_truth(data, mine), 2)
        raw = trained(data, train, held, model, config, seed)
        score[part == fold] = raw[:, 1] - raw[:, 0]
    return Answers([data.rows[k].sha256 for k in scored], part, data.truth[scored], score)


def first_of_each(data: DataSet, rows: list[int], share: float) -> list[int]:
    """The first `share` of each label's rows: whole scans, if their images are listed together."""
    own = [[row for row in rows if data.truth[row] == label] for label in range(len(data.labels))]
    return sorted(row for some in own for row in some[: round(len(some) * share)])


def _with_truth(data: DataSet, rows: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    own = np.array(rows, dtype=np.int64)
    return own, data.truth[own]


def parts(rows: Sequence[SplitRow], count: int) -> NDArray[np.int64]:
    """The part 0..count-1 of each row: contiguous in the order given, of about the same size, with each group in one part.

    Neighbours in a listing are often from one scan or session: with a random cut, a network would see the neighbours of the
    images that it answers.
    """
    place = {row.group: k for k, row in reversed(list(enumerate(rows))) if row.group}  # a group is where it first occurs
    order = np.array([place.get(row.group, k) for k, row in enumerate(rows)], dtype=np.int64)
    rank = np.empty(len(rows), np.int64)
    rank[np.argsort(order, kind="stable")] = np.arange(len(rows))
    part = rank * count // len(rows)
    return np.array([part[place.get(row.group, k)] for k, row in enumerate(rows)], dtype=np.int64)


def trained(data: DataSet, train: Examples, held: Examples, model: str, config: Config, seed: int) -> NDArray[np.float32]:
    """The logits [N, 2] of a new network for the images held out."""
    prepare(seed, config)
    spec = INPUT
    identity = Identity(
        model=model,
        recipe="cross-validation",
        labels=data.labels,
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        decode=spec.decode,
        resize=spec.resize,
        data_sha256=hashlib.sha256(splits_csv(data.rows)).hexdigest(),
        seed=seed,
        config=config,
        backend=keras.backend.backend(),
    )

    def build() -> keras.Model:
        return models.build(model, spec, len(data.labels), config.dropout)

    with tempfile.TemporaryDirectory() as folder:
        network = fit(build, train, held, config, identity, Path(folder, "run"), lambda epoch: None).model
    return logits(network, held.images, held.rows)


def line(answers: Answers) -> str:
    """The figures, in one line."""
    each = [auc(answers.truth[answers.fold == f], answers.score[answers.fold == f]) for f in np.unique(answers.fold)]
    right = proportion(int(((answers.score > 0) == answers.truth).sum()), len(answers.truth))
    raw = np.stack([np.zeros_like(answers.score), answers.score], axis=1)
    loss = nll(answers.truth, softmax(raw / fit_temperature(raw, answers.truth)))
    shown = " ".join(f"{value:.4f}" for value in each)
    accuracy = f"{right.value:.4f} ({right.low:.3f} to {right.high:.3f})"
    return f"auc {np.mean(each):.4f} ({shown})  accuracy {accuracy}  nll {loss:.4f}"


def difference(new: Answers, old: Answers) -> str:
    """Paired differences: the mean AUC difference over folds, with a 95 % interval that assumes independent folds."""
    if (new.sha256, new.fold.tolist()) != (old.sha256, old.fold.tolist()):
        sys.exit("--against has other images or folds: give the --out of the same data and --folds")
    found: list[Metric] = []
    for fold in np.unique(new.fold):
        mine = new.fold == fold
        found.append(auc_difference(new.truth[mine], new.score[mine], old.score[mine]))
    mean = float(np.mean([one.value for one in found]))
    half = float(np.sqrt(np.sum([((one.high - one.low) / 2) ** 2 for one in found]))) / len(found)
    gained = int((((new.score > 0) == new.truth) & ((old.score > 0) != old.truth)).sum())
    lost = int((((new.score > 0) != new.truth) & ((old.score > 0) == old.truth)).sum())
    return f"auc {mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f}), {gained} images gained, {lost} lost"


def read(path: Path) -> Answers:
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    truth, fold = (np.array(columns[name], dtype=np.int64) for name in ("truth", "fold"))
    return Answers(columns["sha256"], fold, truth, np.array(columns["score"], dtype=np.float64))


if __name__ == "__main__":
    sys.exit(main())
