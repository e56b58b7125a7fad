"""A finished RUN in a few lines for the terminal."""

from collections import Counter
from pathlib import Path

import numpy as np

from limiar.edge_app.errors import printable
from limiar.edge_app.inference.softmax import softmax
from limiar.train.record import run_folder
from limiar.train.record.evidence import evidence
from limiar.train.record.metrics import class_metrics
from limiar.train.record.operating_points import Scores
from limiar.train.record.referral import referrals
from limiar.train.record.run_folder import Run

FIGURES = 4  # of a split; with many classes only the one that is found least is named


def summary(out: Path, run: Run) -> str:
    """A short table of the published run, for the terminal."""
    rows = run_folder.read_predictions(out, run)
    lines, splits = [], []
    for part in ("val", "test"):
        chosen = [row for row in rows if row.split == part]
        truth = np.array([run.labels.index(row.label) for row in chosen], np.int64)
        answers = softmax(np.array([row.logits for row in chosen]))
        splits.append(Scores(answers, truth, run.labels.index(run.positive) if run.positive else None))
        measured = class_metrics(truth, answers, run.labels, run.positive)
        if len(measured) > FIGURES:
            least = min((name for name in measured if name != "accuracy"), key=lambda name: measured[name].value)
            measured = {"accuracy": measured["accuracy"], f"least {least}": measured[least]}
        figures = "  ".join(f"{printable(name)} {m.value:.3f} ({m.low:.3f}-{m.high:.3f})" for name, m in measured.items())
        lines.append(f"{part:<5} n={len(chosen):<5} {figures}")
    val, test = splits
    lines += referrals(val, test)
    if found := evidence(Counter(row.label for row in rows if row.split == "test")):
        lines.append(found.text())
    return "\n".join(lines)
