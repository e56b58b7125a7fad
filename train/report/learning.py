"""The pictures that only a RUN's page has: learning curves, and the ROC of each of several classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.report.chart import Axes, draw_chart, draw_line
from limiar.edge_app.report.ticks import ticks
from limiar.train.record.curves import roc
from limiar.train.record.metrics import auc
from limiar.train.record.run_folder import Epoch

CLASSES = 6  # whose curves can be told apart
_LABEL_CHARACTERS = 26  # of a class in a legend
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_learning(history: Sequence[Epoch], best: int) -> tuple[str, str]:
    """Loss and accuracy over epochs, <svg> each; a dashed line at the epoch that was kept."""
    epochs = np.array([one.epoch for one in history], np.float64)

    def drawn(title: str, training: str, validation: str) -> str:
        columns = [np.array([getattr(one, name) for one in history], np.float64) for name in (training, validation)]
        low, high = _range(np.concatenate(columns))
        axes = Axes(_range(epochs, margin=0.0), (low, high))
        kept = (np.full(2, float(best)), np.array([low, high]))
        legend = {"first": "training", "second": "validation"}
        lines = [draw_line(axes, (epochs, column), style) for style, column in zip(legend, columns, strict=True)]
        whole = [tick for tick in ticks(*axes.x) if tick.is_integer()]
        parts = [draw_line(axes, kept, "compare"), *lines]
        return draw_chart(title, axes, ("epoch", title), legend, parts, whole, ticks(low, high))

    return drawn("loss, nats", "loss", "val_loss"), drawn("accuracy", "accuracy", "val_accuracy")


def draw_class_rocs(truth: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Mapping[int, str]) -> str:
    """<svg>: the ROC of each class (its index -> its name, at most CLASSES) against all others."""
    axes = Axes((0.0, 1.0), (0.0, 1.0), top=12 + 16 * max(2, len(classes)))
    chance = np.array([0.0, 1.0])
    parts, legend = [draw_line(axes, (chance, chance), "compare")], {}
    for number, (label, name) in enumerate(classes.items(), start=1):
        own = truth == label
        parts.append(draw_line(axes, roc(own, probabilities[:, label]), f"c{number}"))
        legend[f"c{number}"] = f"{short(name)}: AUC {auc(own, probabilities[:, label]):.3f}"
    return draw_chart("ROC", axes, ("1 - specificity", "sensitivity"), legend, parts, _QUARTERS, _QUARTERS)


def short(label: str) -> str:
    """A label that fits beside a picture."""
    return label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…"


def _range(values: NDArray[np.float64], margin: float = 0.04) -> tuple[float, float]:
    """What an axis shows: all values and a little beyond them; a single value is in the middle."""
    low, high = float(values.min()), float(values.max())
    beyond = margin * (high - low) if high - low > 1e-9 else 0.5
    return low - beyond, high + beyond
