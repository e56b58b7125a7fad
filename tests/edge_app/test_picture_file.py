"""The picture of a kept answer is found wherever the service moved it, and never another."""

import hashlib
from pathlib import Path

import pytest

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.results.picture_file import picture_of
from limiar.edge_app.store.reader import Entry, Reader
from limiar.edge_app.store.writer import BundleKey, Store

IMAGE = b"the image"
KEY = BundleKey(sha256="ab" * 32, name="tiny", version="1", file="t", runtime="l", labels=("neg", "pos"))
ANSWER = Answer("pos", "pos", 0.9, {"neg": 0.1, "pos": 0.9}, Timing(0.1, 0.2, 0.3), "2026-01-01T00:00:00.000Z", "limiar 0")


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """An answer of FOLDER/inbox/ward/a.png, which is not there any more."""
    (tmp_path / "inbox" / "ward").mkdir(parents=True)
    with Store(tmp_path / "results.db", "run") as store:
        store.use(KEY, "bundle")
        store.add(hashlib.sha256(IMAGE).digest(), bytes(tmp_path / "inbox" / "ward" / "a.png"), ANSWER, source="inbox")
    with Reader(tmp_path / "results.db") as reader:
        return reader.entry(1)


@pytest.mark.parametrize(
    "place",
    [
        "inbox/ward/a.png",
        "inbox/done/ward/a.png",
        "inbox/ward/done/a.png",
        "done/inbox/ward/a.png",
        "inbox/quarantine/ward/a.png",
        "inbox/done/ward/a-2.png",
        "inbox/done/ward/a-9.png",
    ],
)
def test_it_is_found_where_it_was_moved_to_behind_others_of_that_name(tmp_path: Path, entry: Entry, place: str) -> None:
    assert picture_of(tmp_path, entry, ("done", "quarantine")) is None
    for name, data in (("inbox/done/ward/a.png", b"another of that name"), (place, IMAGE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert picture_of(tmp_path, entry, ("done", "quarantine")) == IMAGE


def test_a_link_and_a_file_with_other_bytes_are_not_it(tmp_path: Path, entry: Entry) -> None:
    place = tmp_path / "inbox" / "ward" / "a.png"
    (tmp_path / "elsewhere").write_bytes(IMAGE)
    place.symlink_to(tmp_path / "elsewhere")
    assert picture_of(tmp_path, entry, ("done",)) is None
    place.unlink()
    place.write_bytes(IMAGE + b"\0")
    assert picture_of(tmp_path, entry, ("done",)) is None
