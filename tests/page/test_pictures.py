"""Pictures of real answers: drawn apart from the page, found by their sha256 wherever the service moved them."""

import errno
import hashlib
import io
import os
import re
import resource
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.image.read import decode
from limiar.edge_app.page.drawing import Draw, Model
from limiar.edge_app.page.picture_child import _shown
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
        assert pixels(pictures.png(entry, "full")).shape == (600, 600, 3)
        assert pictures.missing(entry) is None


def test_a_map_lies_over_the_image_that_it_is_of(answered, pictures: Pictures, project: Path) -> None:
    entry = next(one for one in answered[1] if one.kind == "file")
    current = str(project / "models" / "lung-nodule")
    assert pictures.map_missing(entry, current) is None
    found = pixels(pictures.png(entry, "map", current))
    assert found.shape == (400, 400, 3)
    assert (found[..., 0] != found[..., 2]).any()


def test_a_bundle_that_is_not_there_any_more_has_no_map(answered, pictures: Pictures) -> None:
    entry = answered[1][0]
    assert pictures.map_missing(entry, "/nowhere") == "picture.bundle-gone"
    with pytest.raises(NoPicture, match=r"picture[.]bundle-gone"):
        pictures.png(entry, "map", "/nowhere")


def test_no_other_bundle_makes_the_map_even_in_the_same_folder(answered, project: Path, tmp_path: Path) -> None:
    entry = next(one for one in answered[1] if one.kind == "file")
    folder = shutil.copytree(project / "models" / "lung-nodule", tmp_path / "bundle")
    with Pictures(answered[0], MOVED_TO) as pictures:
        assert pictures.png(entry, "map", str(folder))
        with (folder / "manifest.json").open("ab") as file:
            file.write(b" ")
        assert pictures.map_missing(entry, str(folder)) == "picture.bundle-gone"
        other = msgspec.structs.replace(entry, bundle=hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest())
        assert pictures.png(other, "map", str(folder))  # it is not the model that was loaded from there first
        asked = Draw("map", (), b"", model=Model(str(folder), entry.bundle, entry.file, "litert", entry.label))
        asked = msgspec.structs.replace(asked, places=pictures._places(entry), sha256=entry.image_sha256)
        assert pictures._mapper.draw(asked).code in ("", "E-BUNDLE-HASH")


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
    first = pictures._drawer.pid
    os.kill(first, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
    with pytest.raises(NoPicture, match=r"picture[.]broken"):
        pictures.png(entry, "full")
    assert pictures.png(entry, "full")
    assert pictures._drawer.pid != first


def test_a_picture_that_hangs_the_process_is_tried_twice_and_others_are_drawn(answered, monkeypatch) -> None:
    hangs, other, _ = (one for one in answered[1] if one.kind == "file")
    monkeypatch.setattr("limiar.edge_app.page.pictures._DRAW_S", 5.0)  # a busy machine starts the process anew in less
    with Pictures(answered[0], MOVED_TO) as pictures:
        for _ in range(2):
            pictures.png(other, "full")
            os.kill(pictures._drawer.pid, signal.SIGSTOP)
            with pytest.raises(NoPicture, match=r"picture[.]broken"):
                pictures.png(hangs, "full")
        assert pictures.png(other, "full")
        pid = pictures._drawer.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NoPicture, match=r"picture[.]broken"):
            pictures.png(hangs, "full")  # at once: the process that hangs is not asked
        os.kill(pid, signal.SIGCONT)
        assert pictures._drawer.pid == pid


def test_a_request_does_not_wait_for_long_behind_others_and_a_thumbnail_never_for_a_map(answered, monkeypatch) -> None:
    monkeypatch.setattr("limiar.edge_app.page.drawer._TURN_S", 0.2)
    entry = next(one for one in answered[1] if one.kind == "file")
    with Pictures(answered[0], MOVED_TO) as pictures:
        pictures._mapper._lock.acquire()
        assert pictures.png(entry, "full")
        pictures._mapper._lock.release()
        with pictures._drawer._lock, pytest.raises(NoPicture, match=r"picture[.]busy"):
            pictures.png(entry, "full")


def test_a_picture_is_no_worse_for_a_machine_that_cannot_start_a_process(answered, monkeypatch) -> None:
    entry = next(one for one in answered[1] if one.kind == "file")
    with Pictures(answered[0], MOVED_TO) as pictures:
        with monkeypatch.context() as patch:
            patch.setattr("limiar.edge_app.page.drawer.spawn_named", Mock(side_effect=OSError(errno.EAGAIN, "none")))
            pictures.warm()
            for _ in range(3):
                with pytest.raises(NoPicture, match=r"picture[.]busy"):
                    pictures.png(entry, "full")
        assert pictures.png(entry, "full")


def test_an_idle_page_has_no_such_process(answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.page.drawer.IDLE_S", 0.4)
    with Pictures(answered[0], MOVED_TO) as pictures:
        pictures.png(next(one for one in answered[1] if one.kind == "file"), "full")
        assert pictures._drawer.pid
        until(lambda: pictures._drawer.pid is None)


def test_the_process_gives_way_to_what_answers_and_has_bounds(answered, pictures: Pictures) -> None:
    pictures.png(next(one for one in answered[1] if one.kind == "file"), "thumb")
    process = Path(f"/proc/{pictures._drawer.pid}")
    assert os.getpriority(os.PRIO_PROCESS, pictures._drawer.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert (process / "oom_score_adj").read_text() == "1000\n"
    assert resource.prlimit(pictures._drawer.pid, resource.RLIMIT_DATA)[0] == 1 << 30


@pytest.mark.parametrize("shape", [(1700, 900, 3), (700, 4001), (3, 2500, 3)])
def test_a_large_picture_becomes_smaller_band_by_band_as_it_would_whole(shape: tuple[int, ...]) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    found = _shown(decode(file.getvalue()), 300)
    size = tuple(max(1, round(side * 300 / max(shape[:2]))) for side in image.size)
    whole = image.reduce(max(image.size) // 300).resize(size, Image.Resampling.BOX)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole))
    assert max(found.size) == 300


def test_16_bits_are_shown_by_the_range_that_the_bundle_says(answered, tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 2500).reshape(50, 50).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "ct.png")
    data = (tmp_path / "ct.png").read_bytes()
    asked = Draw("full", (os.fsencode(tmp_path / "ct.png"),), hashlib.sha256(data).digest())
    with Pictures(answered[0], MOVED_TO) as pictures:
        assert pictures._drawer.draw(asked).code == "E-IMAGE-DEPTH"
        drawn = pictures._drawer.draw(msgspec.structs.replace(asked, spec=InputSpec(40, 40, 3, grey_max=4095)))
    assert pixels(drawn.png).max() == 255


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
