"""The page needs no network: it works where there is none but this machine's own, and calls nobody."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsers import Browsers
from limiar.edge_app.store.reader import Reader
from needed import Missing
from privileges import need_root

# Switches loopback on (netdevice(7): SIOCSIFFLAGS, IFF_UP), which a new network namespace has switched off; then the command.
INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def alone(state: Path, tmp_path: Path) -> Iterator[tuple[int, str, Path]]:
    """The page without a network: a process in its namespace, the page's address, and a log of who calls whom."""
    need_root("unshare", "strace", "nsenter", "chromium", "npm")
    trace = tmp_path / "calls"
    page = [sys.executable, "-P", "-m", "limiar", "page", "--listen", "127.0.0.1:0", "--state", str(state)]
    strace = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
    command = ["unshare", "--net", sys.executable, "-c", INSIDE, *strace, *page]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = re.search(r"http://\S+", process.stderr.readline())
            assert found
            yield process.pid, found[0], trace
        finally:
            process.terminate()
            process.wait(20)


def test_a_browser_beside_it_reads_and_reviews_also_without_javascript(
    alone: tuple[int, str, Path], state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, url, trace = alone
    browser = tmp_path / "bin" / "chromium"  # Debian's, in the page's namespace
    browser.parent.mkdir()
    browser.write_text(f'#!/bin/sh\nPATH="${{PATH#*:}}"\nexec nsenter --net=/proc/{pid}/ns/net chromium "$@"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(browser.parent), prepend=":")
    try:
        entered = Browsers().__enter__()
    except Missing as missing:
        pytest.fail(f"needs a browser: {missing}")
    try:
        with entered.person(url) as person:
            for path in ("/", "/results", "/results/1", "/health", "/bundle"):
                person.goes(path)
                assert person.page.locator("h1").count() == 1
            assert person.faults == []
        with entered.person(url, width=390, java_script_enabled=False) as person:
            person.goes("/review")
            person.page.fill("[name=by]", "Ana")
            person.page.click("button[value=pos]")
            assert "4" in person.page.locator(".done").inner_text()
            assert person.faults == []
    finally:
        entered.__exit__(None, None, None)
    with Reader(state / "results.db") as reader:
        assert [(one.label, one.by) for one in reader.reviews(4)] == [("pos", "Ana")]
    assert "AF_UNIX" in trace.read_text()  # it asked for a service
    assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []
