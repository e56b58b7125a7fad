"""`limiar.watch`: a scan whose images arrive in watched folders."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app.errors import SourceError, printable
from limiar.edge_app.image.folder import Choice
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.tiling import Tiling
from limiar.edge_app.intake.messages import Beat, Fine, Ready, Trouble, WatchedFolder
from limiar.edge_app.intake.watcher import Watcher
from limiar.edge_app.scan.scan import Scan, open_scan

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys


def watch(
    bundle: Path | str,
    folders: Sequence[Path | str | bytes],
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
    again: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    seconds: float | None = None,
    tell: Callable[[str], None] = lambda note: None,
    looked: Callable[[str, int, str], None] = lambda folder, arriving, passed_over: None,
    stop: Callable[[], bool] = lambda: False,
    keys: "Keys | None" = None,
) -> Scan:
    """Answer images as they arrive in folders, as `limiar watch` does: each answer is kept in the database before you get it.

        for line in limiar.watch("models/lung-nodule", ["cards/"], db="results.db"):
            print(line.path, line.decision, line.confidence, line.code)

    What is in the folders already comes first. A file is answered once it is complete, and again after it changed; it stays
    where it is. Links are not followed.

    folders: watched with everything below them.
    seconds: stop after so long, from when the model is loaded; None: never.
    tell: called with each line that a person should know about a folder, such as that it is gone, or back.
    looked: called about once a second for each folder: its path, how many files are not complete yet, and in words what was
        passed over.
    The others are as for `limiar.scan`.

    Each folder is looked at by a process of its own, which is forked from this one. Raises BundleError, RuntimeUnavailable,
    StoreError, OutputError (annotate), SourceError (a folder that cannot be read at the start), at once or while iterating.
    """
    choice = Choice(tuple(include), tuple(exclude))
    without = tuple(os.path.realpath(os.fsencode(folder)) for folder in (annotate, maps) if folder)
    watched = [
        WatchedFolder(printable(os.fsencode(folder)), os.fsencode(folder), choice, without=without) for folder in folders
    ]
    _check_apart([folder.path for folder in watched])
    end_s = float("inf")
    with ExitStack() as opening:
        watcher = opening.enter_context(Watcher(watched))
        running = open_scan(
            bundle,
            lambda: _arrivals(watcher, tell, looked),
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
            again=again,
            follow=False,
            stop=lambda: stop() or time.monotonic() >= end_s,
            keys=keys,
            ended=watcher.left,
            beside=opening,
        )
    if seconds:
        end_s = time.monotonic() + seconds
    return running


def _arrivals(watcher: Watcher, tell: Callable[[str], None], looked: Callable[[str, int, str], None]) -> Iterator[bytes | None]:
    """The paths of complete files; None while there is none. Raises SourceError: a folder cannot be read at the start."""
    seen: set[str] = set()  # folders that could be read
    gone: set[str] = set()
    while True:
        for event in watcher.turn():
            match event:
                case Ready():
                    yield event.path
                case Trouble():
                    if event.whole and event.source not in seen:
                        raise SourceError(event.code, event.message)
                    tell(f"{event.code}: {event.message}")
                    gone.add(event.source)
                case Fine():
                    seen.add(event.source)
                    if event.source in gone:
                        gone.discard(event.source)
                        tell(f"{event.source} is watched again")
                case Beat():
                    looked(event.source, event.waiting, event.passed_text)
        yield None


def _check_apart(folders: Iterable[bytes]) -> None:
    """By their names alone: no folder is touched here. Raises SourceError."""
    before: list[bytes] = []
    for folder in map(os.path.abspath, folders):
        for other in before:
            if os.path.commonpath([folder, other]) in (folder, other):
                met = f"{printable(folder)} is, is in, or holds {printable(other)}"
                raise SourceError("E-WATCH-TWICE", f"{met}: give the outer one alone")
        before.append(folder)
