"""Did a file lose too much against Keras? Paired non-inferiority of a proportion, with three answers.

Both models answer the same n images of a class. `lost` images were right with Keras and are wrong with the file, `gained` ones
the other way round; the images on which both agree say nothing about the difference. The loss is (lost - gained) / n.

Its bounds are one-sided, each at the full level alpha, and each the more conservative of two:

- Tango's score interval: T. Tango, Statistics in Medicine 17 (1998) 891-908, equations (11) and (21);
- the exact unconditional one: the loss at which the probability of an outcome at least as extreme by Tango's score, at its
  largest over the unknown rate of disagreement, is alpha. H. Hsueh, J. Liu, J. J. Chen, Biometrics 57 (2001) 478-483.

A file passes only if every class passes. A test of "some class lost too much" that rejects only when each of its parts rejects
at alpha has level alpha itself, so nothing is corrected for their number: R. L. Berger, Technometrics 24 (1982) 295-300
(intersection-union).
"""

import functools
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtr, gammaln, xlog1py, xlogy

from limiar.edge_app.bundle.manifest import Count, Value

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Proof = Literal["pairs", "copy"]  # what the bounds come from: the images of both, or limiar.convert.gate.copies

MOST_IMAGES = 1_000_000  # of one class: no message asks for more
_EXACT_IMAGES = 5_000  # with more, Tango's bounds and the exact ones agree to 0.0001, and the exact ones take a second
_DECIMALS = 6  # of a loss and its bounds
_PRECISION = 2e-5  # of an exact bound; always given on the conservative side
_GRID = 40  # rates of disagreement that the exact bound tries before it refines around the worst
_REFINED = 3  # times
_NEGLIGIBLE = 1e-13  # a thousand such terms are far below the precision

Floats = NDArray[np.float64] | np.float64


class PairedLoss(Value, frozen=True, forbid_unknown_fields=True):
    """What a file lost of one class, or of one of sensitivity and specificity, on images that Keras answered too."""

    name: str  # "sensitivity", "specificity" or "recall_<label>"
    n: Count  # images of the class
    lost: Count  # Keras was right, the file is wrong
    gained: Count  # the other way round
    loss: float  # (lost - gained) / n
    low: float  # one-sided bounds, each at alpha
    high: float
    verdict: Verdict
    more_images: Count | None = None  # of this class, that would decide if they came out alike; None: decided, or none would
    proof: Proof = "pairs"


def paired_loss(name: str, lost: int, gained: int, n: int, margin: float, alpha: float) -> PairedLoss:
    """The loss with its bounds and `paired_verdict`, and how many more images would decide if it is undecided."""
    verdict = paired_verdict(lost, gained, n, margin, alpha)
    more = images_to_decide(lost, gained, n, margin, alpha) if verdict == "INCONCLUSIVE" else None
    loss, low, high = (round(value, _DECIMALS) for value in ((lost - gained) / n, *bounds(lost, gained, n, alpha)))
    return PairedLoss(name, n, lost, gained, loss, low, high, verdict, more)


def paired_verdict(lost: int, gained: int, n: int, margin: float, alpha: float) -> Verdict:
    """The gate's decision for one class.

    margin: the smallest loss that is too much, 0..1; alpha: one-sided. PASS if high < margin; FAIL if low > margin, or
    if loss > margin and the bounds are less than two margins apart; otherwise INCONCLUSIVE. Raises ValueError for impossible
    counts.
    """
    if min(lost, gained) < 0 or n < 1 or lost + gained > n:
        raise ValueError(f"no paired outcome: {lost} lost and {gained} gained of {n}")
    return decide((lost - gained) / n, *bounds(lost, gained, n, alpha), margin)


def decide(loss: float, low: float, high: float, margin: float) -> Verdict:
    """The three answers, as `paired_verdict` states them."""
    if high < margin:
        return "PASS"
    if low > margin or (loss > margin and high - low < 2 * margin):
        return "FAIL"
    return "INCONCLUSIVE"


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """PASS if all pass, FAIL if one fails (intersection-union)."""
    found = set(verdicts)
    if "FAIL" in found:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"


def worst(losses: Sequence[PairedLoss]) -> PairedLoss:
    """The one that is named: FAIL before INCONCLUSIVE before PASS, then the highest upper bound."""
    order = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2}
    return min(losses, key=lambda loss: (order[loss.verdict], -loss.high, loss.name))


def smallest_margin(n: int, alpha: float) -> float:
    """The margin that n images can decide at best: the upper bound of a file that lost and gained none, 0..1."""
    return round(bounds(0, 0, n, alpha)[1], _DECIMALS)


