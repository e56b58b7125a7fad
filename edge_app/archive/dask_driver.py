"""Chunks on many processes or machines, with Dask distributed.

A task is a chunk's number: nothing else is sent, and what comes back only says whether another chunk can be given out.

A Dask scheduler runs whatever it is sent. So one on another machine is spoken to by TLS alone, with a certificate for each
side; the one that is started here has certificates that no one else has, since other users of this machine reach its port too.
"""

import contextlib
import logging
import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Self

import dask
import distributed.utils
import msgspec
from distributed import Client, Future, LocalCluster, Security, wait
from distributed.comm.core import CommClosedError

from limiar.edge_app.archive.chunk import Stopped, run_chunk
from limiar.edge_app.archive.columns import without_pandas
from limiar.edge_app.errors import ArchiveError, LimiarError, printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import partial_folder

_LOOK_S = 0.5
_START_S = 30.0  # for the cluster to answer
_CLOSE_S = 5.0
_AHEAD = 2  # tasks given out for each process: enough that none waits for the next one
_FORKED = "limiar.edge_app.archive.forked"
_LOOPBACK = re.compile(r"^(tcp://)?(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$")
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 10,  # lost workers: then the chunk waits for the next round
    "distributed.worker.daemon": True,
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.comm.retry.count": 0,
    # Each process of Dask's answers HTTP, to whoever is on this machine. It cannot be told not to; so it has nothing to say.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.connect": f"{_START_S}s",
    "distributed.worker.memory.terminate": False,  # the scan has limits of its own
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}


class Tls(msgspec.Struct, frozen=True):
    """PEM files for a cluster on other machines."""

    authority: Path  # that signed the certificates of scheduler and workers
    certificate: Path
    key: Path


class Work(msgspec.Struct, frozen=True):
    """What every task gets besides its number."""

    out: str  # as the workers see it
    bundle: str | None
    scratch: str | None


class Cluster:
    """A cluster at work. Use as a context manager: leaving ends the one that was started here, and its scans."""

    def __init__(self, work: Work, workers: int | None, scheduler: str | None, tls: Tls | None) -> None:
        """Raises ArchiveError E-DASK-TLS: the scheduler is on another machine, and there is no TLS."""
        if scheduler and not _LOOPBACK.match(scheduler) and not (scheduler.startswith("tls://") and tls):
            met = f"{printable(scheduler)} is on another machine, and a scheduler runs what it is sent"
            cure = "give a tls:// address, with --tls-ca, --tls-cert and --tls-key"
            raise ArchiveError("E-DASK-TLS", f"{met}: {cure}")
        self._work, self._workers, self._scheduler, self._tls = work, workers or len(os.sched_getaffinity(0)), scheduler, tls
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Raises ArchiveError E-DASK-START; OutputError: the scratch folder cannot be written."""
        self._open.enter_context(dask.config.set(_SETTINGS))
        _silence()
        try:
            self._client = self._connected() if self._scheduler else self._started()
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            self._open.close()
            met = f"the Dask cluster {self._scheduler or 'on this machine'} did not answer ({printable(str(error))})"
            raise ArchiveError("E-DASK-START", f"{met}: check its address, its certificates, and that it runs") from None
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._open.close()

    def _started(self) -> Client:
        scratch = Path(self._work.scratch or tempfile.gettempdir())
        # It goes with all that killed workers left in it, and if this process is killed, the next one removes it.
        with writable(scratch):
            folder = str(self._open.enter_context(partial_folder(scratch / "limiar-run", 0o700)))
        self._work = msgspec.structs.replace(self._work, scratch=folder)
        security = Security.temporary()
        # Workers are forked from a process that has imported everything once. Dask would have it import pandas too, and
        # would import that here: 1 s and 60 MB for nothing.
        multiprocessing.set_forkserver_preload([_FORKED, __name__])
        distributed.utils._forkserver_preload_set = True
        cluster = LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # a port of its own, not always 8787
            silence_logs=logging.CRITICAL,
            memory_limit=0,
            local_directory=folder,
        )
        self._open.callback(cluster.close, timeout=_CLOSE_S)
        return self._client_of(cluster, security)

    def _connected(self) -> Client:
        tls = self._tls
        for path in (tls.authority, tls.certificate, tls.key) if tls else ():
            path.open("rb").close()  # whose error says which file, unlike that of the TLS library
        files = {"tls_ca_file": tls.authority, "tls_client_cert": tls.certificate, "tls_client_key": tls.key} if tls else {}
        security = Security(require_encryption=tls is not None, **{name: str(path) for name, path in files.items()})
        client = self._client_of(self._scheduler, security)
        client.wait_for_workers(1, timeout=_START_S)  # or nothing would ever be done, and nobody would say so
        return client

    def _client_of(self, cluster: Any, security: Security) -> Client:
        client = Client(cluster, security=security, timeout=_START_S, set_as_default=False)
        self._open.callback(client.close, timeout=_CLOSE_S)
        return client

    def run(self, numbers: Iterable[int], stop: Callable[[], bool]) -> Iterator[tuple[int | None, str]]:
        """Has chunks done; yields each that ended, and why it was not done ("": it was). None: half a second went by.

        Ends early if `stop` says so. Raises ArchiveError E-DASK-LOST: the scheduler is gone.
        """
        left, waiting = iter(numbers), dict[Future, int]()
        try:
            while not stop():
                for number in _some(left, _AHEAD * self._processes() - len(waiting)):
                    waiting[self._client.submit(_task, self._work, number, pure=False, retries=0)] = number
                if not waiting:
                    return
                with contextlib.suppress(TimeoutError, CancelledError), self._client.as_current():
                    wait(list(waiting), timeout=_LOOK_S, return_when="FIRST_COMPLETED")
                if self._client.status != "running":  # what its futures say now is not about their chunks
                    raise OSError("it closed the connection")
                yield None, ""
                for future in [one for one in waiting if one.done()]:
                    yield waiting.pop(future), _error(future)
        except Exception as error:
            if self._client.status == "running" and not isinstance(error, (CommClosedError, OSError)):
                raise
            why = printable(str(error).partition("\n")[0])
            met = f"the Dask scheduler is gone ({why})"
            raise ArchiveError("E-DASK-LOST", f"{met}: give the same command again; what is done stays done") from None
        finally:
            with contextlib.suppress(Exception):
                self._client.cancel(list(waiting), force=True)

    def _processes(self) -> int:
        """How many chunks are done at a time."""
        return self._workers if self._scheduler is None else max(1, sum(self._client.nthreads().values()))


def _silence() -> None:
    """Has Dask log nothing: what matters is told by run_archive."""
    for name in ("distributed", *logging.Logger.manager.loggerDict):
        if name.partition(".")[0] == "distributed":  # each of them has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _some(numbers: Iterator[int], most: int) -> Iterator[int]:
    for number in numbers if most > 0 else ():
        yield number
        most -= 1
        if most <= 0:
            return


def _error(future: Future) -> str:
    """Why a task's chunk was not done; empty if it was."""
    if future.status == "finished":
        return str(future.result())
    why = printable(repr(future.exception())) if future.status == "error" else "its worker was lost"
    return f"E-CHUNK-SCAN: {why}"


def _task(work: Work, number: int) -> str:
    """A worker does a chunk; says why not, or nothing."""
    without_pandas()
    try:
        run_chunk(Path(work.out), number, work.scratch, bundle=work.bundle)
    except LimiarError as error:
        return str(error)
    except Stopped:
        return "it was stopped"
    return ""
