"""report.html of a RUN: one self-contained file that a person reads, with every figure's interval and method."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted
from limiar.edge_app.text import for_html as escape
from limiar.train.dataset.image_folder import DataSet
from limiar.train.fit.calibrate import probabilities
from limiar.train.record.metrics import (
    ECE_BINS,
    RESAMPLES,
    class_metrics,
    confidence_bins,
    decided_metrics,
    ece_interval,
    nll,
    proportion,
)
from limiar.train.record.operating_points import Scores, operating_points
from limiar.train.record.referral import COURSE, referrals
from limiar.train.record.run_folder import SPLIT_NAMES, Epoch, Run
from limiar.train.report import plots
from limiar.train.report.page import NOT_FOR_DIAGNOSIS, page

GRID = 18  # images of each row of the grid
COURSE_DIFFERENCES = (
    "The last layer has one output per class. The course's text gives it one per training image, a slip.",
    "Images are read and resized by limiar's image rules, so that a device sees the same pixels.",
    "The model scales its pixels itself and returns logits; softmax is the app's. The answers are the same.",
    "Splits that come with the data are kept. Where none are given, the test part is the course's 25 %, but groups and equal "
    "images stay together, classes are kept in proportion, and a validation part is taken from the 75 %.",
    "Augmentation, optimizer, batch size and epochs are those of config below: where no number of the course is known, the "
    "usual one for such a network. As in the course the last epoch's weights are kept, without early stopping or temperature.",
)
COURSE_SLIP = (
    "The course's classification report has precision and recall exchanged, as happens when the answers are handed over as the "
    "truth. Precision is the share of right answers among those that were given a class; recall the share of a class's images "
    "that were found. In the table above they are as their names say."
)


def render(run: Run, data: DataSet, logits: NDArray[np.float32], history: Sequence[Epoch]) -> str:
    """The whole page. logits: [N, K] of the model that ships, row k belongs to data.rows[k]."""
    answers = probabilities(logits)
    sections = [
        _headline(run, data, answers),
        _metrics(run, data, answers),
        _classes(run, data, answers),
        _points(run, data, answers),
        _curves(run, data, answers, history),
        _images(run, data, answers),
        *([_course()] if run.recipe == "course" else []),
        _record(run),
    ]
    return page(f"limiar: {run.model} on {counted(len(data.rows), 'image')}", sections)


def _headline(run: Run, data: DataSet, answers: NDArray[np.float64]) -> str:
    test = data.part("test")
    measured = class_metrics(data.truth[test], answers[test], run.labels, run.positive)
    tiles = "".join(
        f'<div class="tile"><b>{m.value:.3f}</b><span>{escape(name)}</span><small>{m.low:.3f} to {m.high:.3f}</small></div>'
        for name, m in list(measured.items())[:4]
    )
    return (
        f"<header><h1>{escape(run.model)}: {' against '.join(escape(printable(label)) for label in run.labels)}</h1>"
        f"<p>Keras model on the {len(test)} test images, label of all of them, with 95&nbsp;% intervals.</p>"
        f'<div class="tiles">{tiles}</div><p class="warning">{NOT_FOR_DIAGNOSIS}</p></header>'
    )


def _metrics(run: Run, data: DataSet, answers: NDArray[np.float64]) -> str:
    lines = []
    for part in reversed(SPLIT_NAMES):  # test first: that is what a reader came for
        rows = data.part(part)
        truth, own = data.truth[rows], answers[rows]
        measured = class_metrics(truth, own, run.labels, run.positive) | decided_metrics(truth, own, COURSE)
        measured["ece"] = ece_interval(truth, own)
        for name, m in measured.items():
            lines.append((part, name, f"{m.value:.4f}", f"{m.low:.4f} to {m.high:.4f}", m.n))
        lines.append((part, "nll", f"{nll(truth, own):.4f}", "", len(rows)))
    note = (
        "Intervals are two-sided 95 %: Wilson's score interval (1927) for shares, DeLong's variance (1988) on the logit scale "
        f"for the AUC. By the course's rule a confidence below {COURSE} is referred: refer_rate; accuracy_decided counts the "
        "others alone, every other row all images. nll is the mean negative log likelihood in nats; ece the mean gap of "
        f"confidence and accuracy over {ECE_BINS} bins, which chance alone makes larger than it is, so that its interval, a "
        f"basic bootstrap of {RESAMPLES} draws, lies below it for the most part. Training images are measured unaugmented."
    )
    table = _table(("split", "figure", "value", "95 % interval", "n"), lines)
    rules = "".join(f"<p>{escape(line)}.</p>" for line in referrals(*_scores(run, data, answers)))
    return f"<section><h2>Measured</h2>{rules}{table}<p>{note}</p></section>"


def _classes(run: Run, data: DataSet, answers: NDArray[np.float64]) -> str:
    test = data.part("test")
    matrix = confusion(data.truth[test], answers[test].argmax(axis=1), len(run.labels))
    lines = []
    for k, label in enumerate(run.labels):
        right, support, given = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        recall, precision = proportion(right, support), proportion(right, given) if given else None
        f1 = 2 * right / (support + given)
        shown = f"{precision.value:.3f} ({precision.low:.3f} to {precision.high:.3f})" if precision else "none given"
        lines.append(
            (
                printable(label),
                shown,
                f"{recall.value:.3f} ({recall.low:.3f} to {recall.high:.3f})",
                f"{f1:.3f}",
                support,
            )
        )
    report = _table(("class", "precision", "recall", "F1", "support"), lines)
    names = [printable(label) for label in run.labels]
    body = [(name, *(int(count) for count in row)) for name, row in zip(names, matrix, strict=True)]
    confused = _table(("true class", *(f"answered {name}" for name in names)), body)
    return f"<section><h2>By class, on test</h2>{report}<h3>Confusion matrix</h3>{confused}</section>"


def _points(run: Run, data: DataSet, answers: NDArray[np.float64]) -> str:
    val, test = _scores(run, data, answers)
    points = operating_points(val, test, run.labels)
    figures = list(points[0].val)  # the most probable label: every image is answered, so that no figure is missing
    lines = []
    for point in points:
        cut = f"{point.decision.threshold.at_least:.6g}" if point.decision.threshold else ""
        measured = [split.get(name) for split in (point.val, point.test) for name in figures]
        lines.append((point.aim, cut, *(f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})" if m else "" for m in measured)))
    head = (f"{name}, {split}" for split in ("validation", "test") for name in figures)
    columns = ("aim", f"{printable(run.positive)} from" if run.positive else "", *head)
    table = _table(columns, lines, "points")
    note = "Chosen on validation, then measured on test. A bundle has its own for each model file."
    return f"<section><h2>Operating points</h2>{table}<p>{note}</p></section>"


def _scores(run: Run, data: DataSet, answers: NDArray[np.float64]) -> tuple[Scores, Scores]:
    """Of val and test."""
    positive = run.labels.index(run.positive) if run.positive else None
    val, test = (Scores(answers[rows], data.truth[rows], positive) for rows in (data.part("val"), data.part("test")))
    return val, test


def confusion(truth: NDArray[np.int64], answered: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """[K, K] counts: row the true class, column the answer."""
    return np.bincount(truth * classes + answered, minlength=classes * classes).reshape(classes, classes)


def _curves(run: Run, data: DataSet, answers: NDArray[np.float64], history: Sequence[Epoch]) -> str:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(epoch, name) for epoch in history], dtype=np.float64)

    learning = plots.learning_curves(
        column("epoch"),
        {"training": column("loss"), "validation": column("val_loss")},
        {"training": column("accuracy"), "validation": column("val_accuracy")},
        run.best_epoch,
    )
    test = data.part("test")
    truth, own = data.truth[test], answers[test]
    recalls = class_metrics(truth, own, run.labels, None)
    least_found = sorted(run.labels, key=lambda label: recalls[f"recall_{label}"].value)[: plots.CURVES]
    shown = [run.positive] if run.positive else [label for label in run.labels if label in least_found]
    curves = {
        printable(label): plots.roc_points(truth == run.labels.index(label), own[:, run.labels.index(label)]) for label in shown
    }
    few = f", of the {len(shown)} classes found least" if 1 < len(shown) < len(run.labels) else ""
    note = f"Training figures are of augmented images{harder(run.config)}; the dashed line is the epoch kept."
    return (
        f'<section><h2>Learning curves</h2><figure class="wide">{learning}</figure><p>{note}</p></section>'
        f'<section class="pair"><figure><h2>ROC on test{few}</h2>{plots.roc(curves)}</figure>'
        f"<figure><h2>Reliability on test</h2>{_reliability(own, truth)}</figure></section>"
    )


def harder(config: dict[str, Any]) -> str:
    """What else sets a training loss apart from a validation loss."""
    asked = {"dropout": config["dropout"], "smoothed targets": config["smoothing"], "class weights": config["balance"]}
    with_these = " and".join(", ".join(name for name, on in asked.items() if on).rsplit(",", 1))
    sharp = f", the last {config['sharp_epochs']} epochs less augmented" if config["sharp_epochs"] else ""
    return (f", with {with_these}" if with_these else "") + sharp


def _reliability(answers: NDArray[np.float64], truth: NDArray[np.int64]) -> str:
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == truth
    place = confidence_bins(confidence, ECE_BINS)
    chosen = [place == b for b in sorted(set(place.tolist()))]
    shares = [proportion(int(right[own].sum()), int(own.sum())) for own in chosen]
    value, low, high = (np.array([getattr(share, name) for share in shares]) for name in ("value", "low", "high"))
    return plots.reliability(np.array([confidence[own].mean() for own in chosen]), value, low, high)


def _images(run: Run, data: DataSet, answers: NDArray[np.float64]) -> str:
    """A row of each class from training, then the test images that are answered most wrongly."""
    rows = []
    train = data.part("train")
    for k, label in enumerate(run.labels[:GRID]):
        own = train[data.truth[train] == k]
        rows.append((f"training: {printable(label)}", own[np.linspace(0, len(own) - 1, min(GRID, len(own))).astype(int)]))
    test = data.part("test")
    wrong = test[answers[test].argmax(axis=1) != data.truth[test]]
    rows.append(("test: most wrong", wrong[np.argsort(answers[wrong, data.truth[wrong]], kind="stable")][:GRID]))
    grid = "".join(
        f'<h3>{escape(name)}</h3><div class="grid">{"".join(_image(run, data, answers, k) for k in chosen)}</div>'
        for name, chosen in rows
        if len(chosen)
    )
    note = "As the model gets them, larger or smaller. Under each: its answer and confidence."
    return f"<section><h2>Images</h2>{grid}<p>{note}</p></section>"


def _image(run: Run, data: DataSet, answers: NDArray[np.float64], k: int) -> str:
    answer = int(answers[k].argmax())
    state = "right" if answer == data.truth[k] else "wrong"
    text = f"{printable(run.labels[answer])} {answers[k, answer]:.2f}"
    title = f"{printable(data.rows[k].file)}: {printable(data.rows[k].label)}"
    source = plots.data_url(data.images.take(np.array([k]))[0])
    image = f'<img src="{source}" alt="{escape(title)}" title="{escape(title)}">'
    return f'<div class="{state}">{image}<span>{escape(text)}</span></div>'


def _course() -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in COURSE_DIFFERENCES)
    return f"<section><h2>What differs from the course</h2><ul>{items}</ul><p>{escape(COURSE_SLIP)}</p></section>"


def _record(run: Run) -> str:
    facts = {
        "recipe": run.recipe,
        "data": f"{run.data.folder}, {counted(run.data.images, 'image')}, splits.csv sha256 {run.data.sha256[:12]}",
        "input": run.input.line,
        "epochs": f"{run.epochs} trained, epoch {run.best_epoch} kept",
        "temperature": f"{run.temperature:.4f}, folded into the last layer",
        "seed": run.seed,
        "commit": run.commit,
        **(run.parent.facts if run.parent else {}),
        "model.keras sha256": run.model_sha256[:12],
        "config": ", ".join(f"{key} {value}" for key, value in run.config.items()),
        "versions": ", ".join(f"{tool} {number}" for tool, number in run.versions.items()),
    }
    return f"<section><h2>The run</h2>{_table((), facts.items(), 'facts')}</section>"


def _table(head: Sequence[str], rows: Iterable[Iterable[object]], kind: str = "") -> str:
    """An HTML table whose first column names the rows; every cell is escaped. One that is too wide scrolls, by keys too."""
    top = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr></thead>" if head else ""
    body = "".join(_row(row, head if kind == "points" else ()) for row in rows)
    return f'<div class="scroll" tabindex="0"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def _row(row: Iterable[object], heads: Sequence[str]) -> str:
    """heads: what a phone, on which the row is a block, shows before each cell but the first; none: nothing."""
    first, *others = (escape(str(cell)) for cell in row)
    told = [f' data-head="{escape(name)}"' for name in heads[1:]] or [""] * len(others)
    cells = "".join(f"<td{own}>{cell}</td>" for own, cell in zip(told, others, strict=True))
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'
