"""Is the Keras model better than chance on validation, and would it be with its labels or its pixels in another form?

A model whose labels are in another order, or whose pixels were scaled or ordered by code outside of it, converts faithfully:
every file agrees with Keras, and every answer is wrong. Only the true labels can show it. Everything is tried on the validation
split; the test split plays no part.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu

from limiar.convert.source.keras_model import BATCH
from limiar.convert.source.origin import Scaling
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import CHANCE
from limiar.edge_app.errors import ConvertError, printable
from limiar.edge_app.system.stderr import captured_stderr

ALPHA = 0.05  # one-sided: how often a model that guesses is let through
SIGNIFICANT = 1.6449  # normal quantile of 1 - ALPHA
CLEARLY = 0.05  # of accuracy: what another form must gain at least, by the lower 95 % bound of the paired difference
BOUND = 1.96  # normal quantile of that bound
IMAGES = 512  # of validation, spread evenly, on which other forms are tried
SCREEN = 64  # of these: they show whether a form is worth trying on the rest
NAMED = 3  # forms in a message
LABELS_NAMED = 50  # labels in a message: a line that can still be copied
# What keras.applications and torchvision do to images, besides 1/255 alone.
FAMILIES = (
    Scaling(),
    Scaling(scale=(1 / 255,)),
    Scaling(scale=(1 / 127.5,), mean=(1.0,)),
    Scaling(scale=(1 / 255,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Scaling(mean=(103.939, 116.779, 123.68), bgr=True),
    Scaling(scale=(-1.0,), mean=(-255.0,)),  # 255 - x: white for black
    Scaling(scale=(-1 / 255,), mean=(-1.0,)),
)

Ints = NDArray[np.int64]


class Form(msgspec.Struct, frozen=True):
    """Another form of labels or pixels, and how often the model is right with it."""

    scaling: Scaling | None  # None: as it is
    order: tuple[str, ...] | None  # of the labels; None: as it is
    right: NDArray[np.bool_]  # [N]

    @property
    def accuracy(self) -> float:
        """0..1"""
        return float(self.right.mean())

    def line(self, a_run: bool) -> str:
        """How often the model is right with it, and which options give it; for a RUN, which has none, a description."""
        parts = []
        if self.scaling is not None:
            options = self.scaling.options or "no --scale, --mean, --std and --bgr"
            parts.append(f"pixels as {self.scaling}" if a_run else options)
        if self.order is not None:
            named = ", ".join(map(printable, self.order[:LABELS_NAMED])) + (", …" if len(self.order) > LABELS_NAMED else "")
            parts.append(f"labels in the order {named}" if a_run else f"--labels FILE that lists {named}, one a line")
        return f"{self.accuracy:.3f} with {' and '.join(parts)}"

    @property
    def rank(self) -> tuple[float, bool, bool, bool, int]:
        """The best first; among equals a usual one, then the one that changes least.

        If two labels are exchanged, inverted pixels may do as well: that comes last.
        """
        used = self.scaling is None or self.scaling in FAMILIES
        inverted = self.scaling is not None and self.scaling.scale[0] < 0
        return -self.accuracy, inverted, self.order is not None, not used, len(self.scaling.options) if self.scaling else 0


class Remarks(msgspec.Struct, frozen=True):
    """What a reader must know of a model; usually nothing."""

    facts: dict[str, str] = {}
    notes: tuple[str, ...] = ()


def check_chance(
    bare: Any,
    given: Scaling | None,
    logits: NDArray[np.float32],
    tensors: Pixels,
    truth: Ints,
    labels: tuple[str, ...],
    where: str,
    a_run: bool,
    allowed: bool,
) -> Remarks:
    """Raises ConvertError for a model that is no better than chance, with what would cure it, unless it is allowed.

    Also for a file that would be clearly better in another form. A RUN has no other form, so it only gets a warning.

    bare: the Keras model before `given` was put in front; logits: float32 [N, K] of the model as it is converted, for
    tensors, uint8 [N, H, W, C], and truth [N] of validation; a_run: it comes from `limiar train`, which has no such options.
    """
    right = logits.argmax(axis=1) == truth
    lucky = chance(logits.argmax(axis=1), truth, len(labels))
    better = better_than_chance(logits, truth)
    forms = sorted(_forms(bare, given, logits, tensors, truth, labels, every=not better), key=lambda form: form.rank)
    told = "; ".join(form.line(a_run) for form in forms[:NAMED])
    met = f"{where} gives the right label for {int(right.sum())} of {len(right)} validation images ({right.mean():.3f})"
    if better:
        if not forms:
            return Remarks()
        line = f"{met}, and it would be {told}"
        if not (allowed or a_run):
            raise ConvertError(
                "E-CONVERT-CHANCE", f"{line}: give what it was trained with; --allow-chance converts it as it is"
            )
        return Remarks({"other form": line}, (f"Warning: {line}",))
    if not better_than_chance(np.eye(len(labels), dtype=np.float32)[truth], truth):
        met = f"{met}, too few to tell any model from chance ({lucky:.3f})"
        if not allowed:
            raise ConvertError(
                "E-CONVERT-CHANCE", f"{met}: give more validation images of each label; --allow-chance converts it as it is"
            )
    else:
        met = f"{met}, no better than chance ({lucky:.3f})"
    if not allowed:
        tried = (
            f"it would be {told}"
            if told
            else f"no other order of labels{'' if a_run else ', scaling or BGR'} was clearly better"
        )
        cure = "train it again" if a_run else "give what it was trained with, or train it again"
        raise ConvertError("E-CONVERT-CHANCE", f"{met}; {tried}: {cure}; --allow-chance converts it as it is")
    line = f"{met}; allowed by --allow-chance"
    return Remarks({CHANCE: line}, (f"Warning: {line}" + (f"; it would be {told}" if told else ""),))


def check_unit(unit: NDArray[np.float32], truth: Ints, where: str) -> None:
    """Raises ConvertError if the one unit of a model, without a sigmoid behind it, gives a probability and not a logit.

    unit: [N] for validation, taken for the logit of the second label; truth: [N], 0 or 1.
    """
    as_logit, as_share = ((unit > threshold) == truth for threshold in (0.0, 0.5))
    if not (unit.min() >= 0 and unit.max() <= 1) and not clearly_better(as_logit, as_share):
        return
    told = f"{as_share.mean():.3f} of the validation images are right if cut at 0.5, {as_logit.mean():.3f} if cut at 0"
    met = f"the one unit of {where} gives {unit.min():.3g} to {unit.max():.3g}, a probability, not a logit ({told})"
    cure = "add keras.layers.Rescaling(8, -4) at its end and save that, or train it with a sigmoid as its last step"
    raise ConvertError("E-CONVERT-SIGMOID", f"{met}: {cure}")


def chance(found: Ints, truth: Ints, count: int) -> float:
    """The accuracy of the same answers given to images at random. found, truth: indices [N] below count."""
    return float((np.bincount(found, minlength=count) * np.bincount(truth, minlength=count)).sum()) / len(truth) ** 2


def better_than_chance(logits: NDArray[np.float32], truth: Ints) -> bool:
    """Whether answers and truth go together, at ALPHA; with two labels the order of the scores may show it too.

    The number of right answers under all ways to shuffle the truth has the mean and variance of a linear permutation statistic
    (W. Hoeffding, Annals of Mathematical Statistics 22, 1951, 558-566), taken as normal. A model that calls every image
    negative, because few are positive, is told from chance by Mann and Whitney's test.
    """
    count, n = logits.shape[1], len(truth)
    found = logits.argmax(axis=1)
    given, true = (np.bincount(values, minlength=count) / n for values in (found, truth))
    deviations = np.eye(count) - true[:, None] - given[None, :] + (given * true).sum()
    variance = n * n * float((given[:, None] * true[None, :] * deviations**2).sum()) / max(n - 1, 1)
    over = int((found == truth).sum()) - n * float((given * true).sum())
    if variance > 0 and over > SIGNIFICANT * variance**0.5:
        return True
    if count != 2 or not 0 < truth.sum() < n:
        return False
    scores = logits[:, 1] - logits[:, 0]
    return bool(mannwhitneyu(scores[truth == 1], scores[truth == 0], alternative="greater").pvalue < ALPHA)


def best_order(found: Ints, truth: Ints, count: int) -> Ints:
    """[count]: for each output the label that makes most answers right, each label once (H. W. Kuhn, 1955)."""
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (found, truth), 1)
    # If the images do not decide, an output keeps its label.
    return np.asarray(linear_sum_assignment(confusion * 2 + np.eye(count, dtype=np.int64), maximize=True)[1])


def clearly_better(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether `other` is right more often on the same images, with a lower bound of the difference above CLEARLY."""
    difference = other.astype(np.float64) - right
    return float(difference.mean() - BOUND * difference.std() / len(right) ** 0.5) > CLEARLY


