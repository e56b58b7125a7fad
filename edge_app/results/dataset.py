"""Images that people reviewed, as `limiar train --from RUN --add DIR/reviewed.csv` reads them."""

import hashlib
import os
from pathlib import Path

from msgspec import Struct

from limiar.edge_app.errors import LimiarError, OutputError, printable
from limiar.edge_app.output.files import writable
from limiar.edge_app.results.lines import reviewed_label
from limiar.edge_app.results.picture_file import picture_of
from limiar.edge_app.store.reader import Entry, Filter, Reader
from limiar.edge_app.system.files import partial_folder, replace_folder, write_whole
from limiar.edge_app.text import counted, csv_row, for_csv

TABLE = "reviewed.csv"
_COLUMNS = ("file", "label", "sha256", "id", "decision", "model_label", "confidence", "by", "why", "time")
_NAMED = 5  # files that are named
_EXTENSION = 6  # characters, with the dot


class Exported(Struct, frozen=True):
    """What became of the reviewed answers."""

    images: int  # written
    again: int  # reviewed answers of the same files, of which the last review counts
    missing: tuple[str, ...]  # where files were that are not there any more, or were changed
    whole: int = (
        0  # reviewed pictures that were answered by tiles, or are one of several in a file: no image of the model's kind
    )

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{counted(self.images, 'image')} written"]
        if self.again:
            lines.append(f"{counted(self.again, 'answer')} of the same files left out: the last review counts")
        if self.whole:
            lines.append(f"{counted(self.whole, 'whole picture')} left out: a label of it is not one of its parts")
        if self.missing:
            lines.append(f"{counted(len(self.missing), 'reviewed image')} not found as answered:")
            lines += [f"  {printable(place)}" for place in self.missing[:_NAMED]]
            lines += [f"  and {len(self.missing) - _NAMED} more: see --json"] if len(self.missing) > _NAMED else []
        return "\n".join(lines)


def export_dataset(db: Path, out: Path, which: Filter, done: str = "done") -> Exported:
    """Writes a new folder, whole or not at all: reviewed.csv, and images/ID.EXTENSION for each line.

    done: the folder into which the service moves what it has answered. Raises StoreError, OutputError; LimiarError
    E-RESULT-NONE: there is nothing to write.
    """
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError("E-OUTPUT-WRITE", f"{printable(str(out))} is there already: give a new folder")
    with Reader(db) as reader, reader.moment():
        rows = reader.rows("SELECT entry, max(id) FROM reviews WHERE takes_back IS NULL GROUP BY entry")
        last = {entry: int(str(review)) for entry, review in rows}
        reviewed = [entry for entry in reader.entries(which) if entry.review]
    found = [entry for entry in reviewed if entry.tiles is None and entry.frame is None]
    found.sort(key=lambda entry: last[entry.id])
    latest = {entry.image_sha256 or entry.kept_sha256 or entry.id: entry for entry in found}
    missing: list[str] = []
    images = 0
    with writable(out), partial_folder(out) as partial:
        (partial / "images").mkdir()
        lines = [csv_row(_COLUMNS)]
        for entry in sorted(latest.values(), key=lambda entry: entry.id):
            data = picture_of(db.parent, entry, (done,))
            if data is None:
                missing.append(_place(entry))
                continue
            name = f"images/{entry.id}{_extension(entry)}"
            write_whole(partial / name, data)
            lines.append(csv_row(map(for_csv, _cells(entry, name, data))))
            images += 1
        if not images:
            raise _nothing(missing, whole=len(reviewed) > len(found))
        write_whole(partial / TABLE, "".join(lines).encode())
        replace_folder(partial, out)
    return Exported(images, len(found) - len(latest), tuple(missing), len(reviewed) - len(found))


def _nothing(missing: list[str], whole: bool) -> LimiarError:
    if not missing and whole:
        met = "every reviewed picture was answered by tiles, or is one of several in a file"
        return LimiarError("E-RESULT-NONE", f"{met}: review images of the model's kind, as train learns from them")
    if not missing:
        return LimiarError("E-RESULT-NONE", "no reviewed answer fits: `limiar results confirm` and `overrule` keep reviews")
    met = f"none of the {len(missing)} reviewed images is where it was, for instance {printable(missing[0])}"
    return LimiarError("E-RESULT-NONE", f"{met}: put them back, or name the folder that they were moved to with --done")


def _cells(entry: Entry, name: str, data: bytes) -> tuple[object, ...]:
    assert entry.review
    said = (entry.review.by, entry.review.why, entry.review.time)
    sha256 = hashlib.sha256(data).hexdigest()
    return name, reviewed_label(entry), sha256, entry.id, entry.decision, entry.label, entry.confidence, *said


def _extension(entry: Entry) -> str:
    suffix = os.path.splitext(entry.kept or os.fsdecode(entry.path or b""))[1]
    return suffix.lower() if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= _EXTENSION else ""


def _place(entry: Entry) -> str:
    return f"{entry.id}: " + (f"frames/{entry.kept}" if entry.kept else os.fsdecode(entry.path or b"a frame that was not kept"))
