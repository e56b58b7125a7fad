"""How often people who reviewed answers agree with the model."""

import math
from collections import Counter

import msgspec
from msgspec import Struct

from limiar.edge_app.store.reader import Filter, Reader

_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution: two-sided 95 %


class Share(Struct, frozen=True):
    """A share of `n` answers with its two-sided 95 % interval."""

    value: float | None  # 0..1; None if n is 0
    low: float
    high: float
    agree: int
    n: int


class Agreement(Struct, frozen=True):
    """Answers that people reviewed, by their last review."""

    answers: int  # in the store, reviewed or not
    reviewed: int
    all: Share  # of the model's labels, referred or not
    decided: Share  # where the device decided
    referred: Share  # where it left the decision to a person
    labels: dict[str, Share]  # the model's label -> how often people agree
    overruled: dict[str, int]  # "pos -> neg": how often a person said so


def agreement(reader: Reader, which: Filter) -> Agreement:
    """Over the answers that fit. Raises StoreError."""
    answers = msgspec.structs.replace(which, kinds=("file", "frame"))
    counts = Counter[tuple[str, bool]]()
    overruled = Counter[str]()
    for said in reader.reviewed(answers):
        agrees = said.given == said.label
        for group in ("all", "referred" if said.decision == "refer" else "decided", f"label {said.label}"):
            counts[group, agrees] += said.times
        if not agrees:
            overruled[f"{said.label} -> {said.given}"] += said.times
    labels = sorted({group.removeprefix("label ") for group, _ in counts if group.startswith("label ")})
    return Agreement(
        answers=reader.count(answers),
        reviewed=sum(n for (group, _), n in counts.items() if group == "all"),
        all=_share(counts, "all"),
        decided=_share(counts, "decided"),
        referred=_share(counts, "referred"),
        labels={label: _share(counts, f"label {label}") for label in labels},
        overruled=dict(overruled.most_common()),
    )


def wilson(agree: int, n: int) -> tuple[float, float]:
    """The two-sided 95 % score interval of a share: Wilson, JASA 22 (1927), p. 209. (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = agree / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(counts: Counter[tuple[str, bool]], group: str) -> Share:
    agree = counts[group, True]
    n = agree + counts[group, False]
    return Share(agree / n if n else None, *wilson(agree, n), agree, n)
