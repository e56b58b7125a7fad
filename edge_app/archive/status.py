"""How far an archive is: from names of files, and what those files say of themselves at their end."""

from collections import Counter
from pathlib import Path

import msgspec

from limiar.edge_app.archive.chunk import ChunkFailed, read_failed
from limiar.edge_app.archive.columns import read_footer
from limiar.edge_app.archive.plan import Archive, open_archive
from limiar.edge_app.errors import ArchiveError

_SHOWN = 20  # failures that are told one by one


class ArchiveStatus(msgspec.Struct, frozen=True):
    """How far an archive is."""

    bundle: str  # sha256
    name: str
    version: str
    file: str
    runtime: str
    chunks: int
    done: int  # of them
    failed: int  # of those that are not done: they were tried, and failed
    damaged: int  # of those that are done: their files cannot be read
    images: int
    images_done: int
    bytes: int
    bytes_done: int
    rows: int  # answers and refusals
    refused: dict[str, int]  # code -> rows
    failures: list[ChunkFailed]  # of chunks that are not done, the first ones; and of damaged files

    @property
    def complete(self) -> bool:
        """Whether every chunk is done, and can be read."""
        return self.done == self.chunks and not self.damaged


def archive_status(out: Archive | Path | str) -> ArchiveStatus:
    """How far an archive is. Raises ArchiveError."""
    archive = out if isinstance(out, Archive) else open_archive(out)
    plan = archive.plan
    missing = {chunk.name for chunk in archive.missing()}
    refused: Counter[str] = Counter()
    failures: list[ChunkFailed] = []
    failed = damaged = images = size = rows = 0
    for chunk in archive.chunks():
        if chunk.name in missing:
            if found := read_failed(archive, chunk):
                failed += 1
                failures += [found] if len(failures) < _SHOWN else []
            continue
        images, size = images + chunk.images, size + chunk.bytes
        try:
            footer = read_footer(archive.done_path(chunk), chunk)
        except ArchiveError as error:
            damaged += 1
            failures += [ChunkFailed(chunk.number, error.code, error.message, "", "", 0)] if len(failures) < _SHOWN else []
            continue
        rows += footer.rows
        refused.update(footer.refused)
    return ArchiveStatus(
        bundle=plan.bundle,
        name=plan.name,
        version=plan.version,
        file=plan.file,
        runtime=plan.runtime,
        chunks=plan.chunks,
        done=plan.chunks - len(missing),
        failed=failed,
        damaged=damaged,
        images=plan.images,
        images_done=images,
        bytes=plan.bytes,
        bytes_done=size,
        rows=rows,
        refused=dict(refused.most_common()),
        failures=failures,
    )
