"""The images to look at: those that a file decides differently from Keras, and those whose scores differ most."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.report.image import png_url

FLIPS_SHOWN = 24
DIFFERENCES_SHOWN = 8
_PREFIX = 12  # of a sha256: enough to find the image


class Scored(msgspec.Struct, frozen=True):
    """What one model gave for the N images."""

    scores: NDArray[np.float64]  # [N], 0..1: of the positive label, or with more than two of the label that Keras gives
    decisions: Sequence[str]  # [N], a label or REFER


class GalleryImage(msgspec.Struct, frozen=True):
    """One image of the gallery."""

    sha256: str  # its beginning
    label: str  # the true one
    keras: str  # decision
    keras_score: float
    file: str
    file_score: float
    png: str | None  # data URL of the model input; None: left out


class Gallery(msgspec.Struct, frozen=True):
    """Two rows of pictures, and how many there would be of the first."""

    flips: tuple[GalleryImage, ...]
    flips_in_all: int
    differences: tuple[GalleryImage, ...]  # none of the flips


def gallery(tensors: Pixels | None, sha256: Sequence[str], truth: Sequence[str], keras: Scored, file: Scored) -> Gallery:
    """Flips and largest differences, the largest first. tensors: uint8 [N, H, W, C]; None leaves every pixel out."""
    differences = np.abs(keras.scores - file.scores)
    order = np.argsort(-differences, kind="stable").tolist()
    flips = [k for k in order if keras.decisions[k] != file.decisions[k]]
    others = [k for k in order if keras.decisions[k] == file.decisions[k] and differences[k] > 0]

    def picture(k: int) -> GalleryImage:
        return GalleryImage(
            sha256=sha256[k][:_PREFIX],
            label=truth[k],
            keras=keras.decisions[k],
            keras_score=float(keras.scores[k]),
            file=file.decisions[k],
            file_score=float(file.scores[k]),
            png=None if tensors is None else png_url(tensors[k]),
        )

    return Gallery(
        flips=tuple(map(picture, flips[:FLIPS_SHOWN])),
        flips_in_all=len(flips),
        differences=tuple(map(picture, others[:DIFFERENCES_SHOWN])),
    )
