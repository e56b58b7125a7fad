"""The bundle view: what it shows, and that nothing but a signed bundle is installed through it."""

import contextlib
import os
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install.install import install
from limiar.edge_app.install.record import locked
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.page import installs, uploads
from limiar.edge_app.page.access import new_token
from limiar.edge_app.page.words.codes import CODES
from limiar.edge_app.service.status import read_status
from pages import CSRF, send, until
from services import Service
from updates import public_file, release

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = Keys((public_half(KEY),))


@pytest.fixture
def packed(tmp_path: Path, project: Path) -> Callable[..., Path]:
    """`packed(2, KEY)` is a file of release 2, signed; without a key, not signed."""
    reference = open_bundle(project / "models" / "lung-nodule")

    def made(counter: int, key: Ed25519PrivateKey | None = None) -> Path:
        folder = release(tmp_path / f"release-{counter}", reference, counter, key, small=True)
        write_archive(open_bundle(folder), tmp_path / f"release-{counter}.limiar")
        return tmp_path / f"release-{counter}.limiar"

    return made


@pytest.fixture
def installed(state: Path, packed: Callable[..., Path]) -> Path:
    """The state folder, with release 1 good, and the key that signed it kept."""
    install(state, packed(1, KEY), KEYS)
    slots = Slots(state)
    slots.start()
    slots.good()
    return state


def refusal(browser: FlaskClient, done) -> str:
    """The view after something was refused."""
    assert (done.status_code, done.location) == (303, "/bundle")
    page = browser.get("/bundle").text
    assert "Nothing was changed." in page
    assert "Nothing was changed." not in browser.get("/bundle").text  # it is said once
    return page


def upload(browser: FlaskClient, file: Path, name: str = "new.limiar"):
    """Sends the form."""
    with file.open("rb") as opened:
        return send(browser, "/bundle/install", {"file": (opened, name)}, "/bundle")


def counter(state: Path) -> int:
    """Of the bundle that is current."""
    current = Slots(state).status().current
    assert current
    return current.release_counter


def test_it_shows_the_card_the_gate_and_the_golden_images_of_the_bundle(client, state: Path, project: Path) -> None:
    install(state, project / "models" / "lung-nodule")
    with client() as browser:
        page = browser.get("/bundle").text
    for text in ("lung-nodule", "Research and education with CT patches", "72", "94.1%", "91.4% to 95.9%", "0.985"):
        assert text in page
    assert page.count('class="badge good">Passed<') == 8
    assert "<strong>nodule from non-nodule, not cancer from non-cancer</strong>" in page
    assert "(https://luna16.grand-challenge.org)" in page
    assert 'href="https:' not in page


def test_a_card_that_was_altered_is_not_shown(client, state: Path, project: Path) -> None:
    install(state, project / "models" / "lung-nodule")
    card = state / "bundles" / "a" / "MODEL_CARD.md"
    card.write_text(card.read_text().replace("Not for\ndiagnosis", "Good for\ndiagnosis"))
    with client() as browser:
        page = browser.get("/bundle").text
    assert "Good for" not in page
    assert "Model card" not in page
    assert "94.1%" in page  # the report is as it was


def test_a_signed_bundle_is_installed_and_on_trial(client, installed: Path, packed) -> None:
    with client() as browser:
        done = upload(browser, packed(2, KEY))
        assert (done.status_code, done.location) == (303, "/bundle")
        page = browser.get("/bundle").text
    assert "lung-nodule 0.2.0 is installed and on trial" in page
    assert counter(installed) == 2
    assert list(installed.glob("tmp*")) == []


@pytest.mark.parametrize(("key", "code"), [(None, "E-BUNDLE-SIGNATURE-MISSING"), (OTHER, "E-BUNDLE-SIGNATURE-WRONG")])
def test_a_bundle_without_a_trusted_signature_is_refused_and_nothing_changes(
    client, installed: Path, packed, key: Ed25519PrivateKey | None, code: str
) -> None:
    with client() as browser:
        refused = refusal(browser, upload(browser, packed(2, key), "<b>.limiar"))
    assert code in refused
    assert "&lt;b&gt;.limiar" in refused
    assert counter(installed) == 1


