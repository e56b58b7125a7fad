"""The model to convert, as a caller names it. Imports no framework."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import DicomSpec

Numbers = float | Sequence[float]  # one, or one for each channel


class Scaling(msgspec.Struct, frozen=True):
    """What was done to images before the model saw them: x * scale, then (x - mean) / std; one number, or one for each channel.

    With bgr, x is blue, green, red, and so are the values for each channel.
    """

    scale: tuple[float, ...] = (1.0,)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)  # none is 0
    bgr: bool = False

    @classmethod
    def given(cls, scale: Numbers | None, mean: Numbers | None, std: Numbers | None, bgr: bool) -> "Scaling | None":
        """As a caller gives it; None if nothing was given: the model scales its pixels itself."""
        if scale is None and mean is None and std is None and not bgr:
            return None
        plain = cls()
        return cls(_each(scale, plain.scale), _each(mean, plain.mean), _each(std, plain.std), bgr)

    @property
    def values(self) -> dict[str, tuple[float, ...]]:
        """The option's name -> one value, or one for each channel."""
        return {"scale": self.scale, "mean": self.mean, "std": self.std}

    @property
    def options(self) -> str:
        """As it is given on the command line; "" for pixels as they are."""
        plain = Scaling().values
        given = [f"--{name} {','.join(map(_number, values))}" for name, values in self.values.items() if values != plain[name]]
        return " ".join([*(["--bgr"] if self.bgr else []), *given])

    def applied(self, pixels: Pixels) -> np.ndarray:
        """uint8 [N, H, W, C], in the order of the channels that the model takes -> float32."""
        scale, mean, std = (np.asarray(values, np.float64) for values in self.values.values())
        return ((pixels * scale - mean) / std).astype(np.float32)

    def __str__(self) -> str:
        scale, mean, std = (" ".join(f"{value:g}" for value in values) for values in self.values.values())
        return ("blue, green, red; " if self.bgr else "") + f"x * ({scale}), then (x - ({mean})) / ({std})"


def _each(given: Numbers | None, plain: tuple[float, ...]) -> tuple[float, ...]:
    if given is None:
        return plain
    return (float(given),) if isinstance(given, int | float) else tuple(map(float, given))


def _number(value: float) -> str:
    """Exact, and short if it is one over a number."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    over = 0 < size < 1 and float(Fraction(1) / Fraction(f"{1 / size:g}")) == size
    return f"{sign}1/{1 / size:g}" if over else f"{value:g}"


class RunFolder(msgspec.Struct, frozen=True):
    """A RUN of `limiar train`."""

    folder: Path
    data: Path | None = None  # None: where the images were when it was trained
    dicom: DicomSpec | msgspec.UnsetType = msgspec.UNSET  # for devices, if it was trained on images of other formats


class KerasFile(msgspec.Struct, frozen=True):
    """A model that someone else trained."""

    path: Path
    data: Path  # the folder of images
    table: Path | None = None  # --csv
    positive: str | None = None  # None: as `default_positive` says
    scaling: Scaling | None = None  # None: inside the model
    size: tuple[int, int] | None = None  # --size: height, width; of a model that leaves them open
    order: Path | None = None  # --labels: of the outputs, one label a line; None: name order
    grey_max: int | msgspec.UnsetType = msgspec.UNSET  # as InputSpec's
    dicom: DicomSpec | msgspec.UnsetType = msgspec.UNSET  # as InputSpec's
