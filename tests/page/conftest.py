"""What the tests of the page share: a store with a few answers, the app with a client, and the real command."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from browsers import Browsers, Missing, Person
from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.store.writer import Agreement, Refusal, Store
from page_device import PageDevice
from pages import KEY, made_answer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose store has: 1 a file, 2 a frame, 3 a refusal, 4 a referred file with HTML in its name."""
    folder = tmp_path / "state"
    folder.mkdir()
    with Store(folder / "results.db", "run") as store:
        store.use(KEY, "bundle")
        store.add(b"1" * 32, b"/in/a.png", made_answer(), source="inbox")
        store.add_frame("bench", "boot", 7, 0, made_answer("neg"), Agreement(5, 4, 0.25))
        store.refuse(Refusal("inbox", b"/in/b.png", b"identity", None, "E-IMAGE-EMPTY", "/in/b.png is empty", 0))
        store.add(b"2" * 32, b'/in/<b onclick="x">&amp;.png', made_answer("neg", 0.6, "refer"), source="inbox")
    return folder


Client = Callable[..., AbstractContextManager[FlaskClient]]


@pytest.fixture
def client(state: Path) -> Client:
    """`with client(read_only=True) as browser:` a client of the page, without a server; the settings are PageSettings'."""

    @contextmanager
    def opened(**settings: object) -> Iterator[FlaskClient]:
        with open_site(PageSettings(state=state, **settings)) as site:
            app = make_app(site)
            yield app.test_client()

    return opened


Server = Callable[..., AbstractContextManager[tuple["subprocess.Popen[bytes]", str]]]


@pytest.fixture
def server(state: Path) -> Server:
    """`with server("--read-only") as (process, url):` the real command on a free port."""

    @contextmanager
    def started(*words: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
        command = [sys.executable, "-P", "-m", "limiar", "page", "--listen", "127.0.0.1:0", "--state", str(state), *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
            try:
                assert process.stderr
                line = process.stderr.readline().decode()
                found = re.search(r"https?://\S+", line)
                assert found, line + process.stderr.read().decode()
                yield process, found[0]
            finally:
                process.kill()

    return started


@pytest.fixture(scope="module")
def browsers() -> Iterator[Browsers]:
    """Chromium. Of a module: while Playwright runs, nothing else in this process can use asyncio."""
    try:
        entered = Browsers().__enter__()
    except Missing as missing:
        if "1" in (os.environ.get("LIMIAR_REQUIRE_ROOT_TESTS"), os.environ.get("LIMIAR_REQUIRE_DATA")):
            pytest.fail(f"needs a browser: {missing}")
        pytest.skip(f"needs a browser: {missing}")
    yield entered
    entered.__exit__(None, None, None)


People = Callable[..., AbstractContextManager[Person]]


@pytest.fixture
def people(browsers: Browsers) -> People:
    """`with people(url, "pt", width=390) as person:` as Browsers.person; nothing may go wrong in their browser meanwhile.

    refused: statuses of 400 and more that the page may answer with.
    """

    @contextmanager
    def arrived(*words: object, refused: tuple[int, ...] = (), **more: object) -> Iterator[Person]:
        with browsers.person(*words, **more) as person:
            yield person
        assert person.faults == []
        assert [one for one in person.refusals if one[0] not in refused] == []

    return arrived


@pytest.fixture(scope="module")
def device(browsers: Browsers, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageDevice]:
    """A running service with its page; its browsers come first, as without them nothing here is tested."""
    with PageDevice(tmp_path_factory.mktemp("device"), project / "models" / "lung-nodule") as running:
        running.ready()
        yield running
