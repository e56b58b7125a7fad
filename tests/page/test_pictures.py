"""Pictures of real answers: drawn apart from the page, found by their sha256 wherever the service moved them."""

import io
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.page.pictures import NoPicture, Pictures
from limiar.edge_app.store.reader import Entry, Filter, Reader
from pages import until
from services import Service, noise

MOVED_TO = ("done", "quarantine")


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, project: Path) -> tuple[Path, list[Entry]]:
    """A state folder with the answers of three images and one refusal, all of them moved."""
    folder = tmp_path_factory.mktemp("answered")
    with Service(folder, project / "models" / "lung-nodule") as service:
        for number, data in enumerate(noise(3)):
            (service.inbox / f"{number}.png").write_bytes(data)
        (service.inbox / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
        until(lambda: len(entries(service.state)) == 4 and not list(service.inbox.glob("*.png")), 60)
    return service.state, entries(service.state)


def entries(state: Path) -> list[Entry]:
    try:
        with Reader(state / "results.db") as reader:
            return list(reader.entries(Filter()))
    except Exception:
        return []


@pytest.fixture
def pictures(answered: tuple[Path, list[Entry]]) -> Iterator[Pictures]:
    with Pictures(answered[0], MOVED_TO) as found:
        yield found


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_moved_image_is_shown_with_its_own_pixels(answered, pictures: Pictures) -> None:
    for entry in [one for one in answered[1] if one.kind == "file"]:
        original = np.asarray(Image.open(io.BytesIO(noise(3)[int(os.path.basename(entry.path)[:1])])).convert("RGB"))
        thumb = pixels(pictures.png(entry, "thumb"))
        assert thumb.shape == (150, 150, 3)  # 50 px, each a square of 3
        np.testing.assert_array_equal(thumb[1::3, 1::3], original)
        assert pixels(pictures.png(entry, "full")).shape == (1200, 1200, 3)
        assert pictures.missing(entry) is None


def test_a_map_lies_over_the_image_that_it_is_of(answered, pictures: Pictures, project: Path) -> None:
    entry = next(one for one in answered[1] if one.kind == "file")
    folder = pictures.bundle_of(entry, str(project / "models" / "lung-nodule"))
    found = pixels(pictures.png(entry, "map", folder))
    assert found.shape == (400, 400, 3)
    assert (found[..., 0] != found[..., 2]).any()


def test_a_bundle_that_is_not_there_any_more_has_no_map(answered, pictures: Pictures) -> None:
    with pytest.raises(NoPicture, match=r"picture[.]bundle-gone"):
        pictures.bundle_of(answered[1][0], "/nowhere")


def test_a_file_without_a_picture_and_one_that_was_changed_say_so(answered, tmp_path: Path) -> None:
    state, found = answered
    refused = next(one for one in found if one.kind == "refusal")
    changed = next(one for one in found if one.kind == "file")
    (path,) = state.parent.rglob(os.path.basename(os.fsdecode(changed.path)))
    before = path.read_bytes()
    with Pictures(state, MOVED_TO) as pictures:
        with pytest.raises(NoPicture, match=r"picture[.]broken"):
            pictures.png(refused, "full")
        try:
            path.write_bytes(before + b"\0")
            with pytest.raises(NoPicture, match=r"picture[.]moved"):
                pictures.png(changed, "full")
        finally:
            path.write_bytes(before)


def test_a_process_that_dies_costs_one_picture(answered, pictures: Pictures) -> None:
    entry = next(one for one in answered[1] if one.kind == "file")
    pictures.png(entry, "full")
    child = pictures._child[0]
    os.kill(child.pid, signal.SIGSTOP)
    killed = threading.Timer(0.3, os.kill, (child.pid, signal.SIGKILL))
    killed.start()
    with pytest.raises(NoPicture, match=r"picture[.]broken"):
        pictures.png(entry, "full")
    assert pictures.png(entry, "full")
    assert pictures._child[0].pid != child.pid


def test_an_idle_page_has_no_such_process(answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.page.pictures._IDLE_S", 0.4)
    with Pictures(answered[0], MOVED_TO) as pictures:
        pictures.png(next(one for one in answered[1] if one.kind == "file"), "full")
        assert pictures._child
        until(lambda: pictures._child is None)


def test_thumbnails_are_kept_within_a_limit(answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.page.pictures._CACHE_BYTES", 8_000)
    with Pictures(answered[0], MOVED_TO) as pictures:
        sizes = [len(pictures.png(one, "thumb")) for one in answered[1] if one.kind == "file"]
        assert sum(sizes) > 8_000
        assert sum(map(len, pictures._thumbs.values())) == pictures._thumb_bytes <= 8_000


def test_a_browser_keeps_a_picture_and_asks_only_whether_it_has_it(client, state: Path, answered) -> None:
    for name in ("results.db", "results.db-wal"):
        if (answered[0] / name).exists():
            (state / name).write_bytes((answered[0] / name).read_bytes())
    (state / "results.db-shm").unlink(missing_ok=True)
    entry = next(one for one in answered[1] if one.kind == "file")
    with client() as browser:
        address = re.search(rf"/pictures/{entry.id}/thumb.png[?]v=\w+", browser.get("/results").text)[0]
        first = browser.get(address)
        assert (first.status_code, first.mimetype) == (200, "image/png")
        assert "immutable" in first.headers["Cache-Control"]
        assert "no-cache" in browser.get(f"/pictures/{entry.id}/thumb.png?v=1").headers["Cache-Control"]
        assert browser.get(first.request.path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
        assert browser.get(f"/pictures/{entry.id}/other.png").status_code == 404


def test_a_picture_that_no_browser_would_get_is_not_asked_for(client, state: Path) -> None:
    with client() as browser:
        page = browser.get("/results").text
    assert page.count('class="picture thumb none"') == 4  # no file of this store is there
    assert "/pictures/" not in page


def test_the_page_never_loads_numpy(server) -> None:
    with server() as (process, _):
        maps = Path(f"/proc/{process.pid}/maps").read_text()
    assert "numpy" not in maps
    assert "sqlite" in maps  # this would find it


def test_no_path_of_the_store_leads_to_another_file(state: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with sqlite3.connect(state / "results.db") as db:
        db.execute("UPDATE camera_results SET kept = '../../secret', kept_sha256 = ?", (b"0" * 32,))
    with Reader(state / "results.db") as reader:
        entry = reader.entry(2)
    with Pictures(state, MOVED_TO) as pictures, pytest.raises(NoPicture, match=r"picture[.]moved"):
        pictures.png(entry, "full")
