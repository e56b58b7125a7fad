"""The bundle's answers for many images, by the worker processes of `limiar scan`: a file that crashes one costs only itself.

Nothing is kept in a database, and nothing is taken from one: every image is answered anew.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.answer import Peak, SlicePlace, TileMap
from limiar.edge_app.bundle.manifest import REFUSED
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Origin
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Answered, Frames, Job, Outcome, Refused
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
    tiles: tuple[TileMap | None, ...]  # [N]; None: answered as one image, or refused
    peaks: tuple[tuple[Peak, ...], ...]  # [N]
    places: tuple[SlicePlace | None, ...]  # [N], of DICOM pictures

    @property
    def answered(self) -> NDArray[np.bool_]:
        """bool [N]."""
        return self.labels >= 0


def answers(session: Session, paths: Sequence[Path], workers: int, tick: Callable[[int, int], None]) -> tuple[Answers, Origin]:
    """Answers the images, in order. tick: told (images done, images in all). Raises RuntimeUnavailable, and ModelUnfit."""
    outcomes: list[Answered | Refused] = []
    with Workers([fork_worker() for _ in range(workers)]) as pool:
        loaded = pool.start(Job(session.model, follow=False, annotate=None))
        origin = session.origin(loaded.runtime, loaded.version)
        for group in pool.run(map(os.fsencode, paths), known=lambda images: [[]] * len(images)):
            outcomes += (_of_one_picture(outcome) for _, outcome in group)
            tick(len(outcomes), len(paths))
    return _collected(outcomes, session.manifest.labels), origin


def _of_one_picture(outcome: Outcome) -> Answered | Refused:
    """A label is of a file, so that one of several frames cannot be scored."""
    if isinstance(outcome, Frames):
        return Refused(outcome.sha256, "E-IMAGE-FRAMES", f"a DICOM file of {len(outcome.frames)} frames: save one")
    return outcome


def _collected(outcomes: Sequence[Answered | Refused], names: Sequence[str]) -> Answers:
    labels = np.full(len(outcomes), -1, np.int64)
    probabilities = np.full((len(outcomes), len(names)), np.nan)
    found = [one.answer if isinstance(one, Answered) else None for one in outcomes]
    for row, answer in enumerate(found):
        if answer:
            labels[row] = names.index(answer.label)
            probabilities[row] = [answer.probabilities[name] for name in names]
    return Answers(
        sha256=tuple(outcome.sha256.hex() for outcome in outcomes),
        labels=labels,
        probabilities=probabilities,
        decisions=tuple(answer.decision if answer else REFUSED for answer in found),
        outside=tuple((answer.outside or ()) if answer else () for answer in found),
        refused={row: Refusal(one.code, one.message) for row, one in enumerate(outcomes) if isinstance(one, Refused)},
        tiles=tuple(answer.tiles if answer else None for answer in found),
        peaks=tuple((answer.peaks or ()) if answer else () for answer in found),
        places=tuple(answer.place if answer else None for answer in found),
    )
