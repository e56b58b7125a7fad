#!/usr/bin/env python3
"""How often does the gate pass a file that lost exactly the margin? Calls the function that `limiar convert` decides with.

    studies/gate_simulation.py [--draws 20000] [--seed 1] [--size 190/247]

Draws test splits of three sizes. On the positive images the file lost the margin of gate.toml: it disagrees with Keras on a
share of images equal to the margin, or 2 or 6 points more, and loses more of them than it gains. On the negative images it lost
nothing and disagrees on 0, 2 or 6 points. The rate of passes must not exceed alpha: the lower end of its exact one-sided 95 %
interval is at most alpha. The control, "accuracy drop <= 1 point", must break this, or the simulation could not fail.

Then copies (docs/gate.md): so many images are spread evenly about the boundary of Keras's decision that the margin is lost if
every one within the reach gets a different answer. Their control puts all these images within the reach and none around it,
which breaks the assumption behind the proof for copies.

Prints a table, then the power: how often a file that lost nothing passes. Exit status 1 if a bound does not hold.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from limiar.convert.gate.copies import WIDER, copy_bound
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.gate.noninferiority import Verdict, overall, paired_verdict

SIZES = ("190/247", "437/437", "1000/1000")  # positive and negative images; the first is the lung test split
EXTRA = (0.0, 0.02, 0.06)  # share of the images on which a file disagrees in addition to those that its loss needs
GAINS = (0.0, 0.03)  # in specificity, for the control: a gain hides the loss
COPIES = (5, 15, 26, 58)  # images of a class; from 59 on, pairs are enough
CONTROL = 0.01  # drop of accuracy that the usual comparison allows

Cell = tuple[int, int, int]  # lost, gained, n


@dataclass(frozen=True)
class Drawn:
    """Many test splits: lost and gained images of a class, int [draws, 2]."""

    n: int
    counts: NDArray[np.int64]

    def cells(self) -> list[Cell]:
        return [(int(lost), int(gained), self.n) for lost, gained in self.counts]

    def net(self) -> NDArray[np.int64]:
        """Images lost, less those gained."""
        return np.asarray(self.counts[:, 0] - self.counts[:, 1])


class Verdicts:
    """The gate's own verdict for each outcome drawn; each is computed once."""

    def __init__(self, margin: float, alpha: float) -> None:
        self._rule = (margin, alpha)
        self._known: dict[Cell, Verdict] = {}

    def learn(self, cells: Iterable[Cell]) -> None:
        new = sorted(set(cells) - self._known.keys())
        with multiprocessing.Pool() as pool:
            found = pool.starmap(paired_verdict, [(*cell, *self._rule) for cell in new], chunksize=16)
        self._known |= dict(zip(new, found, strict=True))

    def passes(self, *classes: Drawn) -> int:
        """How many splits pass in every class, which is how the gate decides about a file."""
        columns = [[self._known[cell] for cell in drawn.cells()] for drawn in classes]
        return sum(overall(row) == "PASS" for row in zip(*columns, strict=True))


def draw(rng: np.random.Generator, draws: int, n: int, loss: float, differing: float) -> Drawn:
    """A class of n images of which `differing` get a different answer, with a net loss of `loss` (both shares)."""
    lost, gained = (differing + loss) / 2, (differing - loss) / 2
    return Drawn(n, rng.multinomial(n, [lost, gained, 1 - lost - gained], size=draws)[:, :2])


def lower_limit(k: int, n: int) -> float:
    """The exact one-sided 95 % lower limit of k in n (Clopper and Pearson)."""
    return float(beta.ppf(0.05, k, n - k + 1)) if k else 0.0


def copies_passed(rng: np.random.Generator, draws: int, n: int, margin: float, alpha: float, heaped: bool) -> int:
    """How many of `draws` classes of n images pass as copies, if the share `margin` is within a reach of 1."""
    nearby = margin if heaped else WIDER * margin
    bounds = [copy_bound(np.where(np.arange(n) < k, 1.0, np.inf), 1.0, alpha) for k in range(n + 1)]
    return sum(bounds[k] < margin for k in rng.binomial(n, nearby, size=draws))


