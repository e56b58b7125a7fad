"""The page on a shared network: what must be refused is refused, and the same request without its fault is answered."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from limiar.edge_app.page import guard
from limiar.edge_app.page.access import new_token
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.store.writer import Store
from pages import KEY, made_answer, made_state, serving
from wire import Browser, Headers, Said

SHOWN = (
    "/",
    "/live",
    "/results",
    "/results/1",
    "/results/new",
    "/results.csv",
    "/results.jsonl",
    "/review",
    "/health",
    "/bundle",
)
SHOWN += ("/status.json", "/pictures/1/thumb.png", "/bundle/roll-back", "/nothing")
REVIEW = {"label": "neg", "by": "Ana", "why": "seen"}
STORED = "/in/"  # in the path of every file


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_state(tmp_path_factory.mktemp("p13") / "state")


@pytest.fixture(scope="module")
def token(state: Path) -> str:
    return new_token(state)


@pytest.fixture(scope="module")
def url(state: Path, token: str) -> Iterator[str]:
    """A page that asks for its token."""
    with serving(state, "--token") as (_, url):
        yield url


@pytest.fixture(scope="module")
def person(url: str, token: str) -> Browser:
    """Who has given the token."""
    browser = Browser(url)
    assert browser.sign_in(token).status == 303
    return browser


@pytest.fixture
def reviews(state: Path) -> Callable[[], int]:
    """How many reviews are kept."""

    def count() -> int:
        with Reader(state / "results.db") as reader:
            return sum(len(reader.reviews(number)) for number in range(1, 5))

    return count


def review(person: Browser, changed: Headers | None = None, **fields: str) -> Said:
    """Sends a review with something changed."""
    body = urlencode({"csrf": person.csrf("/results/1"), **REVIEW, **fields})
    return Browser(person.url, dict(person.cookies)).ask("/results/1/review", "POST", body.encode(), changed)


def test_a_review_of_who_has_the_token_is_kept(person: Browser, reviews: Callable[[], int]) -> None:
    before = reviews()
    assert review(person, {"Origin": f"http://{person.host}", "Sec-Fetch-Site": "same-origin"}).status == 303
    assert reviews() == before + 1


OTHER_HOSTS = (
    *("evil.example", "evil.example:8460", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example#127.0.0.1"),
    *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.0.0.1/../evil.example", "127.0.0.1, evil.example", "[::1", ""),
)


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_is_refused(person: Browser, reviews: Callable[[], int], host: str) -> None:
    before = reviews()
    assert review(person, {"Host": host}).status == 421
    said = person.ask("/results", changed={"Host": host})
    assert (said.status, STORED in said.body.decode()) == (421, False)
    assert reviews() == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "192.168.1.20:8460", "[::1]:8460"])
def test_an_address_or_the_name_of_this_machine_is_answered(person: Browser, host: str) -> None:
    assert person.ask("/results", changed={"Host": host}).status == 200


def test_a_request_without_a_host_or_with_two_is_refused(person: Browser) -> None:
    cookie = f"Cookie: limiar={person.cookies['limiar']}"
    for hosts, status in (
        (f"Host: {person.host}\r\n", 200),
        ("", 421),
        (f"Host: {person.host}\r\nHost: evil.example\r\n", 421),
    ):
        assert person.send(f"GET /results HTTP/1.1\r\n{hosts}{cookie}\r\nConnection: close\r\n\r\n".encode()).status == status
    assert person.send(f"GET /results HTTP/1.0\r\n{cookie}\r\n\r\n".encode()).status == 421


def test_an_address_that_names_another_host_is_refused(person: Browser) -> None:
    assert person.ask(f"http://{person.host}/results").status == 200
    assert person.ask("http://evil.example/results").status == 421


@pytest.mark.parametrize("path", SHOWN)
def test_without_the_token_nothing_is_shown(url: str, person: Browser, path: str) -> None:
    said = Browser(url).ask(path)
    assert (said.status, said.place, STORED in said.body.decode()) == (303, "/login", False)
    assert Browser(url).ask(path, changed={"Accept": "application/json"}).status == 401
    assert person.ask(path).status != 303


@pytest.mark.parametrize("path", ["/login", "/static/page.css", "/static/nothing", "/healthz"])
def test_what_is_open_says_nothing_of_the_device(url: str, path: str) -> None:
    body = Browser(url).ask(path).body.decode()
    assert STORED not in body
    if path == "/healthz":
        assert body == "failed\n"


def test_a_form_that_is_refused_before_the_token_shows_nothing_of_the_device(url: str) -> None:
    said = Browser(url).ask("/login", "POST", b"token=x")
    assert said.status == 403
    assert b'href="/results"' not in said.body


def test_only_the_token_opens_the_page(url: str, token: str, tmp_path: Path) -> None:
    def asked(given: str) -> int:
        return Browser(url, address="127.0.0.3").ask("/results", changed={"Authorization": f"Bearer {given}"}).status

    other = new_token(tmp_path / "another")
    assert [asked(given) for given in (other, token[:-1], f"{token}x", "\xff")] == [401] * 4
    assert asked(token) == 200


def test_a_token_in_the_address_is_not_looked_at(url: str, token: str) -> None:
    for query in (f"?token={token}", f"?access_token={token}", f"?limiar={token}"):
        assert Browser(url).ask(f"/results{query}").status == 303


def test_who_guesses_must_wait_even_with_the_token_and_others_need_not(url: str, token: str) -> None:
    guesser, other = Browser(url, address="127.0.0.9"), Browser(url, address="127.0.0.10")
    for _ in range(5):
        assert guesser.sign_in("wrong").status in (403, 429)
    said = guesser.sign_in(token)
    assert said.status == 429
    assert 0 < int(said.headers["Retry-After"]) <= 900
    assert guesser.ask("/results", changed={"Authorization": f"Bearer {token}"}).status == 401
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Remote-Addr", "Remote-Addr"):  # it says to be another
        assert guesser.ask("/results", changed={"Authorization": f"Bearer {token}", name: "for=127.0.0.11"}).status == 401
    assert other.sign_in(token).status == 303


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.168.1.20", "192.168.1.20"),
        ("::ffff:192.168.1.20", "192.168.1.20"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_who_has_many_addresses_is_one_guesser(address: str, network: str) -> None:
    assert guard.network_of(address) == network


@pytest.mark.parametrize(
    "forge", [lambda cookie: "e30.aGk.forged", lambda cookie: cookie[:-2] + "AA", lambda _: ".", lambda _: ""]
)
def test_a_forged_session_is_none(person: Browser, forge: Callable[[str], str]) -> None:
    assert Browser(person.url, {"limiar": person.cookies["limiar"]}).ask("/results").status == 200
    assert Browser(person.url, {"limiar": forge(person.cookies["limiar"])}).ask("/results").status == 303


def test_a_session_of_another_state_folder_is_none(person: Browser, tmp_path: Path) -> None:
    state = made_state(tmp_path / "state")
    token = new_token(state)
    with serving(state, "--token") as (_, url):
        browser = Browser(url)
        assert browser.sign_in(token).status == 303
        assert Browser(person.url, browser.cookies).ask("/results").status == 303


def test_scripts_and_other_sites_do_not_get_the_session(url: str, token: str) -> None:
    cookie = Browser(url).sign_in(token).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


FROM_ELSEWHERE: list[Headers] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},  # another port of this machine
    {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json"},
    {"Content-Type": None},
    {"Cookie": None},
]


@pytest.mark.parametrize("changed", FROM_ELSEWHERE, ids=str)
def test_a_review_that_another_site_sends_is_refused(person: Browser, reviews: Callable[[], int], changed: Headers) -> None:
    before = reviews()
    assert review(person, changed).status in (401, 403)
    assert reviews() == before


def test_a_review_needs_the_hidden_field_of_its_session(
    person: Browser, url: str, token: str, reviews: Callable[[], int]
) -> None:
    before, other = reviews(), Browser(url)
    other.sign_in(token)
    for csrf in ("", "x", "\xff", other.csrf("/results/1")):
        assert review(person, csrf=csrf).status == 403
    assert reviews() == before


@pytest.mark.parametrize("path", ["/results/1/review", "/results/1/undo", "/bundle/install", "/logout", "/language"])
def test_a_change_is_made_by_post_alone(person: Browser, reviews: Callable[[], int], path: str) -> None:
    before, body = reviews(), urlencode({"csrf": person.csrf("/"), **REVIEW})
    for method in ("GET", "HEAD"):
        assert person.ask(f"{path}?{body}", method).status == 405
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "review"):
        assert person.ask(path, method, body.encode()).status in (400, 403, 405)
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert person.ask(f"{path}?_method=POST&{body}", changed={name: "POST"}).status == 405
    assert reviews() == before
    assert person.ask("/results").status == 200


@pytest.mark.parametrize("path", SHOWN)
def test_looking_changes_nothing(person: Browser, state: Path, path: str) -> None:
    def kept() -> tuple[bytes, list[str]]:
        names = {file.name for file in state.iterdir()} - {"results.db-shm", "results.db-wal"}  # a reader makes SQLite's two
        return (state / "results.db").read_bytes(), sorted(names)

    before = kept()
    for method in ("GET", "HEAD", "OPTIONS"):
        said = person.ask(path, method)
        assert said.status != 500
        assert method != "HEAD" or not said.body
    assert kept() == before


OUTSIDE = (
    *("/static/../access.py", "/static/..%2faccess.py", "/static/%2e%2e/access.py", "/static/%2e%2e%2faccess.py"),
    *("/static/..%5caccess.py", "/static//etc/passwd", "/static/%2fetc/passwd", "/static/page.css%00", "/static/%00"),
    *("/static/....//access.py", "/static/.%00./access.py", "/../../../etc/passwd", "/pictures/../page.json"),
    *("/pictures/1/..%2f..%2fpage.json", "/pictures/%2e%2e/page.json", "//etc/passwd", "/static/", "/static"),
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_page(person: Browser, path: str) -> None:
    assert person.ask("/static/page.css").status == 200
    said = person.ask(path)
    assert said.status in (400, 404), said.body


ELSEWHERE = (
    *(
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
    ),
    *(
        "/results\r\nSet-Cookie: limiar=x",
        "/\r\n//evil.example",
        " //evil.example",
        "http:evil.example",
        "/" + "a" * 5000,
        "?x",
    ),
)


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_form_leads_to_this_page_only(person: Browser, place: str) -> None:
    assert review(person, next="/results/1").place == "/results/1"
    said = review(person, next=place)
    assert (said.status, said.place) == (303, "/")
    assert said.headers.get_all("Set-Cookie", [])[1:] == []


def test_line_ends_in_what_is_sent_make_no_header(person: Browser) -> None:
    for fields in ({"code": "pt\r\nX-Made: 1"}, {"code": "pt", "next": "/%0d%0aX-Made:1"}):
        said = person.post("/language", "/", fields)
        assert said.headers.get("X-Made") is None
    said = person.ask("/results?decision=x%0d%0aX-Made:%201&since=%0d%0a")
    assert (said.status, said.headers.get("X-Made")) == (400, None)


@pytest.mark.parametrize("path", [*SHOWN, "/login", "/static/page.css", "/static/nothing", "/healthz", "/results?kind=x"])
def test_every_answer_can_neither_be_framed_nor_run_what_it_quotes(person: Browser, url: str, path: str) -> None:
    for said in (person.ask(path), Browser(url).ask(path), Browser(url).ask(path, "POST"), person.ask(path, "POST")):
        policy = dict(part.split(" ", 1) for part in said.headers["Content-Security-Policy"].split("; "))
        assert (policy["default-src"], policy["frame-ancestors"], policy["script-src"]) == ("'none'", "'none'", "'self'")
        assert (said.headers["X-Frame-Options"], said.headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
        assert "Access-Control-Allow-Origin" not in said.headers
        assert "Server" not in said.headers


def test_html_in_names_reviews_and_addresses_is_text(person: Browser) -> None:
    marks = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
    assert review(person, by=marks, why=marks).status == 303
    for path in ("/results", "/results/1", "/results/4", "/review", "/", "/live", "/results?source=" + "%3Cimg%20src=x%3E"):
        body = person.ask(path).body.decode()
        assert "<img src=x" not in body
        assert "<b onclick" not in body
    shown = person.ask("/results/1").body.decode()
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown  # the control: it is there
    assert "{{7*7}}" in shown
    assert "&lt;b onclick=" in person.ask("/results/4").body.decode()


def test_no_cell_of_the_spreadsheet_is_a_formula(person: Browser, state: Path) -> None:
    with Store(state / "results.db", "run") as store:
        store.use(KEY, "bundle")
        store.add(b"3" * 32, b"=cmd|' /C calc'!A0", made_answer(), source="+1")
    rows = person.ask("/results.csv").body.decode()
    assert "=cmd" in rows
    assert not re.search(r"(^|,)\"?[=+@\t\r-](?![0-9.]+(,|$))", rows, re.MULTILINE)


@pytest.mark.parametrize("number", [str(2**70), "9" * 5000, "-1", "1e3", "0x1", "1;drop", "%D9%A3"])
def test_a_number_that_is_no_result_is_not_found(person: Browser, number: str) -> None:
    for path in (f"/results/{number}", f"/pictures/{number}/thumb.png"):
        assert person.ask(path).status == 404
    assert person.ask(f"/results?before={number}").status == 400
    assert person.post(f"/results/{number}/undo", "/").status == 404


def test_without_its_check_each_fault_would_pass(state: Path) -> None:
    faults = (
        (guard._check_host, lambda browser: browser.get("/login", headers={"Host": "evil.example"}).status_code == 200),
        (guard._check_token, lambda browser: browser.get("/results").status_code == 200),
        (guard._check_change, lambda browser: browser.post("/language", headers={"Origin": "null"}).status_code == 303),
    )
    for check, passes in faults:
        with open_site(PageSettings(state=state, token=True)) as site:
            app = make_app(site)
            assert not passes(app.test_client())
            app.before_request_funcs[None].remove(check)
            assert passes(app.test_client())
