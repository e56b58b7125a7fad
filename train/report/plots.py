"""The pictures of report.html, as SVG text or data URLs, so that the report is one file."""

import base64
import io
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.text import for_plot

_INK = "#010203"  # drawn as the page's own text colour, see _svg
_COLOURS = (
    "#2a78d6",
    "#1baf7a",
    "#eda100",
    "#4a3aa7",
    "#e34948",
    "#008300",
)  # told apart also by the colour-blind, on light and dark
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "limiar",  # the same ids every time
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
CURVES = len(_COLOURS)  # that can be told apart
_GRID_PX = 80  # an image of the grid, at most
_LABEL_CHARACTERS = 40  # of a class in a legend


def learning_curves(
    epochs: NDArray[np.float64],
    losses: dict[str, NDArray[np.float64]],
    accuracies: dict[str, NDArray[np.float64]],
    best: int,
) -> str:
    """Loss and accuracy over epochs; the dashed line is the epoch whose weights were kept."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 3.0), layout="constrained")
        for axes, name, curves in zip(figure.subplots(1, 2), ("loss (nats)", "accuracy"), (losses, accuracies), strict=True):
            for label, values in curves.items():
                axes.plot(epochs, values, label=_named(label), linewidth=1.6)
            axes.axvline(best, color=_INK, linewidth=0.8, linestyle="--")
            axes.set(xlabel="epoch", ylabel=name)
            axes.legend()
        return _svg(figure)


def roc(curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> str:
    """Sensitivity against 1 - specificity; curves: name -> (false positive rate, true positive rate)."""
    with mpl.rc_context(_STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        for name, (false_rate, true_rate) in curves.items():
            axes.plot(false_rate, true_rate, label=_named(name), linewidth=1.6)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right")
        return _svg(figure)


def reliability(
    confidence: NDArray[np.float64], accuracy: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> str:
    """Share of right answers against stated confidence, with intervals; on the diagonal a confidence means what it says."""
    with mpl.rc_context(_STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        axes.errorbar(confidence, accuracy, yerr=[accuracy - low, high - accuracy], marker="o", capsize=3, linewidth=1.2)
        start = min(0.45, float(confidence.min()) - 0.05)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(start, 1.02), ylim=(0, 1.02))
        return _svg(figure)


def roc_points(is_positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false positive rate, true positive rate) at every distinct score, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_positive[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    true_rate = hits[last_of_equals] / max(1, is_positive.sum())
    false_rate = (np.arange(1, len(order) + 1) - hits)[last_of_equals] / max(1, (~is_positive).sum())
    return np.append(0.0, false_rate), np.append(0.0, true_rate)


def data_url(pixels: Pixels) -> str:
    """uint8 [H, W, C] as a PNG inside a URL: a small one enlarged without smoothing, a large one made smaller."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if zoom := _GRID_PX // max(image.size):
        image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    else:
        image.thumbnail((_GRID_PX, _GRID_PX))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _named(label: str) -> str:
    """A curve's name: no formula, no longer than the picture, and not left out as matplotlib does with what begins with _."""
    short = label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…"
    return for_plot(f" {short}" if short.startswith("_") else short)


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.0, 3.6), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """The figure as an <svg> element whose ink is the text colour of the page around it."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # text stays text: the reader's browser has the letters
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")
