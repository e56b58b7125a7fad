"""The bundle's answers for many images, by the worker processes of `limiar scan`: a file that crashes one costs only itself.

Nothing is kept in a database, and nothing is taken from one: every image is answered anew.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Answered, Job, Outcome
from limiar.edge_app.scan.pool import Workers


class Refusal(msgspec.Struct, frozen=True):
    """Why an image has no answer."""

    code: str
    message: str


class Answers(msgspec.Struct, frozen=True):
    """What became of N images. An image that was refused has label -1 and no probability."""

    sha256: tuple[str, ...]  # [N]; "" if the file could not be read
    labels: NDArray[np.int64]  # [N], the label that each got
    probabilities: NDArray[np.float64]  # [N, K]; NaN if refused
    decisions: tuple[str, ...]  # [N], a label, REFER or REFUSED
    outside: tuple[tuple[str, ...], ...]  # [N], statistics outside the bundle's envelope
    refused: dict[int, Refusal]  # row -> why

    @property
    def answered(self) -> NDArray[np.bool_]:
        """bool [N]."""
        return self.labels >= 0


def answers(session: Session, paths: Sequence[Path], workers: int, tick: Callable[[int, int], None]) -> tuple[Answers, Origin]:
    """Answers the images, in order. tick: told (images done, images in all). Raises RuntimeUnavailable, and ModelUnfit."""
    names = session.manifest.labels
    outcomes: list[Outcome] = []
    with Workers([fork_worker() for _ in range(workers)]) as pool:
        loaded = pool.start(Job(session.model, follow=False, annotate=None))
        origin = session.origin(loaded.runtime, loaded.version)
        for group in pool.run(map(os.fsencode, paths), known=lambda images: [None] * len(images)):
            outcomes += (outcome for _, outcome in group)
            tick(len(outcomes), len(paths))
    labels = np.full(len(paths), -1, np.int64)
    probabilities = np.full((len(paths), len(names)), np.nan)
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, Answered):
            labels[row] = names.index(outcome.answer.label)
            probabilities[row] = [outcome.answer.probabilities[name] for name in names]
    return (
        Answers(
            sha256=tuple(outcome.sha256.hex() for outcome in outcomes),
            labels=labels,
            probabilities=probabilities,
            decisions=tuple(one.answer.decision if isinstance(one, Answered) else REFUSED for one in outcomes),
            outside=tuple((one.answer.outside or ()) if isinstance(one, Answered) else () for one in outcomes),
            refused={row: Refusal(one.code, one.message) for row, one in enumerate(outcomes) if not isinstance(one, Answered)},
        ),
        origin,
    )
