"""The live view: each source with its last answer."""

import time
from pathlib import Path

import pytest

from limiar.edge_app.health.status import ClockStatus, SourceStatus, Status
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.cards import Card, cards
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.latest import latest
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.page.statuses import Known, Statuses
from limiar.edge_app.store.reader import Filter, Reader
from limiar.edge_app.store.writer import Refusal, Store
from pages import KEY, made_answer, until
from services import Service, noise


def known(*sources: SourceStatus, running: bool = True, silent_s: float | None = None) -> Known:
    status = Status(running=running, app="limiar 0", clock=ClockStatus(trusted=True, why=""), sources=sources)
    return Known(status, time.monotonic(), None if silent_s is None else time.monotonic() - silent_s)


def shown(state: Path, device: Known) -> dict[str | None, Card]:
    with Reader(state / "results.db") as reader:
        found = latest(reader, [(one.name, one.last_entry) for one in device.status.sources], 12)
    return {card.name: card for card in cards(device, found.by_source)}


def add(state: Path, image: bytes, decision: str = "pos", source: str = "inbox") -> None:
    with Store(state / "results.db", "again") as store:
        store.use(KEY, "bundle")
        store.add(image, b"/in/new.png", made_answer(decision), source=source)


def test_each_source_is_shown_with_its_last_answer(client) -> None:
    with client() as browser:
        page = browser.get("/").data
    inbox, bench = page.index(b"<h2>inbox</h2>"), page.index(b"<h2>bench</h2>")
    assert b"Referred to a person" in page[inbox:]
    assert b"4 of 5 frames agree" in page[bench:inbox]
    assert page.count(b'class="card source') == 2


def test_a_browser_that_has_the_last_state_is_told_that_nothing_changed(client, state: Path) -> None:
    with client() as browser:
        first = browser.get("/live")
        mark = first.headers["ETag"]
        assert browser.get("/live", headers={"If-None-Match": mark}).status_code == 304
        in_portuguese = {"If-None-Match": mark, "Accept-Language": "pt"}
        assert browser.get("/live", headers=in_portuguese).status_code == 200
        add(state, b"9" * 32)
        second = browser.get("/live?after=4", headers={"If-None-Match": mark})
    assert second.status_code == 200
    assert b'data-sequence="5"' in second.data
    assert second.data.count(b'source stopped new"') == 1


def test_the_mark_of_the_page_is_that_of_its_polls(client) -> None:
    with client() as browser:
        mark = browser.get("/live").get_etag()[0]
        assert f'data-mark="{mark}"'.encode() in browser.get("/").data


def test_a_review_is_news_too(client, state: Path) -> None:
    with client() as browser:
        mark = browser.get("/live").headers["ETag"]
        with Store(state / "results.db", "again") as store:
            store.review(4, "pos", "Ana", "a nodule")
        found = browser.get("/live", headers={"If-None-Match": mark})
    assert b"Ana says pos" in found.data


@pytest.mark.parametrize("after", ["", "-1", "x", "1" * 30, "\u0661"])
def test_an_id_that_is_none_is_refused(client, after: str) -> None:
    with client() as browser:
        assert browser.get("/live", query_string={"after": after}).status_code == 400


def test_html_in_a_name_is_text(client, state: Path) -> None:
    name = '<b onclick="x">&\''
    with Store(state / "results.db", "again") as store:
        store.use(KEY, "bundle")
        store.refuse(Refusal(name, b"/in/c.png", b"other", None, "E-NEW", "<i>what</i>", 0))
    with client() as browser:
        page = browser.get("/").data
    assert b"<b onclick" not in page
    assert b"<i>what" not in page
    assert b"&lt;i&gt;what&lt;/i&gt;" in page


def test_without_a_store_it_says_that_nothing_was_answered_and_goes_on_asking(client, state: Path) -> None:
    (state / "results.db").unlink()
    with client() as browser:
        page = browser.get("/").data
        assert b"No folder and no camera has answered yet." in page
        assert b"live.js" in page
        assert browser.get("/live").status_code == 200


def test_only_a_source_that_works_is_current(state: Path) -> None:
    working, failed = (
        SourceStatus(name="inbox", kind="folder", state="ok"),
        SourceStatus(name="bench", kind="camera", state="failed"),
    )
    assert {name: card.current for name, card in shown(state, known(working, failed)).items()} == {
        "inbox": True,
        "bench": False,
    }
    assert {card.state for card in shown(state, known(running=False)).values()} == {"stopped"}
    assert {card.state for card in shown(state, known(silent_s=3.0)).values()} == {"silent"}
    assert {card.state for card in shown(state, known(working)).values()} == {"ok", "unwatched"}


def test_how_long_the_service_is_silent_is_told_anew(client, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = []
    with client() as browser:
        for silent_s in (14.0, 15.0, 32.0):
            monkeypatch.setattr(Statuses, "now", lambda _, silent_s=silent_s: known(silent_s=silent_s))
            found = browser.get("/live")
            marks.append(found.headers["ETag"])
    assert marks[0] == marks[1] != marks[2]
    assert b"The service has not answered for 32 seconds." in found.data
    assert b"Service does not answer" in found.data


def test_a_slow_source_is_found_below_many_answers_of_others(state: Path) -> None:
    with Store(state / "results.db", "again") as store:
        store.use(KEY, "bundle")
        for number in range(1100):
            store.add(number.to_bytes(32), b"/in/many.png", made_answer(), source="inbox")
    bench = SourceStatus(name="bench", kind="camera", state="ok", last_entry=2)
    found = shown(state, known(bench))
    assert found["bench"].entry
    assert found["bench"].entry.id == 2


def test_an_answer_that_was_deleted_meanwhile_is_none(state: Path) -> None:
    gone = SourceStatus(name="gone", kind="camera", state="ok", last_entry=99)
    assert shown(state, known(gone))["gone"].entry is None


def test_the_age_is_by_the_clock_of_the_service_where_it_knows_it(state: Path) -> None:
    bench = SourceStatus(name="bench", kind="camera", state="ok", last_entry=2, last_age_s=7.0)
    found = shown(state, known(bench))
    assert 7.0 <= (found["bench"].age_s or 0) < 60
    inbox = found["inbox"]  # of 2026-01-01, by the device's clock
    assert (inbox.age_s or 0) > 60
    with Reader(state / "results.db") as reader:
        assert reader.count(Filter()) == 4


def test_a_new_image_of_a_running_service_appears(tmp_path: Path, project: Path) -> None:
    with Service(tmp_path, project / "models" / "lung-nodule") as service:
        service.wait(service.db.exists)
        with open_site(PageSettings(state=service.state)) as site:
            browser = make_app(site).test_client()
            until(lambda: b'<span class="state ok">' in browser.get("/live").data)
            mark = browser.get("/live").headers["ETag"]
            service.put("new.png", noise(1)[0])
            until(lambda: b"data-say" in browser.get("/live", headers={"If-None-Match": mark}).data)
            page = browser.get("/live?after=0").data
            assert b'class="card source ok new"' in page
            service.kill()
            until(lambda: b"Service stopped" in browser.get("/live").data)
            assert b"Not current." in browser.get("/live").data
