"""The columns of an archive's answers, as `limiar archive` writes them: one Parquet file of a chunk, or of a merge.

A row is a line of `limiar scan`, without what differs each time (the time of the answer, and whether the database had it).
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Self, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from limiar.edge_app.answer import Timing
from limiar.edge_app.archive.plan import Chunk
from limiar.edge_app.errors import ArchiveError, printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.system.files import WholeFile

SCHEMA = 1  # raised when a column changes its meaning
GROUP_ROWS = 65_536  # of a row group: what a reader holds at once

COLUMNS = pa.schema(
    [
        pa.field("chunk", pa.int32(), nullable=False),  # its number when it was answered
        pa.field("row", pa.int32(), nullable=False),  # in the chunk, from 0
        pa.field("path", pa.large_string(), nullable=False),  # or the address of an object; bytes that are not UTF-8 as \xNN
        pa.field("path_base64", pa.large_string()),  # the path's bytes, if they are not UTF-8
        pa.field("sha256", pa.binary(32)),  # of the image file; null if it could not be read
        pa.field("frame", pa.int32()),  # from 1, of a file with several
        pa.field("decision", pa.string(), nullable=False),  # a label, "refer" or "refused"
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("probabilities", pa.list_(pa.float64())),  # in the order of the file's labels
        pa.field("outside", pa.list_(pa.string())),
        pa.field("code", pa.string()),  # of a refused image
        pa.field("message", pa.string()),
        pa.field("trailing", pa.string()),
        pa.field("tiles", pa.string()),  # these three as JSON
        pa.field("peaks", pa.string()),
        pa.field("dicom", pa.string()),
        pa.field("bundle", pa.string(), nullable=False),  # sha256 of the manifest
        pa.field("file", pa.string(), nullable=False),
        pa.field("runtime", pa.string(), nullable=False),
        pa.field("verified", pa.string(), nullable=False),
        pa.field("app", pa.string(), nullable=False),
        pa.field("decode_ms", pa.float64()),
        pa.field("resize_ms", pa.float64()),
        pa.field("infer_ms", pa.float64()),
    ]
)


def without_pandas() -> None:
    """For a process of limiar's own, before its first array: pyarrow then does without pandas, from there on.

    At its first array it imports pandas if that is installed: 1 s and 60 MB, for conversions that are not made here.
    """
    if "pandas" not in sys.modules:
        old = sys.modules["pandas"] = ModuleType("pandas")
        old.__version__ = "0"  # type: ignore[attr-defined]  # too old for pyarrow, which then leaves it alone
        try:
            with warnings.catch_warnings(action="ignore"):
                pa.array([0])
        finally:
            del sys.modules["pandas"]


class Row(msgspec.Struct, gc=False):
    """A line of `limiar scan --jsonl`, as far as an archive keeps it."""

    decision: str
    bundle: str
    file: str
    runtime: str
    verified: str
    app: str
    path: str = ""
    path_base64: str | None = None
    sha256: str | None = None
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    outside: list[str] | None = None
    trailing: str | None = None
    code: str | None = None
    message: str | None = None
    ms: Timing | None = None
    frame: int | None = None
    tiles: msgspec.Raw = msgspec.Raw()
    peaks: msgspec.Raw = msgspec.Raw()
    dicom: msgspec.Raw = msgspec.Raw()


class Footer(msgspec.Struct, frozen=True):
    """What a file says of itself, without its rows being read."""

    rows: int
    labels: tuple[str, ...]  # the order of probabilities
    plan: str  # sha256 of the plan that it was written for
    images: int  # paths that were tried: a file with several frames has more rows
    refused: dict[str, int]  # code -> rows


def record_batch(rows: Sequence[Row], labels: Sequence[str], chunk: int, first: int) -> pa.RecordBatch:
    """Rows as columns. first: the number in the chunk of the first one."""
    columns: dict[str, list[Any]] = {
        "chunk": [chunk] * len(rows),
        "row": list(range(first, first + len(rows))),
        "sha256": [bytes.fromhex(row.sha256) if row.sha256 else None for row in rows],
        "probabilities": [row.probabilities and [row.probabilities[label] for label in labels] for row in rows],
        "tiles": [_text(row.tiles) for row in rows],
        "peaks": [_text(row.peaks) for row in rows],
        "dicom": [_text(row.dicom) for row in rows],
        "decode_ms": [row.ms and row.ms.decode for row in rows],
        "resize_ms": [row.ms and row.ms.resize for row in rows],
        "infer_ms": [row.ms and row.ms.infer for row in rows],
    }
    arrays = []
    for field in COLUMNS:
        values = columns.get(field.name)
        arrays.append(pa.array(values if values is not None else [getattr(row, field.name) for row in rows], field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)


def _text(raw: msgspec.Raw) -> str | None:
    return bytes(raw).decode() if raw else None


class RowFile:
    """A Parquet file of rows that appears whole under its name, on the disk, when it is published.

    with RowFile(path, labels, plan) as file:
        file.write(batch)
        file.publish(images=1000, refused={})
    """

    def __init__(self, path: Path, labels: Sequence[str], plan: str, chunk: str = "") -> None:
        """chunk: the name of the chunk whose rows these are, if they are of one. Raises OutputError, as all its methods do."""
        self._path = path
        about = {"limiar.schema": str(SCHEMA), "limiar.labels": json.dumps(list(labels)), "limiar.plan": plan}
        about |= {"limiar.chunk": chunk} if chunk else {}
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._whole = WholeFile(path)
        self._sink = _Sink(self._whole)
        sink = pa.PythonFile(cast(IO[bytes], self._sink), "w")
        # With checksums: without, a flipped bit was another answer in one case of seven.
        self._writer = pq.ParquetWriter(sink, COLUMNS.with_metadata(about), compression="zstd", write_page_checksum=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.ended = True
        self._whole.discard()  # which does nothing to a published one

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Adds a row group. Give many rows at once, at most GROUP_ROWS."""
        with writable(self._path):
            self._writer.write(rows, row_group_size=GROUP_ROWS)

    def publish(self, *, images: int, refused: dict[str, int]) -> None:
        """Ends the file and gives it its name. images, refused: as in Footer."""
        with writable(self._path):
            self._writer.add_key_value_metadata({"limiar.images": str(images), "limiar.refused": json.dumps(refused)})
            self._writer.close()
            self._whole.publish()


