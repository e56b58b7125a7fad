"""`limiar.scan`: paths -> workers -> store -> lines that may be reported."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from limiar.edge_app.answer import Answer
from limiar.edge_app.errors import ImageError, OutputError, printable
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.running import Running
from limiar.edge_app.inference.session import Session, open_session
from limiar.edge_app.inference.tiling import Tiling
from limiar.edge_app.output.lines import Line, Origin, answered, image_fields, refused
from limiar.edge_app.output.tile_lines import tiles_line
from limiar.edge_app.scan.fork import fork_worker
from limiar.edge_app.scan.messages import Answered, Frames, Job, Outcome, Refused
from limiar.edge_app.system.clock import utc_now

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.image.folder import Found
    from limiar.edge_app.scan.pool import Workers
    from limiar.edge_app.store.writer import Store


def scan(
    bundle: Path | str,
    paths: Iterable[Path | str | bytes | None],
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    workers: int = 1,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    tiles: Tiling = "bundle",
    db: Path | str | None = None,
    annotate: Path | str | None = None,
    maps: Path | str | None = None,
    scores: bool = False,
    plain_uids: bool = False,
    again: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: bool = False,
    passed_over: "Callable[[Found], None]" = lambda found: None,
    stop: Callable[[], bool] = lambda: False,
    keys: "Keys | None" = None,
) -> "Scan":
    """Answer image files and folders, as `limiar scan` does: each answer is kept in the database before you get it.

        for line in limiar.scan("models/lung-nodule", ["images/"], db="results.db"):
            print(line.path, line.decision, line.confidence, line.code)

    paths: files and folders (recursive, in name order); None says that there is no path yet.
    file, runtime: a model file of the bundle, and a runtime; None: the bundle's default, and the first installed runtime.
    threads: inference threads in each of the `workers` processes; None: 1. If file, runtime and threads are all None, they are
        those of this device's profile for the bundle (`limiar bench --save-best`), if there is one.
    refer_below: refer answers of lower confidence, 0..1; None: the bundle's own limit.
    outside: what to do with images unlike the training images: "refer", "refuse" or "ignore".
    tiles: size and stride of the tiles into which a picture is cut, px; "bundle": as the bundle says; None: it is one image.
    db: results database; None: results.db in limiar's state folder.
    annotate: a folder for a picture of each image with its answer.
    maps: a folder for a picture of each image under the scores of its tiles. scores: lines have the scores of all tiles.
    plain_uids: the UIDs of DICOM pictures as they are, in new answers; otherwise their hashes.
    again: run again even if the database has an answer.
    include, exclude, follow: which files to take from folders; see `limiar scan --help`.
    passed_over: called with each file or folder that is passed over.
    stop: called at least every 50 ms; once it returns True, the answers so far are kept and given, and the scan ends.
    keys: one of these must have signed the bundle; None: no signature is asked for.

    Images that cannot be answered are lines with `code` and `message`. Raises BundleError, RuntimeUnavailable, StoreError,
    OutputError (annotate), SourceError (paths), at once or while iterating.
    """

    def files() -> Iterable[bytes | None]:
        from limiar.edge_app.image.folder import Choice
        from limiar.edge_app.scan.paths import Files

        listing = (None if path is None else os.fsencode(path) for path in paths)
        without = [Path(folder) for folder in (annotate, maps) if folder]
        return Files(listing, Choice(tuple(include), tuple(exclude), follow), passed_over, without)

    return open_scan(
        bundle,
        files,
        file=file,
        runtime=runtime,
        threads=threads,
        workers=workers,
        refer_below=refer_below,
        outside=outside,
        tiles=tiles,
        db=db,
        annotate=annotate,
        maps=maps,
        scores=scores,
        plain_uids=plain_uids,
        again=again,
        follow=follow,
        stop=stop,
        keys=keys,
    )


def open_scan(
    bundle: Path | str,
    files: Callable[[], Iterable[bytes | None]],
    *,
    file: str | None,
    runtime: str | None,
    threads: int | None,
    workers: int,
    refer_below: float | None,
    outside: OutsideRule,
    tiles: Tiling,
    db: Path | str | None,
    annotate: Path | str | None,
    maps: Path | str | None,
    scores: bool,
    again: bool,
    follow: bool,
    stop: Callable[[], bool],
    keys: "Keys | None",
    plain_uids: bool = False,
    ended: Callable[[bytes], None] = lambda path: None,
    beside: ExitStack | None = None,
) -> "Scan":
    """As `scan`, of files alone. ended: called with each path that has its outcome. beside: closed with it."""
    # Workers load numpy and a runtime while this process opens everything else. So they are forked after the imports that both
    # need, and before those that only this process needs.
    processes = [fork_worker() for _ in range(workers)]

    from limiar.edge_app.output.files import writable
    from limiar.edge_app.scan.pool import Workers
    from limiar.edge_app.store.state import default_path
    from limiar.edge_app.store.writer import Store

    with ExitStack() as opening:
        pool = opening.enter_context(Workers(processes))
        session = open_session(
            bundle,
            file=file,
            runtime=runtime,
            threads=threads,
            workers=workers,
            refer_below=refer_below,
            outside=outside,
            tiles=tiles,
            keys=keys,
        )
        if maps and not session.model.tiles:
            met = f"{printable(session.manifest.name)} answers a picture as one image, which has no map"
            raise OutputError("E-TILES-MAPS", f"{met}: give --tiles SIZE,STRIDE, or leave --maps out")
        for folder in [Path(given) for given in (annotate, maps) if given]:
            with writable(folder):
                folder.mkdir(parents=True, exist_ok=True)
        store = opening.enter_context(Store(Path(db) if db else default_path()))
        job = Job(session.model, follow, str(annotate) if annotate else None, str(maps) if maps else None, plain_uids)
        loaded = pool.start(job)
        origin = session.origin(loaded.runtime, loaded.version)
        store.use(session.key(origin), origin.verified, session.model.tiling)
        if beside:
            opening.push(beside.pop_all())
        told = (session, origin, pool, store, files())
        return Scan(*told, again=again, scores=scores, stop=stop, ended=ended, opened=opening.pop_all())


class Scan(Running):
    """A running scan."""

    def __init__(
        self,
        session: Session,
        origin: Origin,
        pool: "Workers",
        store: "Store",
        files: Iterable[bytes | None],
        *,
        again: bool,
        scores: bool,
        stop: Callable[[], bool],
        ended: Callable[[bytes], None],
        opened: ExitStack,
    ) -> None:
        super().__init__(session, origin, store, stop, opened)
        self._ended = ended
        self._pool = pool
        self._files = files
        self._again = again
        self._scores = scores

    def _kept_lines(self) -> Iterator[list[Line]]:
        for outcomes in self._pool.run(self._files, self._known):
            yield [line for path, outcome in outcomes for line in self._lines(path, outcome)]
            for path, _ in outcomes:
                self._ended(path)

    def _known(self, images: list[bytes]) -> list[list[Answer]]:
        kept = frozenset[bytes]() if self._again else self._store.kept(images)
        return [list(filter(self._whole, self._store.find_all(image))) if image in kept else [] for image in images]

    def _whole(self, answer: Answer) -> bool:
        """Whether an answer of the store is not older than the column `outside`: otherwise the image is inferred again."""
        return not self.session.manifest.envelope or answer.outside is not None

    def _lines(self, path: bytes, outcome: Outcome) -> list[Line]:
        if isinstance(outcome, Frames):
            return [self._kept(path, one, frame) for frame, one in enumerate(outcome.frames, 1)]
        return [self._kept(path, outcome, None)]

    def _kept(self, path: bytes, outcome: Answered | Refused, frame: int | None) -> Line:
        """Adds a new answer to the store; returns the line to report once it is committed."""
        if isinstance(outcome, Refused):
            return self._refused(path, outcome, frame, stored=False)
        answer, stored = outcome.answer, outcome.stored
        if not stored and not self._store.add(outcome.sha256, path, answer, replace=self._again):
            earlier = self._store.find(outcome.sha256, frame)
            if earlier and self._whole(earlier):
                answer, stored = earlier, True  # two workers had the same image
            else:
                self._store.add(outcome.sha256, path, answer)
        try:  # the store keeps an answer's first decision; what is reported follows the rule of this scan
            decided = self.session.model.rule.decided(answer)
        except ImageError as error:
            return self._refused(path, Refused(outcome.sha256, error.code, error.message), frame, stored)
        about = image_fields(path, outcome.sha256)
        line = answered(self.origin, decided, decided.decision, stored=stored, frame=frame, **about)
        return replace(line, tiles=tiles_line(answer.tiles, scores=True)) if self._scores and answer.tiles else line

    def _refused(self, path: bytes, outcome: Refused, frame: int | None, stored: bool) -> Line:
        image = image_fields(path, outcome.sha256)
        return refused(self.origin, outcome.code, outcome.message, utc_now(), stored=stored, frame=frame, **image)
