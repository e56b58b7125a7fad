"""`run_chunk`: the paths of a chunk -> `limiar scan` in a process of its own -> one Parquet file, whole or not at all.

Any process may do any chunk, and two may do the same one: nothing is locked, and both would write the same answers.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, Self

import msgspec
import pyarrow as pa

from limiar.edge_app import exit_status
from limiar.edge_app.archive.columns import GROUP_ROWS, Row, RowFile, read_footer, record_batch
from limiar.edge_app.archive.objects import Stores, is_address
from limiar.edge_app.archive.plan import PLAN, Archive, Chunk, changed, open_archive
from limiar.edge_app.bundle.manifest import MANIFEST
from limiar.edge_app.errors import ArchiveError, LimiarError, printable
from limiar.edge_app.image.containers.container import BYTES_LIMIT
from limiar.edge_app.image.folder import is_picture_name
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.files import partial_folder, write_whole
from limiar.edge_app.system.python import limiar_child

_TICK_S = 0.1  # how often it looks whether it is to stop
_PIPE_BYTES = 1 << 20  # so that the scan need not wait while its lines are turned into columns
_CODE = re.compile(r"(E(?:-[A-Z0-9]+)+): (.*)")


class ChunkDone(msgspec.Struct, frozen=True):
    """A chunk whose answers are on the disk."""

    number: int
    name: str
    images: int
    rows: int  # more than images if files have several frames
    refused: dict[str, int]  # code -> rows
    seconds: float  # that it took now
    fresh: bool  # False: it was done before


class ChunkFailed(msgspec.Struct, frozen=True):
    """Why a chunk failed last: failed/NAME.json."""

    number: int
    code: str
    message: str
    host: str
    time: str  # UTC
    tries: int


class Stopped(Exception):
    """It was told to stop. Not an error: the chunk is as before."""


def run_chunk(
    out: Archive | Path | str,
    number: int,
    scratch: Path | str | None = None,
    *,
    bundle: Path | str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ChunkDone:
    """Answer the images of a chunk, unless its answers are there.

    scratch: a folder for what is needed meanwhile; None: the system's for temporary files. bundle: a copy of the plan's bundle;
    None: where it was when the plan was made. stop: asked every 0.1 s. Call it in a thread that lives on: when that ends, the
    kernel ends the scan.

    Raises Stopped, and LimiarError if the chunk cannot be done; the reason is then in failed/ too. An image that cannot be
    answered is a row with its code, and no error.
    """
    archive = out if isinstance(out, Archive) else open_archive(out)
    chunk = archive.chunk(number)
    if archive.is_done(chunk):
        footer = read_footer(archive.done_path(chunk), chunk)
        return ChunkDone(number, chunk.name, footer.images, footer.rows, footer.refused, 0.0, fresh=False)
    started = time.monotonic()
    try:
        rows, refused = _answer(archive, chunk, Path(scratch or tempfile.gettempdir()), bundle, stop)
    except LimiarError as error:
        _note(archive, chunk, error)
        raise
    with contextlib.suppress(OSError):
        archive.failed_path(chunk).unlink()
    return ChunkDone(number, chunk.name, chunk.images, rows, refused, time.monotonic() - started, fresh=True)


def _answer(
    archive: Archive, chunk: Chunk, scratch: Path, bundle: Path | str | None, stop: Callable[[], bool]
) -> tuple[int, dict[str, int]]:
    plan = archive.plan
    found = check_bundle(archive, bundle)
    paths = archive.paths(chunk)
    with writable(scratch), partial_folder(scratch / f"limiar-{chunk.name}", 0o700) as folder:
        given = _given(archive, chunk, paths, folder / "objects", stop)
        (folder / "list").write_bytes(b"".join(path + b"\0" for path in given))
        words = ["--file", plan.file, "--runtime", plan.runtime, *plan.options.words()]
        refused: Counter[str] = Counter()
        with (
            RowFile(archive.done_path(chunk), plan.labels, archive.sha256, chunk.name) as file,
            _Scan([str(found), "-0", "--db", str(folder / "results.db"), "--quiet", *words], folder, stop) as scan,
        ):
            rows, waiting = 0, 0
            batches: list[pa.RecordBatch] = []
            for some in _named(scan.lines(), given, paths, plan.bundle):
                refused.update(row.code for row in some if row.code)
                batches.append(record_batch(some, plan.labels, chunk.number, rows))
                rows, waiting = rows + len(some), waiting + len(some)
                if waiting >= GROUP_ROWS:
                    file.write(pa.Table.from_batches(batches))
                    batches, waiting = [], 0
            if batches:
                file.write(pa.Table.from_batches(batches))
            file.publish(images=len(paths), refused=dict(sorted(refused.items())))
    return rows, dict(refused)


def check_bundle(archive: Archive, bundle: Path | str | None) -> Path:
    """Where the plan's bundle is. Raises ArchiveError E-PLAN-BUNDLE: it is not there, or is another one; E-PLAN-DAMAGED."""
    found = Path(bundle or archive.plan.bundle_path).absolute()
    try:
        data = (found / MANIFEST).read_bytes()
    except OSError as error:
        met = f"{printable(str(found / MANIFEST))}: {error.strerror}"
        cure = "give the place of a copy on this machine with --bundle"
        raise ArchiveError("E-PLAN-BUNDLE", f"{met}: {cure}") from None
    if (sha256 := hashlib.sha256(data).hexdigest()) != archive.plan.bundle:
        met = f"{printable(str(found))} is the bundle {sha256[:12]}, and the plan was made for {archive.plan.bundle[:12]}"
        raise ArchiveError("E-PLAN-BUNDLE", f"{met}: give that one with --bundle, or make a plan for this one")
    if msgspec.json.decode(data, type=_Labels).labels != archive.plan.labels:
        raise changed(archive.out / PLAN, "its labels are not the bundle's")
    return found


