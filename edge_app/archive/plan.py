"""A planned archive: its folder, the plan, the chunks, and where the answers of each one are.

    OUT/plan.json                  what answers, how, and of what; written last: a folder without it is no plan
    OUT/chunks.jsonl               a line for each chunk, all of one width
    OUT/chunks/000/000000.list     the paths of chunk 0, separated by NUL; 1,000 chunks a folder
    OUT/chunks/000/000000.objects  of objects: their sizes and ETags, as far as they were known
    OUT/done/NAME.parquet          the answers of a chunk: if it is there, it is done
    OUT/failed/NAME.json           why a chunk failed last

A chunk's NAME comes from what answers and from its paths. So any process on any machine may answer any chunk, also twice.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from limiar.edge_app.errors import ArchiveError, printable
from limiar.edge_app.inference.rule import OutsideRule

SCHEMA = 1
PLAN, INDEX, CHUNKS, DONE, FAILED = "plan.json", "chunks.jsonl", "chunks", "done", "failed"
LINE_BYTES = 128  # of a line of chunks.jsonl, so that the one of chunk K is found without reading those before it
_IN_FOLDER = 1000  # chunks
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are answered, as for `limiar.scan`."""

    threads: int = 1
    refer_below: float | None = None
    outside: OutsideRule = "refer"
    tiles: tuple[int, int] | Literal["bundle"] | None = "bundle"
    plain_uids: bool = False
    follow: bool = False

    def words(self) -> list[str]:
        """As options of `limiar scan`."""
        words = ["--threads", str(self.threads), "--outside", self.outside]
        words += [] if self.refer_below is None else ["--refer-below", repr(self.refer_below)]
        if self.tiles is None:
            words.append("--no-tiles")
        elif self.tiles != "bundle":
            words += ["--tiles", f"{self.tiles[0]},{self.tiles[1]}"]
        words += ["--plain-uids"] if self.plain_uids else []
        return words + (["--follow"] if self.follow else [])


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers, how, and of what."""

    schema: int
    app: str  # "limiar 0.1.0", which made the plan
    made: str  # UTC
    bundle: str  # sha256 of the manifest: any copy of the bundle will do
    bundle_path: str  # where it was
    name: str  # of the bundle
    version: str
    labels: tuple[str, ...]
    file: str  # model file
    runtime: str  # its name; the version is in each row
    options: Options
    sources: list[str]  # what was given, for people
    images: _Count
    bytes: _Count  # of them, as far as sizes were known
    chunks: _Count


class Chunk(msgspec.Struct, frozen=True):
    """A part of the work."""

    number: _Count  # from 0
    name: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]  # files are called by it, so it is no path
    images: _Count
    bytes: _Count


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What the plan knows of an object in a store."""

    bytes: int | None = None
    etag: str = ""  # for people: the object may have changed since


def chunk_name(bundle: str, file: str, runtime: str, options: Options, paths: Sequence[bytes]) -> str:
    """A chunk's name: the first half of a sha256 of what answers and of all paths."""
    digest = hashlib.sha256(msgspec.json.encode([SCHEMA, bundle, file, runtime, options]) + b"\0")
    digest.update(b"\0".join(paths))
    return digest.hexdigest()[:32]


def chunk_folder(number: int) -> str:
    """Where the files of a chunk are, below OUT."""
    return f"{CHUNKS}/{number // _IN_FOLDER:03d}"