@pytest.mark.parametrize("noise", [bytes(1000), b"\n" * 200_000], ids=["short", "lines"])
def test_what_is_no_bundle_is_refused(client, installed: Path, tmp_path: Path, noise: bytes) -> None:
    (tmp_path / "noise").write_bytes(noise)
    with client() as browser:
        refused = refusal(browser, upload(browser, tmp_path / "noise"))
    assert "E-ARCHIVE-FORMAT" in refused


def test_without_a_key_nothing_is_installed_through_the_page(client, state: Path, packed) -> None:
    with client() as browser:
        assert 'type="file"' not in browser.get("/bundle").text
        refused = refusal(browser, upload(browser, packed(1, KEY)))
    assert "E-PAGE-KEY" in refused
    assert not (state / "bundles").exists()


def test_a_key_of_the_command_line_is_enough_for_the_first_one(client, state: Path, packed, tmp_path: Path) -> None:
    with client(keys=(public_file(tmp_path / "release.pub", KEY),)) as browser:
        assert "E-BUNDLE-SIGNATURE-WRONG" in refusal(browser, upload(browser, packed(1, OTHER)))
        assert upload(browser, packed(2, KEY)).status_code == 303
    assert counter(state) == 2


def test_going_back_asks_first_and_then_does(client, installed: Path, packed) -> None:
    install(installed, packed(2, KEY))
    with client() as browser:
        assert "/bundle/roll-back" in browser.get("/bundle").text
        assert "lung-nodule 0.1.0" in browser.get("/bundle/roll-back").text
        assert counter(installed) == 2
        done = send(browser, "/bundle/roll-back", {}, "/bundle/roll-back")
        assert (done.status_code, done.location) == (303, "/bundle")
        assert "lung-nodule 0.1.0 is current again" in browser.get("/bundle").text
    assert counter(installed) == 1


def test_with_nothing_to_go_back_to_it_says_so(client, installed: Path) -> None:
    with client() as browser:
        assert 'href="/bundle/roll-back"' not in browser.get("/bundle").text
        refused = refusal(browser, send(browser, "/bundle/roll-back", {}, "/bundle"))
    assert "E-UPDATE-BACK" in refused


def test_read_only_shows_no_form_and_takes_none(client, installed: Path, packed) -> None:
    with client(read_only=True) as browser:
        page = browser.get("/bundle").text
        assert "Release counter" in page
        assert 'type="file"' not in page
        assert "roll-back" not in page
        assert browser.get("/bundle/roll-back").status_code == 403
        with packed(2, KEY).open("rb") as file:
            data = {"csrf": CSRF.search(page.encode())[1].decode(), "file": (file, "a.limiar")}
            assert browser.post("/bundle/install", data=data).status_code == 403
    assert counter(installed) == 1


