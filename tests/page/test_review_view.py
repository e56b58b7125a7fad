"""A person reviews answers, one after the other, and takes a review back."""

import html
import re
from pathlib import Path

import pytest

from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.writer import Store
from pages import KEY, made_answer, send


def review_of(state: Path, entry: int) -> tuple[str | None, str] | None:
    with Reader(state / "results.db") as reader:
        found = reader.entry(entry).review
        return (found.label, found.by) if found else None


def test_the_queue_shows_the_referred_image_and_after_its_review_the_next_one(client, state: Path) -> None:
    with client() as browser:
        assert b'href="/results/4"' in browser.get("/review").data
        fields = {"label": "pos", "by": "Ana <b>", "why": "", "next": "/review?done=4"}
        done = send(browser, "/results/4/review", fields, form="/review")
        assert (done.status_code, done.location) == (303, "/review?done=4")
        assert review_of(state, 4) == ("pos", "Ana <b>")
        page = browser.get(done.location).data
        assert b"Result 4 was reviewed as pos." in page
        assert b"No referred image waits." in page
        assert b"Ana <b>" not in page


def test_the_models_own_label_confirms_it(client, state: Path) -> None:
    with client() as browser:
        send(browser, "/results/4/review", {"label": "neg", "by": "Ana"})
    assert review_of(state, 4) == (None, "Ana")


def test_a_review_is_taken_back_and_stays_in_the_history(client, state: Path) -> None:
    with client() as browser:
        send(browser, "/results/4/review", {"label": "pos", "by": "Ana"})
        assert send(browser, "/results/4/undo", {"next": "/results/4"}).location == "/results/4"
        page = browser.get("/results/4").data
    assert review_of(state, 4) is None
    assert b"taken back by Ana" in page
    assert b"The review of result 4 was taken back." in page


def test_a_skipped_image_stays_in_the_queue(client, state: Path) -> None:
    with Store(state / "results.db", "run") as store:
        store.use(KEY, "bundle")
        store.add(b"3" * 32, b"/in/c.png", made_answer("pos", 0.7, "refer"), source="inbox")
    with client() as browser:
        assert b'href="/results/4"' in browser.get("/review").data
        assert b'href="/results/5"' in browser.get("/review?after=4").data
        assert b"some were skipped" in browser.get("/review?after=5").data
        assert b'href="/results/4"' in browser.get("/review").data


@pytest.mark.parametrize(
    ("entry", "fields", "status"),
    [
        (4, {"label": "pos", "by": " "}, 400),
        (4, {"label": "pos", "by": "n" * 201}, 400),
        (4, {"label": "pos", "by": "Ana", "why": "w" * 1001}, 400),
        (4, {"label": "cat", "by": "Ana"}, 409),
        (3, {"label": "pos", "by": "Ana"}, 404),
        (99, {"label": "pos", "by": "Ana"}, 404),
    ],
)
def test_a_review_that_makes_no_sense_is_refused(client, state: Path, entry: int, fields: dict[str, str], status: int) -> None:
    with client() as browser:
        assert send(browser, f"/results/{entry}/review", fields).status_code == status
    assert review_of(state, 4) is None


def test_after_a_review_the_form_leads_nowhere_else(client) -> None:
    with client() as browser:
        for elsewhere in ("//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"):
            done = send(browser, "/results/4/review", {"label": "pos", "by": "Ana", "next": elsewhere})
            assert done.location == "/"


def test_a_skipped_image_stays_skipped_after_the_next_review_and_its_undo(client, state: Path) -> None:
    with Store(state / "results.db", "run") as store:
        store.use(KEY, "bundle")
        for number in (5, 6):
            store.add(bytes([number]) * 32, b"/in/c.png", made_answer("pos", 0.7, "refer"), source="inbox")
    with client() as browser:
        page = browser.get("/review?after=4").data
        (target,) = set(re.findall(rb'name="next" value="(/review[?]done[^"]*)"', page))
        done = send(browser, "/results/5/review", {"label": "pos", "by": "Ana", "next": html.unescape(target.decode())})
        page = browser.get(done.location).data
        assert b'href="/results/6"' in page
        assert b'href="/results/4"' not in page
        undo = page[page.index(b'class="undo"') :]
        assert undo[: undo.index(b"</form>")].count(b'value="/review?after=4"') == 1


def test_a_form_that_is_sent_twice_says_one_thing(client, state: Path) -> None:
    with client() as browser:
        for by, label in (("Ana", "pos"), ("Bia", "neg"), ("Bia", "neg")):
            send(browser, "/results/4/review", {"label": label, "by": by})
        (review,) = re.findall(rb'name="review" value="(\d+)"', browser.get("/results/4").data)
        for _ in range(2):
            assert send(browser, "/results/4/undo", {"review": review.decode()}).status_code == 303
    assert review_of(state, 4) == ("pos", "Ana")
    with Reader(state / "results.db") as reader:
        assert [(one.by, one.undone_by) for one in reader.reviews(4)] == [("Ana", None), ("Bia", "Bia")]