class Archive:
    """An opened plan."""

    def __init__(self, out: Path, plan: Plan, sha256: str) -> None:
        self.out = out
        self.plan = plan
        self.sha256 = sha256  # of plan.json

    def chunks(self) -> Iterator[Chunk]:
        """All of them, in order. Raises ArchiveError E-PLAN-DAMAGED."""
        with _reading(self.out / INDEX), open(self.out / INDEX, "rb") as index:
            for number in range(self.plan.chunks):
                yield _chunk(self.out / INDEX, index.read(LINE_BYTES), number)

    def chunk(self, number: int) -> Chunk:
        """One of them. Raises ArchiveError E-PLAN-CHUNK: there is no such chunk; E-PLAN-DAMAGED."""
        if not 0 <= number < self.plan.chunks:
            met = f"{printable(str(self.out))} has no chunk {number}"
            raise ArchiveError("E-PLAN-CHUNK", f"{met}: give one from 0 to {self.plan.chunks - 1}")
        with _reading(self.out / INDEX), open(self.out / INDEX, "rb") as index:
            index.seek(number * LINE_BYTES)
            return _chunk(self.out / INDEX, index.read(LINE_BYTES), number)

    def paths(self, chunk: Chunk) -> list[bytes]:
        """The files (absolute paths) and objects (addresses) of a chunk, in order. Raises ArchiveError E-PLAN-DAMAGED."""
        path = self._beside(chunk, "list")
        with _reading(path):
            paths = path.read_bytes().split(b"\0")[:-1]
        plan = self.plan
        if chunk_name(plan.bundle, plan.file, plan.runtime, plan.options, paths) != chunk.name:
            raise changed(path, "it does not have the paths that the chunk is named by")
        return paths

    def known(self, chunk: Chunk) -> list[Known]:
        """What is known of the objects of a chunk, for each of its paths; empty if it has none."""
        path = self._beside(chunk, "objects")
        if not path.exists():
            return []
        with _reading(path):
            known = msgspec.json.Decoder(Known).decode_lines(path.read_bytes())
        if len(known) != chunk.images:
            raise changed(path, "it does not have a line for each path")
        return known

    def done_path(self, chunk: Chunk) -> Path:
        """The chunk's answers."""
        return self.out / DONE / f"{chunk.name}.parquet"

    def failed_path(self, chunk: Chunk) -> Path:
        """Why it failed last."""
        return self.out / FAILED / f"{chunk.name}.json"

    def is_done(self, chunk: Chunk) -> bool:
        """Whether its answers are there. Raises ArchiveError E-PLAN-DAMAGED: nobody can tell."""
        with _reading(self.out / DONE):
            return self.done_path(chunk).exists()

    def missing(self) -> Iterator[Chunk]:
        """The chunks that are not done, in order. Raises ArchiveError E-PLAN-DAMAGED."""
        with _reading(self.out / DONE):
            done = set(os.listdir(self.out / DONE)) if (self.out / DONE).is_dir() else set()
        return (chunk for chunk in self.chunks() if f"{chunk.name}.parquet" not in done)

    def _beside(self, chunk: Chunk, extension: str) -> Path:
        return self.out / chunk_folder(chunk.number) / f"{chunk.number:06d}.{extension}"


def open_archive(out: Path | str) -> Archive:
    """Opens what `limiar archive plan` wrote. Raises ArchiveError E-PLAN-MISSING, E-PLAN-DAMAGED, E-PLAN-SCHEMA."""
    out = Path(out)
    try:
        data = (out / PLAN).read_bytes()
    except OSError as error:
        met = f"{printable(str(out / PLAN))}: {error.strerror}"
        raise ArchiveError("E-PLAN-MISSING", f"{met}: give the folder that `limiar archive plan` wrote") from None
    with _reading(out / PLAN):
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            met = f"{printable(str(out / PLAN))} has schema {schema}, and this limiar reads {SCHEMA}"
            raise ArchiveError("E-PLAN-SCHEMA", f"{met}: use the limiar that made the plan")
        plan = msgspec.json.decode(data, type=Plan)
    return Archive(out, plan, hashlib.sha256(data).hexdigest())


class _Schema(msgspec.Struct):
    schema: int


def index_line(chunk: Chunk) -> bytes:
    """A line of chunks.jsonl."""
    return msgspec.json.encode(chunk).ljust(LINE_BYTES - 1) + b"\n"


def _chunk(index: Path, line: bytes, number: int) -> Chunk:
    chunk = msgspec.json.decode(line, type=Chunk)
    if chunk.number != number:
        raise changed(index, f"where chunk {number} should be, there is chunk {chunk.number}")
    return chunk


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise changed(path, error.strerror or str(error)) from None
    except OSError as error:
        met = f"{printable(str(path))}: {error.strerror}"
        raise ArchiveError("E-PLAN-DAMAGED", f"{met}: check who may read it, and its disk or share") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise changed(path, str(error)) from None


def changed(path: Path, reason: str) -> ArchiveError:
    """The error of a file of the plan that is not as it was written."""
    met = f"{printable(str(path))} is not as `limiar archive plan` wrote it ({printable(reason)})"
    cure = "make the plan again in a new folder; with the same options and images, its chunks take the files of done/"
    return ArchiveError("E-PLAN-DAMAGED", f"{met}: {cure}")