def main(words: Sequence[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--draws", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--size", action="append", metavar="P/N", help=f"a test split; may be repeated (default: {', '.join(SIZES)})"
    )
    asked = options.parse_args(words)
    sizes = [tuple(map(int, size.split("/"))) for size in asked.size or SIZES]
    rule = read_gate().noninferiority
    rng = np.random.default_rng(asked.seed)
    verdicts = Verdicts(rule.margin, rule.alpha)
    worst, control_worst = 0.0, 0.0
    print(f"margin {rule.margin:g}, alpha {rule.alpha:g}, {asked.draws} draws each, seed {asked.seed}")
    print("\nfiles that lost exactly the margin of sensitivity: how often they pass")
    heads = f"{'images':>11} {'disagree':>9} {'sensitivity':>12} {'the gate':>10} {'lower limit':>12}"
    print(f"{heads} {'accuracy drop <= 1 point':>26}")
    for positives, negatives in sizes:
        for extra in EXTRA:
            lossy = draw(rng, asked.draws, positives, rule.margin, rule.margin + extra)
            even = draw(rng, asked.draws, negatives, 0.0, extra)
            verdicts.learn(lossy.cells() + even.cells())
            alone, both = verdicts.passes(lossy), verdicts.passes(lossy, even)
            worst = max(worst, lower_limit(alone, asked.draws), lower_limit(both, asked.draws))
            controls = []
            for gain in GAINS:
                other = draw(rng, asked.draws, negatives, -gain, extra + gain)
                passed = int((lossy.net() + other.net() <= CONTROL * (positives + negatives)).sum())
                control_worst = max(control_worst, lower_limit(passed, asked.draws))
                controls.append(f"{passed / asked.draws:.3f}")
            rates = f"{alone / asked.draws:>12.4f} {both / asked.draws:>10.4f} {lower_limit(both, asked.draws):>12.4f}"
            print(
                f"{f'{positives}/{negatives}':>11} {rule.margin + extra:>9.2f} {rates} {' and '.join(controls):>26}", flush=True
            )
    print("control: with specificity as it was, and 3 points higher")
    print(f"\ncopies that lose the margin: how often they pass\n{'images':>11} {'evenly':>9} {'heaped, the control':>21}")
    heaped_worst = 0.0
    apart = np.random.default_rng((asked.seed, 1))  # so that the other figures stay the same
    for n in COPIES:
        even_passed, heaped = (copies_passed(apart, asked.draws, n, rule.margin, rule.alpha, heap) for heap in (False, True))
        worst, heaped_worst = (
            max(worst, lower_limit(even_passed, asked.draws)),
            max(heaped_worst, lower_limit(heaped, asked.draws)),
        )
        print(f"{n:>11} {even_passed / asked.draws:>9.4f} {heaped / asked.draws:>21.4f}")
    print("\npower, files that lost nothing: how often they pass")
    print(f"{'images':>11} {'disagree':>9} {'the gate':>10}")
    for positives, negatives in sizes:
        for extra in EXTRA:
            classes = [draw(rng, asked.draws, n, 0.0, extra) for n in (positives, negatives)]
            verdicts.learn(cell for drawn in classes for cell in drawn.cells())
            print(f"{f'{positives}/{negatives}':>11} {extra:>9.2f} {verdicts.passes(*classes) / asked.draws:>10.4f}")
    holds, fails = worst <= rule.alpha, min(control_worst, heaped_worst) > rule.alpha
    print(f"\nfalse passes: largest lower limit {worst:.4f}, allowed {rule.alpha:g}: {'holds' if holds else 'BROKEN'}")
    print(
        f"control: largest lower limit {control_worst:.4f}: {'breaks it, as it must' if fails else 'HOLDS: nothing was tested'}"
    )
    return 0 if holds and fails else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
