"""A result that was answered by tiles: its map, without its bundle or a model, and its peaks in both languages."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.pictures import Pictures
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.scan.scan import scan
from limiar.edge_app.store.reader import Entry, Filter, Reader


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A state folder whose store has one picture in tiles, half of it black."""
    folder = tmp_path_factory.mktemp("tiles")
    pixels = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (160, 200), np.uint8), (9, 9), 2)
    pixels = np.asarray(cv2.normalize(pixels, None, 20, 255, cv2.NORM_MINMAX))  # type: ignore[call-overload]
    pixels[:, :90] = 0
    Image.fromarray(pixels).save(folder / "slice.png")
    scan_of = scan(project / "models" / "lung-nodule", [folder / "slice.png"], tiles=(40, 10), db=folder / "results.db")
    assert [line.code for line in scan_of] == [None]
    return folder


@pytest.fixture
def entry(state: Path) -> Entry:
    with Reader(state / "results.db") as reader:
        (found,) = reader.entries(Filter())
    return found


def test_a_map_is_drawn_from_what_is_stored_although_the_bundle_is_not_here(state, entry):
    with Pictures(state, ()) as pictures:
        assert pictures.map_missing(entry) is None
        over, plain = (
            np.asarray(Image.open(io.BytesIO(pictures.png(entry, kind))).convert("RGB"), int) for kind in ("map", "full")
        )
    assert over.shape == plain.shape == (480, 600, 3)
    assert (over[:, :60] == plain[:, :60]).all()  # not assessed: as it is
    assert (over[:, 330:] != plain[:, 330:]).any()


def test_the_page_of_a_result_lists_its_peaks(state, entry):
    with open_site(PageSettings(state=state)) as site:
        browser = make_app(site).test_client()
        english = browser.get(f"/results/{entry.id}").get_data(as_text=True)
        portuguese = browser.get(f"/results/{entry.id}", headers={"Accept-Language": "pt"}).get_data(as_text=True)
    assert entry.peaks
    assert english.count("<tr><td>") == len(entry.peaks)
    assert "Peaks" in english
    assert f"{entry.tiles.assessed} of {entry.tiles.rows * entry.tiles.columns} tiles were assessed" in english
    assert "Picos" in portuguese
    assert "recortes foram avaliados" in portuguese


def test_the_exports_of_the_page_have_tiles_and_peaks(state, entry):
    with open_site(PageSettings(state=state)) as site:
        browser = make_app(site).test_client()
        (line,) = map(json.loads, browser.get("/results.jsonl").get_data().splitlines())
    assert line["tiles"]["assessed"] == entry.tiles.assessed
    assert len(line["peaks"]) == len(entry.peaks)
