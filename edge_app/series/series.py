"""`limiar.series`: whole series of slices, one study each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from limiar.edge_app.errors import BundleError, ImageError, printable
from limiar.edge_app.output.lines import Line, Origin, refused
from limiar.edge_app.scan.scan import Scan, scan
from limiar.edge_app.series.order import Slice, sliced
from limiar.edge_app.series.study import Study, study_of

if TYPE_CHECKING:
    from limiar.edge_app.inference.session import Session

Outcome = tuple[Study | Line, list[Slice]]  # a study and its slices; a Line of what belongs to none, and an empty list


def series(
    bundle: Path | str,
    paths: Iterable[Path | str | bytes | None],
    *,
    read: Callable[[list[Line]], None] = lambda lines: None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> "Series":
    """Answer series of DICOM slices, as `limiar series` does: the slices of a series are one study.

        for study in limiar.series("bundles/nodules", ["ct/"], db="results.db"):
            for finding in study.findings or ():
                print(study.series, finding.place_mm, finding.score)

    Slices belong together by SeriesInstanceUID, and lie in the order of their places, whatever their names and numbers say. The
    bundle must have tiles, or `tiles` gives them. Studies come at the end, in the order of their first slices. What belongs to
    none is a refused Line with `code` and `message`: files that cannot be answered, or that do not say where they lie.

    read: called with each group of lines as the slices are answered and kept. The other options are those of `limiar.scan`, and
    the same errors are raised.
    """
    return Series(scan(bundle, paths, stop=stop, **options), read, stop)


class Series:
    """A running one: iterate over it, once. It closes at the end, or on leaving its `with` block."""

    def __init__(self, running: Scan, read: Callable[[list[Line]], None], stop: Callable[[], bool]) -> None:
        self._running = running
        self._read = read
        self._stop = stop
        tiles = running.session.model.tiles
        if tiles is None:
            with running:
                met = f"{printable(running.session.manifest.name)} does not say into which tiles slices are cut"
                raise BundleError("E-SERIES-TILES", f"{met}: give --tiles SIZE,STRIDE")
        self._tiles = tiles

    @property
    def session(self) -> "Session":
        """The bundle, its model file, and the rule."""
        return self._running.session

    @property
    def origin(self) -> Origin:
        """What all answers of it share."""
        return self._running.origin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._running.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Study | Line]:
        for study, _ in self.with_slices():
            yield study

    def with_slices(self) -> Iterator[Outcome]:
        """As iterating over it, with the slices of each study. Nothing if it was stopped."""
        groups = defaultdict[str, list[Slice]](list)
        others: list[Line] = []
        with self:
            for lines in self._running.groups():
                for line in lines:
                    try:
                        slice_ = None if line.refused else sliced(line)
                    except ImageError as error:
                        line, slice_ = _refused(line, error), None
                    if slice_:
                        groups[slice_.series].append(slice_)
                    else:
                        others.append(line)
                self._read(lines)
            if self._stop():  # half of a series must not be taken for the whole
                return
            for slices in groups.values():
                yield study_of(slices, self._tiles, self.origin), slices
            yield from ((line, []) for line in others)


def _refused(line: Line, error: ImageError) -> Line:
    """The line of a picture that has an answer, but no place among slices."""
    about = {"path": line.path, "path_base64": line.path_base64, "sha256": line.sha256, "frame": line.frame}
    origin = Origin(line.bundle, line.file, line.runtime, line.verified, line.app)
    return refused(origin, error.code, error.message, line.time, **about)
