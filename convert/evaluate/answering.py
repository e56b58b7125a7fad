"""The bundle's answers for many images, by the worker processes of `limiar scan`: a file that crashes one costs only itself.

Nothing is kept in a database, and nothing is taken from one: every image is answered anew.
"""

import os
from collections.abc import Callable, Iterator, Sequence
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

    of: tuple[int, ...]  # [N], which of the files each is in
    frames: tuple[int | None, ...]  # [N], from 1, of a file with several; None: it has one
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


def answers(
    session: Session, paths: Sequence[Path], workers: int, tick: Callable[[int, int], None], frames_apart: bool = False
) -> tuple[Answers, Origin]:
    """Answers the files, in order. tick: told (files done, files in all). Raises RuntimeUnavailable, and ModelUnfit.

    frames_apart: each frame of a DICOM file is an image; False: a file of several is refused, since it has one label for all.
    """
    outcomes: list[Outcome] = []
    with Workers([fork_worker() for _ in range(workers)]) as pool:
        loaded = pool.start(Job(session.model, follow=False, annotate=None))
        origin = session.origin(loaded.runtime, loaded.version)
        for group in pool.run(map(os.fsencode, paths), known=lambda images: [[] for _ in images]):
            outcomes += (outcome for _, outcome in group)
            tick(len(outcomes), len(paths))
    return _collected([*_apart(outcomes, frames_apart)], session.manifest.labels), origin


def _apart(outcomes: Sequence[Outcome], frames_apart: bool) -> Iterator[tuple[int, int | None, Answered | Refused]]:
    """Each image: which of the files it is in, its frame, and what became of it."""
    for file, outcome in enumerate(outcomes):
        if not isinstance(outcome, Frames):
            yield file, None, outcome
        elif frames_apart:
            yield from ((file, number, one) for number, one in enumerate(outcome.frames, start=1))
        else:
            met = f"{len(outcome.frames)} frames with one label for all: save each in a file of its own"
            yield file, None, Refused(outcome.sha256, "E-IMAGE-FRAMES", met)


def _collected(images: Sequence[tuple[int, int | None, Answered | Refused]], names: Sequence[str]) -> Answers:
    outcomes = [outcome for _, _, outcome in images]
    labels = np.full(len(outcomes), -1, np.int64)
    probabilities = np.full((len(outcomes), len(names)), np.nan)
    found = [one.answer if isinstance(one, Answered) else None for one in outcomes]
    for row, answer in enumerate(found):
        if answer:
            labels[row] = names.index(answer.label)
            probabilities[row] = [answer.probabilities[name] for name in names]
    return Answers(
        of=tuple(file for file, _, _ in images),
        frames=tuple(frame for _, frame, _ in images),
        sha256=tuple(outcome.sha256.hex() for outcome in outcomes),
        labels=labels,
        probabilities=probabilities,
        decisions=tuple(answer.decision if answer else REFUSED for answer in found),
        outside=tuple((answer.outside or ()) if answer else () for answer in found),
        refused={row: Refusal(one.code, one.message) for row, one in enumerate(outcomes) if not isinstance(one, Answered)},
        tiles=tuple(answer.tiles if answer else None for answer in found),
        peaks=tuple((answer.peaks or ()) if answer else () for answer in found),
        places=tuple(answer.place if answer else None for answer in found),
    )
