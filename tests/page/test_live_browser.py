"""The live view in a real browser: what it does by itself."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import expect

from limiar.edge_app.page.access import new_token
from limiar.edge_app.store.writer import Store
from pages import KEY, made_answer

TIMEOUT_MS = 60_000  # for what takes seconds by itself


def add(state: Path, image: bytes, label: str) -> None:
    with Store(state / "results.db", "again") as store:
        store.use(KEY, "bundle")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        store.add(image, b"/in/new.png", made_answer(label, time=now), source="inbox")


def card(page, name: str):
    return page.locator(f'.source[data-name="{name}"]')


def test_a_new_answer_appears_and_the_focus_stays_where_it_was(people, server, state: Path) -> None:
    with server() as (_, url), people(url) as person:
        person.goes("/")
        other = card(person.page, "bench").get_by_role("link")
        other.focus()
        add(state, b"9" * 32, "pos")
        expect(card(person.page, "inbox")).to_contain_text("97.0%")
        expect(other).to_be_focused()
        expect(person.page.locator("#said")).to_contain_text("inbox: pos")


def test_ages_count_up(people, server, state: Path) -> None:
    add(state, b"9" * 32, "pos")
    with server() as (_, url), people(url, "pt") as person:
        person.goes("/")
        age = card(person.page, "inbox").locator(".age")
        first = age.text_content()
        expect(age).not_to_have_text(first or "")
        expect(age).to_contain_text("segundo")


def test_paused_it_stays_as_it_is_until_it_goes_on(people, server, state: Path) -> None:
    with server() as (_, url), people(url) as person:
        person.goes("/")
        pause = person.page.get_by_role("button", name="Pause updates")
        pause.click()
        expect(pause).to_have_attribute("aria-pressed", "true")
        add(state, b"9" * 32, "pos")
        person.page.wait_for_timeout(1500)
        expect(card(person.page, "inbox")).to_contain_text("Referred to a person")
        person.page.keyboard.press("Tab")  # away from the button; letters work from anywhere but a field
        person.page.keyboard.press("p")
        expect(card(person.page, "inbox")).to_contain_text("97.0%")


def test_a_page_that_is_gone_says_so_and_takes_it_back(browsers, server) -> None:
    with server() as (process, url), browsers.person(url) as person:
        person.goes("/")
        lost = person.page.get_by_text("The page has not been reachable since")
        expect(lost).to_be_hidden()
        process.kill()
        process.wait()
        expect(lost).to_be_visible(timeout=TIMEOUT_MS)
        port = url.rstrip("/").rpartition(":")[2]
        with server("--listen", f"127.0.0.1:{port}"):
            expect(lost).to_be_hidden(timeout=TIMEOUT_MS)


def test_a_new_token_leads_to_the_place_where_it_is_given(browsers, server, state: Path) -> None:
    token = new_token(state)
    with server("--token") as (_, url), browsers.person(url) as person:
        person.goes("/")
        person.page.get_by_label("Token").fill(token)
        person.page.get_by_role("button", name="Sign in").click()
        expect(card(person.page, "inbox")).to_be_visible()
        new_token(state)
        expect(person.page.get_by_label("Token")).to_be_visible(timeout=TIMEOUT_MS)


@pytest.mark.parametrize("width", [320, 1920])
def test_stale_sources_have_no_barrier(people, server, width: int) -> None:
    with server("--read-only") as (_, url), people(url, "pt", width=width) as person:
        person.goes("/")
        expect(card(person.page, "bench")).to_contain_text("Serviço parado")
        assert person.barriers() == []
