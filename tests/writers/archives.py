"""Archives whose answers are made up, for tests and studies of what is done with them afterwards."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from limiar.edge_app.archive.columns import Row, RowFile, record_batch
from limiar.edge_app.archive.plan import DONE, INDEX, PLAN, SCHEMA, Chunk, Options, Plan, index_line

LABELS = ("neg", "pos")
BUNDLE = "b" * 64


def row(image: int | None, decision: str = "pos", confidence: float = 0.9, **others: object) -> Row:
    """A row of an image of that number; None: of a file that could not be read, so `path` says which. A decision that is a code
    is a refusal."""
    sha256 = None if image is None else hashlib.sha256(str(image).encode()).hexdigest()
    fields: dict[str, Any] = {"path": f"/images/{image}.png", "sha256": sha256, "bundle": BUNDLE, "file": "tflite_int8"}
    fields |= {"runtime": "litert 2", "verified": "bundle", "app": "limiar 0"} | others
    if decision.startswith("E-"):
        return Row(decision="refused", code=decision, message="it was made up", **fields)
    label = decision if decision in LABELS else LABELS[0]
    spread = {name: confidence if name == label else 1 - confidence for name in LABELS}
    return Row(decision=decision, label=label, confidence=confidence, probabilities=spread, **fields)


def write_archive(
    out: Path, chunks: Iterable[Sequence[Row]], *, labels: Sequence[str] = LABELS, bundle: str = BUNDLE, made: int = 0
) -> Path:
    """An archive whose chunks have these rows; one without rows is not done. made: tells archives of the same rows apart."""
    (out / DONE).mkdir(parents=True)
    index, images = b"", 0
    digest = hashlib.sha256(f"{out}{made}".encode()).hexdigest()
    for number, rows in enumerate(chunks):
        chunk = Chunk(number, f"{digest[:24]}{number:08x}", len({one.path for one in rows}), 1000 * len(rows))
        index, images = index + index_line(chunk), images + chunk.images
        if rows:
            write_rows(out / DONE / f"{chunk.name}.parquet", rows, number, labels, digest, chunk.images)
    (out / INDEX).write_bytes(index)
    names = ("made", "1.0.0", tuple(labels), "tflite_int8", "litert")
    plan = Plan(SCHEMA, "limiar 0", "2026-11-28T00:00:00Z", bundle, "/nowhere", *names, Options(), [], images, 0, number + 1)
    (out / PLAN).write_bytes(msgspec.json.encode(plan))
    return out


def write_rows(path: Path, rows: Sequence[Row], chunk: int, labels: Sequence[str], plan: str, images: int) -> None:
    """A chunk's file."""
    with RowFile(path, labels, plan, path.stem) as file:
        file.write(record_batch(rows, labels, chunk, 0))
        file.publish(images=images, refused={})