def _forms(
    bare: Any,
    given: Scaling | None,
    logits: NDArray[np.float32],
    tensors: Pixels,
    truth: Ints,
    labels: tuple[str, ...],
    every: bool,
) -> Iterator[Form]:
    """The forms that are clearly better. every: also those that look hopeless on a few images."""
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(IMAGES, len(truth))).round().astype(np.int64))
    tensors, truth, logits = tensors[chosen], truth[chosen], logits[chosen]
    right = logits.argmax(axis=1) == truth
    if reordered := _reordered(None, right, logits, truth, labels):
        yield reordered
    few = slice(None, None, max(1, len(chosen) // SCREEN))
    for scaling in _scalings(given, tensors.shape[3]):
        if not every and not _promising(_answers(bare, scaling, tensors[few]), truth[few], right[few]):
            continue
        answers = _answers(bare, scaling, tensors)
        other = answers.argmax(axis=1) == truth
        if clearly_better(right, other):
            yield Form(scaling, None, other)
        elif reordered := _reordered(scaling, right, answers, truth, labels):
            yield reordered


def _reordered(
    scaling: Scaling | None, right: NDArray[np.bool_], logits: NDArray[np.float32], truth: Ints, labels: tuple[str, ...]
) -> Form | None:
    order = best_order(logits.argmax(axis=1), truth, len(labels))
    other = order[logits.argmax(axis=1)] == truth
    return Form(scaling, tuple(labels[k] for k in order), other) if clearly_better(right, other) else None


def _promising(answers: NDArray[np.float32], truth: Ints, right: NDArray[np.bool_]) -> bool:
    return float((answers.argmax(axis=1) == truth).mean() - right.mean()) > CLEARLY


def _scalings(given: Scaling | None, channels: int) -> Iterator[Scaling]:
    """Every family, and what was given, in both orders of the channels, except what is used already."""
    asked = [*FAMILIES, *([given] if given else [])]
    both = [form for one in asked for form in _turned(one)]
    fitting = [one for one in both if channels == 3 or (len(one.mean) == 1 and not one.bgr)]
    return (one for one in dict.fromkeys(fitting) if one != (given or Scaling()))


def _turned(one: Scaling) -> tuple[Scaling, ...]:
    """The scaling in both orders of the channels, its numbers per channel reversed along with them or not."""
    other = msgspec.structs.replace(one, bgr=not one.bgr)
    return one, other, msgspec.structs.replace(other, mean=one.mean[::-1], std=one.std[::-1], scale=one.scale[::-1])


def _answers(bare: Any, scaling: Scaling, tensors: Pixels) -> NDArray[np.float32]:
    """float32 [N, K]"""
    pixels = tensors[..., ::-1] if scaling.bgr else tensors
    with captured_stderr():
        return np.asarray(bare.predict(scaling.applied(pixels), batch_size=BATCH, verbose=0), np.float32)
