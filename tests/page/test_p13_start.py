"""What the page is safe by from its start: its token, its secrets, its names, and whether it may change anything."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from limiar.edge_app.page.access import new_token
from limiar.edge_app.store.reader import Reader
from pages import serving
from wire import Browser

REVIEW = {"label": "neg", "by": "Ana", "why": "seen"}


def test_a_new_token_ends_sessions_and_the_old_token(state: Path) -> None:
    old = new_token(state)
    with serving(state, "--token") as (_, url):
        before = Browser(url)
        assert before.sign_in(old).status == 303
        assert before.ask("/results").status == 200
        new = new_token(state)
        assert before.ask("/results").status == 303
        assert Browser(url).sign_in(old).status == 403
        assert Browser(url).sign_in(new).status == 303


def test_a_page_whose_secrets_are_damaged_shows_nothing_and_makes_no_sessions(state: Path) -> None:
    file, token = state / "page.json", new_token(state)
    kept = file.read_bytes()
    with serving(state, "--token") as (process, url):
        person = Browser(url)
        assert person.sign_in(token).status == 303
        for damage in (b"", b"{", b'{"secret":""}', b"\xff" * 5000, None):
            file.unlink()
            if damage is not None:
                file.write_bytes(damage)
            for said in (person.ask("/results"), Browser(url).ask("/login"), Browser(url).ask("/login", "POST", b"token=")):
                assert (said.status, b"/in/" in said.body, b"Traceback" in said.body) == (503, False, False)
            file.write_bytes(kept)
            assert person.ask("/results").status == 200
        process.terminate()
        assert process.stderr
        assert process.stderr.read() == b""  # nobody fills the log with it


def test_a_page_that_is_read_only_changes_nothing(state: Path) -> None:
    with serving(state, "--read-only") as (_, url):
        browser = Browser(url)
        for path in ("/results/1/review", "/results/1/undo", "/bundle/install", "/bundle/roll-back"):
            assert browser.post(path, "/", REVIEW).status == 403
        assert browser.post("/language", "/", {"code": "pt"}).status == 303
    with Reader(state / "results.db") as reader:
        assert reader.reviews(1) == []


def test_the_token_is_in_no_log_and_no_argument(state: Path) -> None:
    token = new_token(state)
    with serving(state, "--token") as (process, url):
        browser = Browser(url)
        browser.sign_in(token)
        browser.ask("/results", changed={"Authorization": f"Bearer {token}"})
        browser.ask(f"/results?kind={token}")
        assert token.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.terminate()
        assert process.stderr
        assert token.encode() not in process.stderr.read()
    for file in state.iterdir():
        assert token.encode() not in file.read_bytes()
    assert (state / "page.json").stat().st_mode & 0o077 == 0


def test_on_the_network_there_is_no_page_without_a_token(state: Path) -> None:
    with pytest.raises(AssertionError, match="E-PAGE-TOKEN"), serving(state, "--listen", "0.0.0.0:0"):
        pass
    new_token(state)
    with serving(state, "--listen", "0.0.0.0:0") as (_, url):
        assert Browser(url).ask("/results").status == 303


def test_a_further_name_must_have_been_given(client: Callable[..., AbstractContextManager[FlaskClient]]) -> None:
    for hosts, status in (((), 421), (("Device.Example",), 200)):
        with client(hosts=hosts) as browser:
            assert browser.get("/results", headers={"Host": "device.example:8460"}).status_code == status
