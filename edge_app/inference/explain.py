"""`limiar.explain`: an image's answer, and where in the image the model finds it."""

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from limiar.edge_app.arrays import ClassMap, Pixels
from limiar.edge_app.bundle.manifest import InputSpec, MapGrid
from limiar.edge_app.errors import BundleError, OutputError, printable
from limiar.edge_app.image.draw import enlarged, png
from limiar.edge_app.image.heat import beside, overlaid
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.inference.session import open_session
from limiar.edge_app.output.lines import Line, answered, image_fields
from limiar.edge_app.system.files import write_whole

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.inference.classifier import Classifier
    from limiar.edge_app.inference.session import Session


class Explanation(Line, frozen=True, kw_only=True):
    """An answer, and the map of its label."""

    class_map: list[list[float]]  # [h][w]: its mean is the label's logit
    peak: tuple[int, int]  # x, y in pixels of the image: the middle of the map's largest cell
    outside: tuple[str, ...] | None  # as in Line, but part of the JSON even if it is None


def explain(
    bundle: Path | str,
    image: Path | str,
    *,
    out: Path | str,
    file: str | None = None,
    runtime: str | None = None,
    refer_below: float | None = None,
    keys: "Keys | None" = None,
) -> Explanation:
    """Answer an image, and write a PNG of it with a map of the parts that the answer comes from.

        found = limiar.explain("models/lung-nodule", "patch.png", out="why.png")
        print(found.label, found.confidence, found.peak)

    The arguments are as for `limiar.scan`; nothing is kept in the database, and an image outside the envelope is answered.
    Raises BundleError (E-BUNDLE-MAP: the file has no map), ImageError, RuntimeUnavailable, OutputError.
    """
    session = open_session(bundle, file=file, runtime=runtime, refer_below=refer_below, outside="ignore", keys=keys)
    manifest, grid = session.manifest, _grid(session)
    _check_out(Path(out), str(image))
    started = time.perf_counter()
    content = read_file(os.fsencode(image))
    picture = decode(content, str(image), manifest.input)
    decode_s = time.perf_counter() - started
    classifier, origin = session.load()
    answer, class_map = classifier.explain(picture, decode_s)
    label_map = _checked(class_map, session.file.name, grid, len(manifest.labels))[..., manifest.labels.index(answer.label)]
    shown = np.asarray(enlarged(picture.pixels()))
    beside_map = beside(shown, overlaid(shown, label_map, grid, manifest.input), label_map, answer.label)
    try:
        write_whole(Path(out), png(beside_map, answer))
    except OSError as error:
        met = f"{printable(str(out))}: {error.strerror}"
        raise OutputError("E-EXPLAIN-OUT", f"{met}: give --out a file in a folder that can be written") from None
    line = answered(origin, answer, answer.decision, **image_fields(os.fsencode(image), hashlib.sha256(content).digest()))
    peak = _peak(label_map, grid, manifest.input, picture.shape)
    return Explanation(**structs.asdict(line), class_map=label_map.tolist(), peak=peak)


def explained_picture(session: "Session", classifier: "Classifier", content: bytes, label: str) -> Pixels:
    """An image under the map of a label, uint8 RGB [H, W, 3], enlarged as by `explain`.

    Raises BundleError E-BUNDLE-MAP, ImageError, ValueError: not a label of the model.
    """
    manifest, grid = session.manifest, _grid(session)
    picture = decode(content, spec=manifest.input)
    _, class_map = classifier.explain(picture)
    label_map = _checked(class_map, session.file.name, grid, len(manifest.labels))[..., manifest.labels.index(label)]
    return overlaid(np.asarray(enlarged(picture.pixels())), label_map, grid, manifest.input)


def _grid(session: "Session") -> MapGrid:
    """Of the session's model file. Raises BundleError."""
    if session.file.class_map is None:
        met = f"{session.file.name} of {printable(str(session.manifest.name))} has no class activation map"
        raise BundleError("E-BUNDLE-MAP", f"{met}: convert the model again with `limiar convert --cam`")
    return session.file.class_map


def _check_out(out: Path, path: str) -> None:
    """Raises OutputError: the image would be overwritten, or the name does not end in .png."""
    where = printable(str(out))
    if out.suffix.lower() != ".png":
        raise OutputError("E-EXPLAIN-OUT", f"{where} does not end in .png, and the picture is a PNG: give --out another name")
    if os.path.realpath(out) == os.path.realpath(path):
        raise OutputError("E-EXPLAIN-OUT", f"{where} is the image itself: give --out another name")


def _checked(found: ClassMap | None, name: str, grid: MapGrid, labels: int) -> ClassMap:
    """The map, float32 [h, w, K], after checking it against the manifest. Raises BundleError."""
    wanted = (grid.height, grid.width, labels)
    if found is None or found.shape != wanted or not np.isfinite(found).all():
        met = f"{name} gives a map of {None if found is None else found.shape}, the manifest says {wanted}, all finite"
        raise BundleError("E-BUNDLE-MAP", f"{met}: convert the model again")
    return found


def _peak(own: NDArray[np.float32], grid: MapGrid, spec: InputSpec, shape: tuple[int, ...]) -> tuple[int, int]:
    row, column = np.unravel_index(int(own.argmax()), own.shape)
    y = (grid.first[0] + row * grid.step[0] + 0.5) * shape[0] / spec.height
    x = (grid.first[1] + column * grid.step[1] + 0.5) * shape[1] / spec.width
    return int(min(max(x, 0), shape[1] - 1)), int(min(max(y, 0), shape[0] - 1))
