"""The whole page without a network: it opens, answers a folder, keeps and exports it, whatever is closed meanwhile."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

import limiar
from limiar.edge_app.output.lines import Line
from phone_modules import served

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "models" / "lung-nodule"
LOADS_MS = 120_000  # the model loads and its golden images are answered, on a busy machine
OWN = ("runtime", "verified", "app", "time", "ms")  # the fields in which a phone's line differs from a device's
LAST_DIGIT = 1e-15  # of a probability: two libraries' exp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as `limiar phone` writes it."""
    out = tmp_path_factory.mktemp("phone") / "page"
    limiar.phone(BUNDLE, out)
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures in folders, a copy of one, damaged ones, and what is no picture."""
    top = tmp_path_factory.mktemp("pictures") / "scans"
    golden = sorted((BUNDLE / "golden").iterdir())
    for number, path in enumerate(path for path in golden if path.suffix in (".png", ".jpg", ".tif", ".bmp", ".webp", ".pgm")):
        target = top / ("first" if number % 2 else "second") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    one = next(path for path in sorted(top.rglob("*.png")))
    shutil.copyfile(one, top / "copy.png")
    (top / "cut.png").write_bytes(one.read_bytes()[:-20])
    (top / "empty.jpg").write_bytes(b"")
    (top / "wrong.jpg").write_bytes(one.read_bytes())
    (top / "notes.txt").write_text("not a picture")
    (top / ".hidden.png").write_bytes(one.read_bytes())
    return top


class Visitor:
    """A browser that has the page, and its tabs."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._context, self._url = context, url
        self.faults: list[str] = []

    def opens(self) -> Page:
        """A new tab, once the page is ready to answer."""
        page = self._context.new_page()
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self._url)
        ready(page)
        return page


def ready(page: Page) -> None:
    expect(page.locator(".state:not(.waiting)")).to_be_visible(timeout=LOADS_MS)


def kept_offline(page: Page) -> None:
    """Waits until the service worker has all parts."""
    page.evaluate("() => navigator.serviceWorker.ready.then(() => null)")


def chooses(page: Page, folder: Path) -> None:
    page.locator("#choose-folder").set_input_files(str(folder))


def finished(page: Page) -> None:
    expect(page.locator(".notice.good, .notice.warn")).to_be_visible(timeout=LOADS_MS)


def exported(page: Page, which: int) -> str:
    """What a person downloads. which: of the choices that the page offers."""
    page.get_by_role("button", name="Export").first.click()
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Download").nth(which).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def scanned(folder: Path, db: Path) -> list[dict[str, Any]]:
    """The lines of `limiar scan` for a folder, named as a browser names its files."""
    lines = limiar.scan(BUNDLE, [folder], file="tflite_int8", db=db)
    found = [json.loads(json_of(line)) for line in lines]
    return [{**line, "path": line["path"].removeprefix(f"{folder.parent}/")} for line in found]


def json_of(line: Line) -> bytes:
    from limiar.edge_app.output.lines import json_lines

    return json_lines([line])


def shared(line: dict[str, Any]) -> dict[str, Any]:
    """What must be equal, but for the last digit of a probability."""
    kept = {key: value for key, value in line.items() if key not in OWN}
    for key in ("confidence", "probabilities"):
        if key in kept:
            kept[key] = pytest.approx(kept[key], rel=0, abs=LAST_DIGIT)
    return kept


def shown(page: Page) -> list[str]:
    """The names in the list, the newest first."""
    return page.locator("ol.stream li.row a").all_inner_texts()


@pytest.fixture
def visitor(browsers: Any, folder: Path) -> Iterator[Visitor]:
    """A browser that has opened the page once; its server is gone."""
    serving = served(("/", folder))
    url = serving.__enter__()
    with browsers.person(url, accept_downloads=True) as person:
        visitor = Visitor(person.page.context, f"{url}/")
        first = visitor.opens()
        kept_offline(first)
        serving.__exit__(None, None, None)
        first.close()
        yield visitor
        assert visitor.faults == []


def test_without_its_server_a_new_tab_opens_and_answers_a_folder_as_a_scan_does(
    visitor: Visitor, pictures: Path, tmp_path: Path
) -> None:
    page = visitor.opens()
    chooses(page, pictures)
    finished(page)
    lines = [json.loads(line) for line in exported(page, 0).splitlines()]
    expected = scanned(pictures, tmp_path / "results.db")
    assert len(lines) > 60
    assert [line["path"] for line in lines] == [line["path"] for line in expected]
    assert lines == [line | shared(line | wanted) for line, wanted in zip(lines, expected, strict=True)]
    assert {tuple(line) for line in lines} == {tuple(line) for line in expected}  # the keys, in their order
    rows = list(csv.DictReader(io.StringIO(exported(page, 1).removeprefix("\ufeff"))))
    assert [row["sha256"] for row in rows] == [line.get("sha256") or "" for line in lines]


def test_what_was_shown_is_still_there_after_the_tab_was_closed_while_a_folder_was_answered(
    visitor: Visitor, pictures: Path
) -> None:
    page = visitor.opens()
    chooses(page, pictures)
    page.locator("ol.stream li.row").nth(9).wait_for()
    before = shown(page)
    page.close()
    again = visitor.opens()
    kept = {json.loads(line)["path"] for line in exported(again, 0).splitlines()}
    assert len(before) >= 10
    assert set(before) <= kept
    again.keyboard.press("Escape")
    chooses(again, pictures)  # what was answered is not answered again
    finished(again)
    lines = [json.loads(line) for line in exported(again, 0).splitlines()]
    answered = [line for line in lines if line["decision"] != "refused"]
    assert len({line["path"] for line in answered}) == len(answered)
