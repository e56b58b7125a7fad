"""`limiar run` serves the page if limiar.toml says so."""

import contextlib
import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from pages import until
from ports import free_port
from services import Service


def page_of(service: Service) -> int:
    """The process of the page; 0 if there is none."""
    for pid in service.children():
        with contextlib.suppress(OSError):  # it has ended
            if b"page" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return 0


def served(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}/"


def test_the_service_serves_the_page_starts_it_again_and_ends_it(tmp_path: Path, project: Path, url: str) -> None:
    listen = re.sub(r"^http://(.*)/$", r"\1", url)
    with Service(tmp_path, project / "models" / "lung-nodule", more=f'[page]\nlisten = "{listen}"\n') as service:
        until(lambda: served(url))
        first = page_of(service)
        os.kill(first, signal.SIGKILL)
        until(lambda: page_of(service) not in (0, first) and served(url))
        assert "E-PAGE-ENDED" in service.log.read_text()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        assert not served(url)


def test_the_page_ends_with_a_service_that_is_killed(tmp_path: Path, project: Path, url: str) -> None:
    listen = re.sub(r"^http://(.*)/$", r"\1", url)
    with Service(tmp_path, project / "models" / "lung-nodule", more=f'[page]\nlisten = "{listen}"\n') as service:
        until(lambda: served(url))
        os.kill(service.pid, signal.SIGKILL)
        until(lambda: not served(url))


def test_on_the_network_it_needs_a_token_first(tmp_path: Path, project: Path) -> None:
    more = f'[page]\nlisten = "0.0.0.0:{free_port()}"\n'
    with Service(tmp_path, project / "models" / "lung-nodule", more=more) as service:
        until(lambda: "E-PAGE-TOKEN" in service.log.read_text())
