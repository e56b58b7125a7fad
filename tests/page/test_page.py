"""What holds for every view of the page."""

import re
import signal
import string
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from limiar.edge_app.page import language
from limiar.edge_app.page.access import new_token
from limiar.edge_app.page.language import WORDS
from pages import send, serving

VIEWS = ("/", "/results", "/review", "/health", "/bundle")


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize("code", language.CODES)
def test_every_view_is_there_in_every_language(client, path: str, code: str) -> None:
    with client() as browser:
        found = browser.get(path, headers={"Accept-Language": code})
    assert found.status_code == 200
    assert f'<html lang="{code}">'.encode() in found.data
    assert WORDS["use.always"][language.CODES.index(code)].encode() in found.data


@pytest.mark.parametrize("path", VIEWS)
def test_without_a_store_every_view_says_so_and_is_no_failure(client, state: Path, path: str) -> None:
    (state / "results.db").unlink()
    with client() as browser:
        assert browser.get(path).status_code == 200


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_say_it_and_fill_in_the_same_values(key: str) -> None:
    english, portuguese = WORDS[key]
    assert english.strip()
    assert portuguese.strip()
    names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, portuguese)]
    assert names[0] == names[1]


def test_all_words_are_used(project: Path) -> None:
    folder = project / "edge_app" / "page"
    sources = [path for path in folder.rglob("*") if path.suffix in (".py", ".html") and path.parent.name != "words"]
    code = "".join(path.read_text() for path in sources)
    built = re.findall(r'"([a-z][a-z0-9.-]*\.)" ~|f"([a-z][a-z0-9.-]*\.)\{', code)  # t("nav." ~ name), f"decision.{name}"
    starts = tuple(one or other for one, other in built)
    named = {key: {key, re.sub(r"[.](one|other)$", "", key)} for key in WORDS if not key.startswith(starts)}
    unused = [key for key, names in named.items() if not any(f'"{name}"' in code for name in names)]
    assert unused == []


def test_numbers_and_dates_are_written_as_in_the_language() -> None:
    english, portuguese = language.language("en"), language.language("pt")
    assert (english.number(1234.5, 1), portuguese.number(1234.5, 1)) == ("1,234.5", "1.234,5")
    assert (english.percent(0.973), portuguese.percent(0.973)) == ("97.3%", "97,3%")
    assert (english.percent(0.99999), english.percent(1.0), english.percent(0.0), english.percent(0.0001)) == (
        "> 99.9%",
        "100.0%",
        "0.0%",
        "< 0.1%",
    )
    assert (english.counted("unit.hour", 0), portuguese.counted("unit.hour", 0)) == ("0 hours", "0 horas")


def test_the_language_is_chosen_by_a_form_and_stays(client) -> None:
    with client() as browser:
        done = send(browser, "/language", {"code": "pt", "next": "/health"})
        assert (done.status_code, done.location) == (303, "/health")
        assert b'<html lang="pt">' in browser.get("/", headers={"Accept-Language": "en"}).data


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_serves_it_and_ends_with_a_signal(server, number: signal.Signals, status: int) -> None:
    with server() as (process, url):
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert process.wait(20) == status
        assert process.stderr.read() == b""


def test_healthz_says_that_no_service_runs_and_nothing_else(server) -> None:
    with server() as (_, url):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{url}healthz")
        assert (error.value.code, error.value.read()) == (503, b"failed\n")


def test_without_flask_the_command_says_how_to_install_it(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['flask'] = None; from limiar.edge_app.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", hidden, "page", "--state", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "E-INSTALL-MISSING: limiar page needs flask, which is not installed: pip install 'limiar[web]'\n"


@pytest.mark.parametrize("listen", ["8460", "0.0.0.0", "example.org:80", "127.0.0.1:99999", "[::1", "127.0.0.1:-1"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "page", "--listen", listen, "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("E-PAGE-LISTEN: ")
    assert done.stderr.count("\n") == 1


def test_on_the_network_without_tls_it_says_that_others_can_read_along(state: Path) -> None:
    new_token(state)
    with serving(state, "--listen", "0.0.0.0:0") as (process, _):
        assert b"whoever is on the network can read along" in process.stderr.readline()
