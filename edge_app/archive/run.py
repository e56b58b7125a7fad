"""`run_archive`: the chunks that are not done, on many processes or machines, with Dask.

Files are trusted, not what the engine says: a chunk is done if its file is there. So whatever ends a worker, the engine or this
process costs the chunks that were at work, and the same call again does only what is missing.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from limiar.edge_app.archive.chunk import check_bundle
from limiar.edge_app.archive.dask_driver import Cluster, Tls, Work
from limiar.edge_app.archive.plan import Archive, open_archive
from limiar.edge_app.health.log import duration

_ROUNDS = 3  # in which a chunk that is not done is tried
_LOST = "E-CHUNK-SCAN: its worker was lost again and again: is memory lacking?"


class Progress(msgspec.Struct, frozen=True):
    """How far a run is."""

    done: int  # chunks of this run
    chunks: int  # that were missing when it began
    images: int  # of the chunks that are done
    all_images: int
    seconds: float  # since it began

    def text(self) -> str:
        """For a person, with the rate, and the time that is left at this rate."""
        text = f"{self.done} of {self.chunks} chunks, {self.images} of {self.all_images} images"
        if not self.images:
            return text
        rate = self.images / self.seconds
        return f"{text}, {rate:.0f}/s, {duration((self.all_images - self.images) / rate)} left"


class ArchiveRun(msgspec.Struct, frozen=True):
    """The outcome of a run."""

    chunks: int  # of the archive
    done: int  # of them, now
    fresh: int  # that this run did
    failed: dict[int, str]  # chunk -> "E-…: why" of those that are not done
    seconds: float
    stopped: bool  # it was told to stop


def run_archive(
    out: Archive | Path | str,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    tls: Tls | None = None,
    bundle: Path | str | None = None,
    scratch: Path | str | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> ArchiveRun:
    """Answer the chunks of an archive that are not done, with Dask.

        outcome = limiar.run_archive("work", workers=8)

    workers: processes on this machine, each with a scan of its own; None: one for each core. scheduler: instead, the address of
    a running Dask cluster, tls://HOST:PORT with `tls`, whose workers have limiar, see `out`, and find the bundle at `bundle`.
    scratch: as for `run_chunk`. stop, progress: called every half second.

    A chunk that cannot be done is in `failed`. Raises ArchiveError: the plan or the bundle cannot be used; E-DASK-TLS,
    E-DASK-START, E-DASK-LOST: the cluster cannot be.
    """
    archive = out if isinstance(out, Archive) else open_archive(out)
    started, missing = time.monotonic(), {chunk.number: chunk.images for chunk in archive.missing()}
    if scheduler is None:
        check_bundle(archive, bundle)
    work = Work(str(archive.out.resolve()), None if bundle is None else str(bundle), None if scratch is None else str(scratch))
    failed: dict[int, str] = {}
    left, done, images, all_images = list(missing), 0, 0, sum(missing.values())
    for _ in range(_ROUNDS):
        if not left or stop():
            break
        with Cluster(work, workers, scheduler, tls) as cluster:
            for number, error in cluster.run(left, stop):
                if number is not None and error:
                    failed[number] = error
                elif number is not None:
                    done, images = done + 1, images + missing[number]
                progress(Progress(done, len(missing), images, all_images, time.monotonic() - started))
        left = [number for number in missing if not archive.is_done(archive.chunk(number))]
    return ArchiveRun(
        chunks=archive.plan.chunks,
        done=archive.plan.chunks - len(left),
        fresh=len(missing) - len(left),
        failed={number: failed.get(number, _LOST) for number in left if number in failed or not stop()},
        seconds=time.monotonic() - started,
        stopped=stop(),
    )
