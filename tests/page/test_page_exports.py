"""An export of everything takes neither memory, nor disk, nor the page from others, however slowly it is read."""

import http.client
import os
import socket
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from limiar.edge_app.store.writer import Store
from page_browsers import page
from pages import KEY, made_answer, until
from running import REAL

LONG = b"/" + b"x" * 4000  # a path, so that few answers make a large export
ANSWERS = 6000  # 24 MB: more than sockets and waitress's own bound take
UNLIMITED = "import threading; from limiar.edge_app.page.views import export; export._free = threading.Semaphore(9); "
UNBOUNDED = "from limiar.edge_app.page import serve; serve._BUFFERED = 16 << 20; "


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder."""
    folder = tmp_path_factory.mktemp("large")
    with Store(folder / "results.db", "run") as store:
        store.use(KEY, "bundle")
        for number in range(ANSWERS):
            store.add(b"%032d" % number, LONG, made_answer(), source="inbox")
    return folder


def begun(browser: socket.socket) -> bool:
    """Whether it gets an export, of which it reads no more than the beginning."""
    browser.sendall(b"GET /results.jsonl HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return browser.recv(15, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"


def status(address: tuple[str, int], path: str, timeout_s: float = 10.0) -> int:
    """Of an answer that is read whole. Raises TimeoutError."""
    with closing(http.client.HTTPConnection(*address, timeout=timeout_s)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def on_disk(pid: int, folder: Path) -> bool:
    """Whether a process has a file in a folder that has no name there."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            links.append(os.readlink(link))
    return any(link.startswith(str(folder)) and link.endswith(" (deleted)") for link in links)


@pytest.mark.parametrize(("script", "kept"), [(REAL, False), (UNBOUNDED + REAL, True)], ids=["page", "control"])
def test_an_export_that_nobody_reads_is_made_no_further(large: Path, tmp_path: Path, script: str, kept: bool) -> None:
    with page(large, script, tmp_path / "log") as (process, address), socket.create_connection(address) as browser:
        assert begun(browser)
        end = time.monotonic() + (60.0 if kept else 1.5)
        while not on_disk(process.pid, large) and time.monotonic() < end:
            time.sleep(0.02)
        found = on_disk(process.pid, large)
        process.kill()
    assert found is kept


@pytest.mark.parametrize(("script", "answers"), [(REAL, True), (UNLIMITED + REAL, False)], ids=["page", "control"])
def test_exports_that_nobody_reads_leave_threads_for_everyone_else(
    large: Path, tmp_path: Path, script: str, answers: bool
) -> None:
    with page(large, script, tmp_path / "log") as (process, address), ExitStack() as browsers:
        opened = [browsers.enter_context(socket.create_connection(address)) for _ in range(4)]
        assert [begun(browser) for browser in opened] == [True, True, answers is False, answers is False]
        try:
            assert status(address, "/results?before=1", 10.0 if answers else 1.5) == 200
            assert answers
        except TimeoutError:
            assert not answers
        for browser in opened:
            browser.close()
        if answers:
            until(lambda: status(address, "/results.csv") == 200)
        process.kill()