class _Sink:
    """What pyarrow takes for a file: it goes to a WholeFile, which alone closes it."""

    closed = False

    def __init__(self, whole: WholeFile) -> None:
        self._whole = whole
        self._written = 0
        self.ended = False  # True: what pyarrow still writes, as it is deleted, goes nowhere

    def write(self, data: Any) -> int:
        if not self.ended:
            self._whole.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def read_footer(path: Path, chunk: Chunk | None = None) -> Footer:
    """What a file of rows says of itself. chunk: whose file it must be. Raises ArchiveError E-CHUNK-DAMAGED."""
    try:
        with open_rows(path) as file:
            rows, about, schema = file.metadata.num_rows, file.metadata.metadata or {}, file.schema_arrow
        if about.get(b"limiar.schema") != str(SCHEMA).encode() or not schema.equals(COLUMNS):
            raise ValueError("it does not have the columns that this limiar writes")
        images = int(about[b"limiar.images"])
        if chunk and (about.get(b"limiar.chunk") != chunk.name.encode() or images != chunk.images or rows < images):
            raise ValueError("it has the rows of another chunk")
        return Footer(
            rows,
            msgspec.json.decode(about[b"limiar.labels"], type=tuple[str, ...]),
            about[b"limiar.plan"].decode(),
            images,
            msgspec.json.decode(about[b"limiar.refused"], type=dict[str, int]),
        )
    except KeyError as error:
        raise damaged(path, ValueError(f"it does not say its {error.args[0].decode()}")) from None
    except (pa.ArrowException, OSError, ValueError, msgspec.MsgspecError) as error:
        raise damaged(path, error) from None


def open_rows(path: Path) -> pq.ParquetFile:
    """A file of rows, whose pages are checked as they are read. Raises ArrowException, OSError, UnicodeDecodeError."""
    return pq.ParquetFile(path, page_checksum_verification=True)


def read_rows(path: Path, columns: Sequence[str] | None = None, rows: int = GROUP_ROWS) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in its order, at most `rows` at a time. Raises ArchiveError E-CHUNK-DAMAGED."""
    try:
        with open_rows(path) as file:
            left = file.metadata.num_rows
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                batch.validate(full=True)  # texts are UTF-8, whoever wrote them
                left -= batch.num_rows
                yield batch
            if left:  # pages of a kind that nobody knows are passed over
                raise ValueError("rows are missing")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: BaseException) -> ArchiveError:
    """The error of a file of rows that cannot be read."""
    reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
    cure = "if it is in an archive's done/, delete it and run `limiar archive run` again; if it was merged, merge again"
    return ArchiveError("E-CHUNK-DAMAGED", f"{printable(str(path))} cannot be read ({reason}): {cure}")
