"""What the tests of the phone page share: Chromium, and the page's modules in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phone_modules import PHONE, Modules, served

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers


@pytest.fixture(scope="module")
def browser_flags() -> tuple[str, ...]:
    """What Chromium is started with besides the usual; a module of tests may have a fixture of its own."""
    return ()


@pytest.fixture(scope="module")
def browsers(browser_flags: tuple[str, ...]) -> Iterator["Browsers"]:
    """Chromium. Of a module: while Playwright runs, nothing else in this process can use asyncio."""
    from browsers import Browsers
    from needed import needed

    with needed(Browsers(*browser_flags)) as entered:
        yield entered


@pytest.fixture(scope="module")
def modules(browsers: "Browsers") -> Iterator[Modules]:
    """`modules.call("/image/index.js", "decode", data, name, None, codecs)`: bytes go and come as Uint8Array."""
    with served(("/web/", PHONE / "web"), ("/vendor/", PHONE / "vendor")) as url, browsers.person(url) as person:
        yield Modules(person.page, url)
        assert person.faults == []


@pytest.fixture(scope="session")
def page_folder(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference bundle's page as a folder. A test that changes it copies it first."""
    from limiar.edge_app.phone.phone import phone

    out = tmp_path_factory.mktemp("phone") / "page"
    phone(project / "models" / "lung-nodule", out)
    return out


@pytest.fixture(scope="session")
def page_file(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference bundle's page as one file."""
    from limiar.edge_app.phone.phone import phone

    out = tmp_path_factory.mktemp("phone") / "page.html"
    phone(project / "models" / "lung-nodule", out)
    return out