class _Labels(msgspec.Struct):
    labels: tuple[str, ...]


def _given(archive: Archive, chunk: Chunk, paths: Sequence[bytes], folder: Path, stop: Callable[[], bool]) -> list[bytes]:
    """The paths that the scan gets, one for each of the chunk. Raises ArchiveError E-CHUNK-FETCH, Stopped; OSError."""
    given = [_as_file(path, folder, number) for number, path in enumerate(paths)]
    objects = [number for number, path in enumerate(paths) if is_address(path)]

    def look() -> None:
        if stop():
            raise Stopped

    if objects:
        folder.mkdir(exist_ok=True)
        known = archive.known(chunk)
        fetched = Stores().fetch([paths[k] for k in objects], [known[k] for k in objects], BYTES_LIMIT, look)
        for number, data in zip(objects, fetched, strict=True):
            if data is not None:  # otherwise the scan will say that it is missing
                size = known[number].bytes
                Path(os.fsdecode(given[number])).write_bytes(data)
                if len(data) > BYTES_LIMIT and size:
                    os.truncate(given[number], size)  # for its message: the rest is not needed
    return given


def _as_file(path: bytes, folder: Path, number: int) -> bytes:
    """A path as it is, of the copy of an object, or of an empty folder in place of one that scan would enter."""
    if is_address(path):
        extension = os.path.splitext(path)[1]  # which must fit the content
        return os.fsencode(folder / f"{number:06d}") + (extension if is_picture_name(path) else b"")
    if not is_picture_name(path) and os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):
        (folder / f"{number:06d}.png").mkdir(parents=True)
        return os.fsencode(folder / f"{number:06d}.png")
    return path


