"""What the tests of the page share: a store with a few answers, the app with a client, and the real command."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient

from limiar.edge_app.page.app import make_app
from limiar.edge_app.page.here import open_site
from limiar.edge_app.page.settings import PageSettings
from pages import Serving, made_state, serving

if TYPE_CHECKING:  # a device has no Playwright, and no desktop packages
    from browsers import Browsers, Person
    from page_device import PageDevice


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose store has: 1 a file, 2 a frame, 3 a refusal, 4 a referred file with HTML in its name."""
    return made_state(tmp_path / "state")


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


Server = Callable[..., Serving]


@pytest.fixture
def server(state: Path) -> Server:
    """`with server("--read-only") as (process, url):` the real command on a free port."""

    return partial(serving, state)


@pytest.fixture(scope="module")
def browsers() -> Iterator["Browsers"]:
    """Chromium. Of a module: while Playwright runs, nothing else in this process can use asyncio."""
    from browsers import Browsers
    from needed import needed

    with needed(Browsers()) as entered:
        yield entered


People = Callable[..., AbstractContextManager["Person"]]


@pytest.fixture
def people(browsers: "Browsers") -> People:
    """`with people(url, "pt", width=390) as person:` as Browsers.person; nothing may go wrong in their browser meanwhile.

    refused: statuses of 400 and more that the page may answer with.
    """

    @contextmanager
    def arrived(*words: object, refused: tuple[int, ...] = (), **more: object) -> Iterator["Person"]:
        with browsers.person(*words, **more) as person:
            yield person
        assert person.faults == []
        assert [one for one in person.refusals if one[0] not in refused] == []

    return arrived


@pytest.fixture(scope="module")
def device(browsers: "Browsers", project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["PageDevice"]:
    """A running service with its page; its browsers come first, as without them nothing here is tested."""
    from page_device import PageDevice

    with PageDevice(tmp_path_factory.mktemp("device"), project / "models" / "lung-nodule") as running:
        running.ready()
        yield running
