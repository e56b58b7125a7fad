"""The stream of results, its filters, each result, and the exports."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from limiar.edge_app.store.writer import Store
from pages import KEY, made_answer


def shown(page: bytes) -> list[int]:
    return [entry for entry in range(1, 200) if re.search(rb'href="/results/%d["?]' % entry, page)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2, 3, 4]),
        ("decision=refer", [4]),
        ("decision=refused", [3]),
        ("source=bench", [2]),
        ("kind=file", [1, 4]),
        ("label=neg", [2, 4]),
        ("reviewed=no&decision=pos", [1]),
        ("from=0.5&to=0.8", [4]),
        ("since=2026-01-02", [3]),
        ("before=3", [1, 2]),
        ("decision=cat", []),
    ],
)
def test_a_filter_is_a_link_and_shows_what_fits(client, query: str, found: list[int]) -> None:
    with client() as browser:
        page = browser.get(f"/results?{query}").data
    assert shown(page) == found
    assert (b"No result fits these filters." in page) == (not found)


@pytest.mark.parametrize(
    "query", ["kind=x", "reviewed=x", "from=x", "to=nan", "to=2", "since=yesterday", "before=-1", "before=x"]
)
def test_a_filter_that_means_nothing_is_refused(client, query: str) -> None:
    with client() as browser:
        for path in ("/results", "/results.csv", "/results/4"):
            if path == "/results" or "before" not in query:
                assert browser.get(f"{path}?{query}").status_code == 400


def test_many_results_come_in_pages(client, state: Path) -> None:
    with Store(state / "results.db", "run") as store:
        store.use(KEY, "bundle")
        for number in range(60):
            store.add(number.to_bytes(32, "big"), b"/in/x.png", made_answer(), source="inbox")
    with client() as browser:
        first = browser.get("/results").data
        assert shown(first) == list(range(15, 65))
        assert b"64 results" in first
        assert b'href="/results?before=15"' in first
        assert shown(browser.get("/results?before=15").data) == list(range(1, 15))


def test_html_in_a_file_name_is_text(client) -> None:
    with client() as browser:
        for path in ("/results", "/results/4", "/review"):
            page = browser.get(path).data
            assert b"<b onclick" not in page
            assert b"&lt;b onclick=" in page


def test_a_result_says_what_was_answered_and_what_ran(client) -> None:
    with client() as browser:
        page = browser.get("/results/1").data.decode()
    for text in ("97.0%", "pos", "/in/a.png", "tiny 1.0.0", "ab" * 32, "tflite_int8", "litert 2.3.0", "limiar 0"):
        assert text in page, text
    assert 'href="/results/2"' in page  # its neighbour
    assert 'rel="next"' not in page


def test_a_frame_says_how_many_agreed_and_a_refusal_why(client) -> None:
    with client() as browser:
        assert b"4 of 5 frames agree" in browser.get("/results/2").data
        page = browser.get("/results/3").data
    assert b"E-IMAGE-EMPTY" in page
    assert b"/results/3/review" not in page


@pytest.mark.parametrize("number", ["5", "0", str(2**70), "-1", "x"])
def test_a_result_that_is_not_there_is_not_found(client, number: str) -> None:
    with client() as browser:
        assert browser.get(f"/results/{number}").status_code == 404


def test_new_results_are_counted_as_the_filters_say(client) -> None:
    with client() as browser:
        assert browser.get("/results/new?after=1").data == b"3"
        assert browser.get("/results/new?after=1&decision=refer").data == b"1"


def test_exports_hold_what_the_filters_show(client) -> None:
    with client() as browser:
        lines = [json.loads(line) for line in browser.get("/results.jsonl?label=neg").data.splitlines()]
        table = browser.get("/results.csv?label=neg")
    assert [line["id"] for line in lines] == [2, 4]
    assert [row["id"] for row in csv.DictReader(io.StringIO(table.text))] == ["2", "4"]
    assert table.headers["Content-Disposition"] == 'attachment; filename="limiar-results.csv"'


def test_a_long_export_is_read_in_blocks_and_leaves_nothing_out(client, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limiar.edge_app.page.views.export._AT_ONCE", 3)
    with client() as browser:
        assert [json.loads(line)["id"] for line in browser.get("/results.jsonl").data.splitlines()] == [1, 2, 3, 4]