def test_the_page_loads_neither_cryptography_nor_numpy(installed: Path) -> None:
    code = """
import sys
from pathlib import Path
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
with open_site(PageSettings(state=Path(sys.argv[1]))) as site:
    browser = make_app(site).test_client()
    assert "Release counter" in browser.get("/bundle").text
print(sorted({"cryptography", "numpy", "PIL", "cv2", "ai_edge_litert"} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-P", "-c", code, installed]) == b"[]\n"


def sent(url: str, path: str, length: int, *headers: str, patience_s: float = 1.0) -> int:
    """The status of an answer to a POST whose body of `length` bytes is only announced; 0 if the page waits for the body."""
    host = url.split("/")[2]
    with socket.create_connection(host.rsplit(":", 1), timeout=5) as connection:
        lines = (f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {length}", *headers, "", "")
        connection.sendall("\r\n".join(lines).encode())
        connection.settimeout(patience_s)
        try:
            return int(connection.recv(4096).split()[1])
        except TimeoutError:
            return 0


def test_only_an_upload_may_be_large_and_only_of_who_is_signed_in(server, state: Path) -> None:
    token = new_token(state)
    with server("--token") as (_, url):
        session = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        csrf = CSRF.search(session.open(f"{url}login").read())[1].decode()
        session.open(f"{url}login", urllib.parse.urlencode({"csrf": csrf, "token": token}).encode())
        (jar,) = (one.cookiejar for one in session.handlers if isinstance(one, urllib.request.HTTPCookieProcessor))
        cookie = "Cookie: " + "; ".join(f"{one.name}={one.value}" for one in jar)
        large = 8 << 20
        assert sent(url, "/bundle/install", large, cookie) == 0  # it waits for the rest
        for path, length, *headers in (
            ("/bundle/install", large),
            ("/bundle/install", large, "Cookie: limiar=e30.forged"),
            ("/bundle/install", (512 << 20) + 1, cookie),
            ("/bundle/roll-back", large, cookie),
            ("/results/1/review", large, cookie),
        ):
            assert sent(url, path, length, *headers, patience_s=60.0) == 413


def test_at_most_two_are_received_at_once(server) -> None:
    with server() as (_, url), contextlib.ExitStack() as stack:
        host = url.split("/")[2]
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection(host.rsplit(":", 1), timeout=5))
            connection.sendall(f"POST /bundle/install HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n".encode())
        until(lambda: sent(url, "/bundle/install", 1_000_000) == 413)
        stack.close()
        until(lambda: sent(url, "/bundle/install", 1_000_000) == 0)


def test_what_was_received_is_gone_with_a_page_that_is_killed(server, state: Path) -> None:
    with server() as (process, url):
        host = url.split("/")[2]
        with socket.create_connection(host.rsplit(":", 1), timeout=5) as connection:
            connection.sendall(f"POST /bundle/install HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n\r\n".encode())
            connection.sendall(bytes(4_000_000))
            until(lambda: any(str(state) in target for target in open_files(process.pid)))
            before = sorted(path.name for path in state.iterdir())
            process.kill()
            process.wait()
        assert before == sorted(path.name for path in state.iterdir())
        assert not any(name.startswith("tmp") for name in before)


def open_files(pid: int) -> list[str]:
    """The files without a name that a process holds."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(link))
    return [target for target in found if target.endswith("(deleted)")]


def test_while_another_one_is_installed_it_is_refused(client, installed: Path, packed) -> None:
    with client() as browser, locked(installed / "bundles", "install.lock", 0.0):
        refused = refusal(browser, upload(browser, packed(2, KEY)))
    assert "E-UPDATE-BUSY" in refused
    assert counter(installed) == 1


def test_an_installation_that_takes_too_long_is_ended(client, installed: Path, packed, monkeypatch) -> None:
    monkeypatch.setattr(installs, "_LONGEST_S", 0.2)
    with client() as browser:
        refused = refusal(browser, upload(browser, packed(2, KEY)))
    assert "E-PAGE-INSTALL" in refused
    assert counter(installed) == 1


def test_without_space_nothing_can_be_chosen(client, installed: Path, monkeypatch) -> None:
    monkeypatch.setattr(uploads, "_FREE_BYTES", 1 << 60)
    with client() as browser:
        page = browser.get("/bundle").text
    assert 'type="file"' not in page
    assert CODES["E-UPDATE-SPACE"][0] in page


def test_a_running_service_answers_with_what_was_installed_and_then_with_the_one_before(
    installed: Path, packed, server, tmp_path: Path
) -> None:
    with Service(tmp_path, "current") as service, server() as (_, url):
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

        def answers(version: str) -> bool:
            with contextlib.suppress(LimiarError):
                bundle = read_status(service.state).bundle
                return bundle is not None and bundle.version == version and bool(bundle.file)
            return False

        until(lambda: answers("0.1.0"))
        csrf = CSRF.search(browser.open(f"{url}bundle").read())[1]
        name = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        body = (
            name % (b"csrf", b"", csrf) + name % (b"file", b'; filename="2.limiar"', packed(2, KEY).read_bytes()) + b"--x--\r\n"
        )
        sent = urllib.request.Request(f"{url}bundle/install", body, {"Content-Type": "multipart/form-data; boundary=x"})
        assert b"is installed and on trial" in browser.open(sent, timeout=60).read()
        until(lambda: answers("0.2.0"))
        browser.open(f"{url}bundle/roll-back", urllib.parse.urlencode({"csrf": csrf.decode()}).encode(), timeout=60)
        until(lambda: answers("0.1.0"))
