"""`limiar.open_classifier`: a bundle's model file, loaded into this process, as a function."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from limiar.edge_app.answer import Answer
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.session import Session, open_session
from limiar.edge_app.inference.tiled import answering
from limiar.edge_app.inference.tiling import Tiling
from limiar.edge_app.output.lines import Origin

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys


def open_classifier(
    bundle: Path | str,
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    tiles: Tiling = "bundle",
    keys: "Keys | None" = None,
) -> "OpenClassifier":
    """Open a bundle, load one of its model files, and return a function that answers images.

        with limiar.open_classifier("models/lung-nodule") as classify:
            answer = classify("patch.png")
            print(answer.decision, answer.label, answer.confidence, answer.ms)

    The arguments are as for `limiar.scan`. A child process tries the model file, and runs the golden images if the bundle was
    not verified on the runtime; then it is loaded into this process. Raises BundleError, RuntimeUnavailable (ModelUnfit: the
    model file is not what the bundle says).
    """
    session = open_session(
        bundle,
        file=file,
        runtime=runtime,
        threads=threads,
        refer_below=refer_below,
        outside=outside,
        tiles=tiles,
        keys=keys,
    )
    return OpenClassifier(session)


class OpenClassifier:
    """A model file that answers images. Use it from one thread at a time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        one, origin = session.load()
        self._classifier = answering(session.model, one)
        self.origin: Origin = origin  # the bundle, file and runtime of every answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._classifier  # frees the model

    @property
    def labels(self) -> tuple[str, ...]:
        """The possible answers."""
        return self.session.manifest.labels

    def __call__(self, image: Path | str | bytes | Pixels) -> Answer:
        """Answer an image: the path of a file, its bytes, or uint8 pixels, RGB [H, W, 3] or grey [H, W].

        Raises ImageError (it cannot be decoded, shows nothing, or is refused by `outside`), RuntimeUnavailable, and TypeError
        for pixels of another type or shape.
        """
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
                met = f"pixels are {image.dtype} {list(image.shape)}"
                raise TypeError(f"{met}: give uint8 [height, width, 3] or [height, width]")
            return self._classifier.answer(image)
        started = time.perf_counter()
        name, data = ("", image) if isinstance(image, bytes) else (str(image), read_file(os.fsencode(image)))
        picture = decode(data, name, self.session.manifest.input)
        return self._classifier.answer(picture, decode_s=time.perf_counter() - started)