def _named(groups: Iterable[list[Row]], given: Sequence[bytes], paths: Sequence[bytes], bundle: str) -> Iterator[list[Row]]:
    """The rows, each with the path of the plan. Raises ArchiveError E-CHUNK-LINES unless each path has its rows, in order."""
    at, frame = -1, 0
    for rows in groups:
        for row in rows:
            path = base64.b64decode(row.path_base64) if row.path_base64 else row.path.encode()
            if not (row.frame is not None and row.frame > frame > 0 and path == given[at]):
                at += 1
                if at == len(given) or path != given[at]:
                    _lines_wrong(f"a line has the path {printable(path)} out of turn")
            frame = row.frame or 0
            if row.bundle != bundle:
                _lines_wrong("the bundle was replaced meanwhile")
            if given[at] is not paths[at]:
                row.path, row.path_base64 = paths[at].decode("utf-8", "backslashreplace"), None
        yield rows
    if at + 1 != len(given):
        _lines_wrong(f"lines came for {at + 1} of {len(given)} images")


def _lines_wrong(met: str) -> NoReturn:
    raise ArchiveError("E-CHUNK-LINES", f"the scan of this chunk did not give a line for each image ({met}): run it again")


class _Scan:
    """`limiar scan` in a process that ends with this one. Use as a context manager: leaving ends it."""

    def __init__(self, words: Sequence[str], folder: Path, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._said = folder / "said"
        with open(folder / "list", "rb") as paths, open(self._said, "wb") as said:
            self._process = subprocess.Popen(
                limiar_child("scan", *words),
                stdin=paths,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for this process to deal with
            )
        assert self._process.stdout
        with contextlib.suppress(OSError):  # a user may have 64 pipes of this size, and then small ones (pipe(7))
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # and the kernel kills its workers
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def lines(self) -> Iterator[list[Row]]:
        """Its lines as they come, some at a time.

        Raises Stopped; ArchiveError E-CHUNK-LINES; once it has failed, its own error, or E-CHUNK-SCAN if it gave none.
        """
        assert self._process.stdout
        decoder, stdout = msgspec.json.Decoder(Row), self._process.stdout.fileno()
        parts: list[bytes] = []
        while True:
            if self._stop():
                raise Stopped
            if not select.select([stdout], [], [], _TICK_S)[0]:
                continue
            block = os.read(stdout, _PIPE_BYTES)
            whole, end, rest = block.rpartition(b"\n")
            if end:
                lines = b"".join([*parts, whole])
                parts = [rest]
                try:
                    yield decoder.decode_lines(lines)
                except msgspec.MsgspecError as error:
                    _lines_wrong(str(error))
            elif block:
                parts.append(block)
            else:
                break
        if (status := self._process.wait()) not in (0, exit_status.SOME_REFUSED):
            self._fail(status)

    def _fail(self, status: int) -> NoReturn:
        """Raises the error that it ended with."""
        said = self._said.read_bytes().decode(errors="replace").strip().splitlines()[-1:]
        if said and (found := _CODE.fullmatch(said[0])):
            raise ArchiveError(found[1], found[2])
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        met = f"the scan of this chunk {how}{': ' + printable(said[0]) if said else ''}"
        cure = "is memory lacking? Run the chunk again; if it fails again, report it"
        raise ArchiveError("E-CHUNK-SCAN", f"{met}: {cure}")


def read_failed(archive: Archive, chunk: Chunk) -> ChunkFailed | None:
    """Why a chunk failed last; None if it did not, or nobody can tell."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(archive.failed_path(chunk).read_bytes(), type=ChunkFailed)
    return None


def _note(archive: Archive, chunk: Chunk, error: LimiarError) -> None:
    before = read_failed(archive, chunk)
    tries = before.tries + 1 if before else 1
    failed = ChunkFailed(chunk.number, error.code, error.message, socket.gethostname(), utc_now(), tries)
    with contextlib.suppress(OSError):  # a full disk, perhaps: whoever started it gets the error all the same
        write_whole(archive.failed_path(chunk), msgspec.json.encode(failed) + b"\n", durable=False)