@functools.lru_cache(maxsize=65536)
def bounds(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    """One-sided bounds of the loss, each at alpha: the more conservative of Tango's and the exact ones, -1..1."""
    return -_upper(gained, lost, n, alpha), _upper(lost, gained, n, alpha)


def tango_upper(lost: float, gained: float, n: float, alpha: float) -> float:
    """The loss above the observed one at which Tango's score is -z(1 - alpha). Counts need not be whole."""
    loss = (lost - gained) / n
    z = NormalDist().inv_cdf(1 - alpha)
    low, high = loss, 1.0
    for _ in range(60):  # the score falls as the loss rises; bisection to the last bit
        middle = (low + high) / 2
        low, high = (low, middle) if _score(lost, gained, n, middle) < -z else (middle, high)
    return high


def exact_upper(lost: int, gained: int, n: int, alpha: float) -> float:
    """The smallest loss, to 0.00002 and never below, from which an outcome like this one is too unlikely: p <= alpha."""
    low, high = _bracket(lost, gained, n, alpha)
    if high >= 1.0:
        return 1.0
    root = float(brentq(lambda loss: exact_p(lost, gained, n, loss) - alpha, low, high, xtol=_PRECISION / 4))
    # p is not quite smooth in the loss: never below.
    while exact_p(lost, gained, n, root) > alpha:
        root += _PRECISION / 2
    return root


def _bracket(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    """Two losses, p above alpha at the first and not above it at the second; next to Tango's bound."""
    tango, step = tango_upper(lost, gained, n, alpha), 1.0 / n
    low, high = max(tango - step, (lost - gained) / n), min(tango + step, 1.0)
    while low > (lost - gained) / n and exact_p(lost, gained, n, low) <= alpha:
        low = max(low - step, (lost - gained) / n)
    while high < 1.0 and exact_p(lost, gained, n, high) > alpha:
        low, high = high, min(high + step, 1.0)
    return low, high


def exact_p(lost: int, gained: int, n: int, loss: float) -> float:
    """P(an outcome whose score is not above the observed one), if the loss were `loss`; at its largest over what is not known.

    The rate of `gained`, q, is not known; that of `lost` is q + loss. For N images that differ, lost ones are
    binomial(N, (q + loss) / (2 q + loss)) and the score rises with them: one cumulative binomial for each N.
    """
    differing = np.arange(n + 1)
    most = _most_lost(differing, n, loss, _score(lost, gained, n, loss))
    low, high = max(0.0, -loss), (1.0 - loss) / 2
    # Squares: rates near the smallest possible one matter most, so these are closest together.
    grid = low + (high - low) * np.linspace(0, 1, _GRID) ** 2
    largest = 0.0
    for _ in range(_REFINED + 1):
        p = _tail(most, differing, n, loss, grid)
        best = int(p.argmax())
        largest = max(largest, float(p[best]))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 9)
    return largest


def images_to_decide(lost: int, gained: int, n: int, margin: float, alpha: float) -> int | None:
    """How many more images of the class would decide, if they came out at the same rates. None: over MOST_IMAGES in all."""

    def decided(count: int) -> bool:
        more = count / n
        if count <= _EXACT_IMAGES:
            return paired_verdict(round(lost * more), round(gained * more), count, margin, alpha) != "INCONCLUSIVE"
        high = tango_upper(lost * more, gained * more, count, alpha)
        low = -tango_upper(gained * more, lost * more, count, alpha)
        return decide((lost - gained) / n, low, high, margin) != "INCONCLUSIVE"

    few, many = n, 2 * n
    while not decided(many):
        few, many = many, 2 * many
        if many > MOST_IMAGES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decided(middle) else (middle, many)
    return many - n


def _upper(lost: int, gained: int, n: int, alpha: float) -> float:
    return max(tango_upper(lost, gained, n, alpha), exact_upper(lost, gained, n, alpha))


def _score(lost: float, gained: float, n: float, loss: float) -> float:
    return float(_scores(np.float64(lost), np.float64(gained), n, loss))


def _scores(lost: Floats, gained: Floats, n: float, loss: float) -> Floats:
    """Tango's statistic: (lost - gained - n loss) over its standard deviation at the most likely rates with that loss."""
    b = -lost - gained + (2.0 * n - lost + gained) * loss
    c = -gained * loss * (1.0 - loss)
    q = (np.sqrt(np.maximum(b * b - 8.0 * n * c, 0.0)) - b) / (4.0 * n)  # the most likely rate of gained
    variance = n * (2.0 * np.maximum(q, 0.0) + loss * (1.0 - loss))
    difference = lost - gained - n * loss
    # Without variance only the loss itself can occur: any difference is infinitely far from it.
    return np.divide(difference, np.sqrt(np.maximum(variance, 1e-300)), dtype=np.float64)


def _most_lost(differing: NDArray[np.int64], n: int, loss: float, score: float) -> NDArray[np.int64]:
    """For each number of images that differ: how many may be lost for a score that is not above `score`; -1 if none."""
    few, many = np.full(len(differing), -1), differing.copy()
    threshold = score + 1e-9 * max(1.0, abs(score))  # the observed outcome belongs to its own tail
    for _ in range(n.bit_length() + 1):
        middle = (few + many + 1) // 2
        fits = _scores(middle.astype(float), (differing - middle).astype(float), n, loss) <= threshold
        few, many = np.where(fits, middle, few), np.where(fits, many, middle - 1)
        many = np.maximum(few, many)
    return few


def _tail(
    most: NDArray[np.int64], differing: NDArray[np.int64], n: int, loss: float, rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(the tail that `most` bounds) for each rate of gained images."""
    any_rate = np.clip(2.0 * rates + loss, 0.0, 1.0)[:, np.newaxis]  # of images that differ
    share = np.divide(rates[:, np.newaxis] + loss, any_rate, out=np.zeros_like(any_rate), where=any_rate > 0)
    chance = np.exp(_log_choose(n) + xlogy(differing, any_rate) + xlog1py(n - differing, -any_rate))
    rate, count = np.nonzero((chance > _NEGLIGIBLE) & (most >= 0))  # a tenth of all: the cumulative binomial takes the time
    tail = chance[rate, count] * bdtr(most[count], differing[count], np.clip(share[rate, 0], 0.0, 1.0))
    return np.asarray(np.bincount(rate, tail, minlength=len(rates)), np.float64)


@functools.lru_cache(maxsize=64)
def _log_choose(n: int) -> NDArray[np.float64]:
    """log of n over k, for k from 0 to n."""
    k = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
