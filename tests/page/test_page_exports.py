"""An export of everything takes neither memory nor disk, however slowly it is read."""

import os
import socket
import time
from pathlib import Path

import pytest

from limiar.edge_app.store.writer import Store
from page_browsers import page
from pages import KEY, made_answer
from services import REAL

LONG = b"/" + b"x" * 4000  # a path, so that few answers make a large export
ANSWERS = 6000  # 24 MB: more than sockets and waitress's own bound take
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


def on_disk(pid: int, folder: Path) -> bool:
    """Whether a process has a file in a folder that has no name there."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return any(link.startswith(str(folder)) and link.endswith(" (deleted)") for link in links)


@pytest.mark.parametrize(("script", "kept"), [(REAL, False), (UNBOUNDED + REAL, True)], ids=["page", "control"])
def test_an_export_that_nobody_reads_is_made_no_further(large: Path, tmp_path: Path, script: str, kept: bool) -> None:
    with page(large, script, tmp_path / "log") as (process, address), socket.create_connection(address) as browser:
        browser.sendall(b"GET /results.jsonl HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert browser.recv(15) == b"HTTP/1.1 200 OK"
        end = time.monotonic() + (10.0 if kept else 1.5)
        while not on_disk(process.pid, large) and time.monotonic() < end:
            time.sleep(0.02)
        found = on_disk(process.pid, large)
        process.kill()
    assert found is kept
