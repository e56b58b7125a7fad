#!/usr/bin/env python3
"""Has browsers look at `limiar page` for an hour of simulated time, as fast as it answers: does its process grow?

    tests/harness/page_browsers.py [BUNDLE] [--browsers 20] [--seconds 3600] [--results 1500] [--seed 0] [--control]

A service answers images meanwhile. Each simulated second a browser polls the live view, and now and then it follows a link at
random, loads all that the page names, or sends a form: reviews are kept and taken back. Some hang up before the answer has
come. What grows in the process (memory, descriptors, threads, children) is read from /proc; all thumbnails of the first results
fill its cache before, and the first quarter of the time the others.
The defaults are what a release runs; tests/page/test_page_browsers.py has a smaller one.
--control: the same with a page that does not close the store after a request, which must be found.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import contextlib
import html
import http.client
import itertools
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from running import REAL
from services import Service, noise
from soak import Table, copies, field

LEAKS = """
from limiar.edge_app.page import here
from flask import g
kept = []
here.close_reader = lambda error=None: kept.append(g.pop("reader", None))
"""

PROJECT = Path(__file__).resolve().parents[2]
VIEW = 1 / 15  # of its seconds in which a browser opens another page
FORM = 1 / 3  # of these, one sends a form, if the page has one
HANGS_UP = 1 / 100  # of all requests
FILES_A_SECOND = 2  # given to the service, of real time
WARM = 1 / 4  # of the time before growth is measured
SAMPLES = 60
END_S = 30.0  # for connections to be closed at the end
RSS_MB = 60.0  # limits: of the page's process
SLOPE_MB = 0.5  # in 10,000 requests,
ENOUGH = 20_000  # if there were so many: before that, caches fill
_LINK = re.compile(r'<a\b[^>]*? href="(/[^"]*)"')
_PART = re.compile(r'<(?:img|script)\b[^>]*? src="(/[^"]*)"|<link\b[^>]*? href="(/[^"]*)"')
_FORM = re.compile(r'<form method="post" action="(/results/\d+/(?:review|undo))".*?</form>', re.DOTALL)
_HIDDEN = re.compile(r'name="(csrf|next)" value="([^"]*)"')
_LABEL = re.compile(r'<button name="label" value="([^"]*)"')
_OLDER = re.compile(r'<a class="button" href="(/results[^"]*)" rel="next"')
_MARK = re.compile(r'data-mark="([^"]*)"')


class Sample(NamedTuple):
    """The page's process at one moment."""

    requests: int
    rss_mb: float
    descriptors: int
    threads: int
    children: int
    children_mb: float


class Counts:
    """What all browsers met."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds = 0  # simulated, of all browsers
        self.took_s = 0.0
        self.failed: list[str] = []

    @property
    def requests(self) -> int:
        return self.statuses.total()


class Browser:
    """One browser: a connection, cookies, a cache."""

    def __init__(self, address: tuple[str, int], counts: Counts, seed: int) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=60)
        self._counts, self._chance = counts, random.Random(seed)
        self._cookies: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._page, self._mark = "", ""

    @property
    def older(self) -> str | None:
        """The address of older results than those of its page."""
        found = _OLDER.search(self._page)
        return html.unescape(found[1]) if found else None

    def live(self, seconds: int) -> None:
        """So many simulated seconds."""
        self.open("/")
        for _ in range(seconds):
            self.poll()
            if self._chance.random() < VIEW:
                self.go_on()
            self._counts.seconds += 1
        self._connection.close()

    def poll(self) -> None:
        """What the live view asks."""
        status, text = self.get("/live?after=0", {"If-None-Match": f'"{self._mark}"'})
        if status == 200 and (found := _MARK.search(text)):
            self._mark = found[1]

    def go_on(self) -> None:
        """Sends a form of the page, or follows a link."""
        forms = list(_FORM.finditer(self._page))
        if forms and self._chance.random() < FORM:
            self.send(self._chance.choice(forms))
            return
        links = [html.unescape(link) for link in _LINK.findall(self._page)]
        self.open(self._chance.choice(links or ["/"]))

    def open(self, address: str) -> None:
        """A page and all that it names."""
        status, text = self.get(address)
        if status != 200 or "<main" not in text:  # an export, or a page that is not there
            return
        self._page = text
        for part in dict.fromkeys(image or style for image, style in _PART.findall(text)):
            address = html.unescape(part)
            self.get(address, {"If-None-Match": self._tags[address]} if address in self._tags else {})

    def send(self, form: re.Match[str]) -> None:
        fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(form[0])}
        if labels := _LABEL.findall(form[0]):
            fields |= {
                "label": html.unescape(self._chance.choice(labels)),
                "by": "Ana",
                "why": self._chance.choice(["", "seen"]),
            }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._ask("POST", form[1], headers, urllib.parse.urlencode(fields).encode())
        self.open("/review" if labels else "/results")

    def get(self, address: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        return self._ask("GET", address, headers or {}, None)

    def _ask(self, method: str, address: str, headers: dict[str, str], body: bytes | None) -> tuple[int, str]:
        """Status and text; 0 if this browser has hung up."""
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        for again in (True, False):
            try:
                self._connection.request(method, address, body, headers)
                if self._chance.random() < HANGS_UP:
                    self._connection.close()
                    return 0, ""
                answer = self._connection.getresponse()
                data = answer.read()
                break
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if not again:  # a connection that was closed while idle is opened again
                    self._counts.failed.append(f"{method} {address}: {error!r}")
                    return 0, ""
        self._counts.statuses[answer.status] += 1
        if answer.status >= 500 and answer.status != http.HTTPStatus.SERVICE_UNAVAILABLE:  # a busy machine is no failure
            self._counts.failed.append(f"{method} {address}: {answer.status}")
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        if tag := answer.headers.get("ETag"):
            self._tags[address] = tag
        return answer.status, data.decode(errors="replace")


def sample(pid: int, requests: int) -> Sample:
    process = Path(f"/proc/{pid}")
    children = 0, 0.0
    for task in (process / "task").iterdir():  # each child is listed by the thread that started it
        started = ""
        with contextlib.suppress(OSError):  # the thread has ended
            started = (task / "children").read_text()
        for child in started.split():
            with contextlib.suppress(OSError, StopIteration):  # it has ended
                children = children[0] + 1, children[1] + field(Path(f"/proc/{child}"), "status", "VmRSS") / 1000
    rss_mb = 1.024e-3 * field(process, "status", "VmRSS")
    return Sample(requests, rss_mb, len(os.listdir(process / "fd")), field(process, "status", "Threads"), *children)


def slope(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    """Growth in 10,000 requests: the median slope between two samples (Theil and Sen)."""
    pairs = [(a, b) for a, b in itertools.combinations(samples, 2) if b.requests - a.requests > samples[-1].requests / 5]
    return statistics.median((of(b) - of(a)) / (b.requests - a.requests) for a, b in pairs) * 10_000 if pairs else 0.0


@contextlib.contextmanager
def page(state: Path, script: str, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", tuple[str, int]]]:
    """`limiar page` and where it is."""
    command = [sys.executable, "-P", "-c", script, "page", "--listen", "127.0.0.1:0", "--state", str(state)]
    with log.open("wb") as told, subprocess.Popen(command, stderr=told) as process:
        try:
            end = time.monotonic() + 30
            while not (found := re.search(r"http://([\d.]+):(\d+)/", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield process, (found[1], int(found[2]))
        finally:
            process.terminate()


def feed(service: Service, over: threading.Event, seed: int) -> None:
    """Gives the service images, of which it never has too many."""
    for number, data in enumerate(copies(noise(50, seed))):
        if over.wait(1 / FILES_A_SECOND):
            return
        service.put(f"{number:06d}.png", data)


def look(address: tuple[str, int], pid: int, asked: argparse.Namespace) -> tuple[list[Sample], Counts]:
    """All browsers at once; samples over the time, the first one and the last one without a browser."""
    counts = Counts()
    first = Browser(address, counts, asked.seed)
    for where in (
        "/",
        "/results",
        "/results/1",
        "/review",
        "/health",
        "/bundle",
    ):  # its processes for pictures and maps run then
        first.open(where)
    first.open("/results")
    for _ in range(asked.results // 25):  # 50 are on a page, and sometimes it hangs up
        first.open(first.older or "/results")
    first.live(1)
    time.sleep(1.0)
    samples = [sample(pid, counts.requests)]
    browsers = [Browser(address, counts, asked.seed + 1 + number) for number in range(asked.browsers)]
    threads = [threading.Thread(target=browser.live, args=(asked.seconds,), daemon=True) for browser in browsers]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    whole = asked.browsers * asked.seconds
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        if counts.seconds >= whole * len(samples) / SAMPLES:
            samples.append(sample(pid, counts.requests))
    counts.took_s = time.monotonic() - began_s
    end = time.monotonic() + (1.0 if asked.control else END_S)
    samples.append(sample(pid, counts.requests))
    while samples[-1].descriptors > samples[0].descriptors and time.monotonic() < end:
        time.sleep(0.5)
        samples[-1] = sample(pid, counts.requests)
    return samples, counts


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path, nargs="?", default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--browsers", type=int, default=20)
    options.add_argument("--seconds", type=int, default=3600, help="of each browser, simulated")
    options.add_argument("--results", type=int, default=1500, help="before the first browser")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--control", action="store_true")
    asked = options.parse_args()
    table, over = Table(), threading.Event()
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder), asked.bundle.resolve()) as service:
        for number, data in enumerate(noise(asked.results, asked.seed + 1)):
            service.put(f"first_{number:04d}.png", data)
        service.wait(lambda: len(service.rows("SELECT 1 FROM entries")) >= asked.results, 300)
        threading.Thread(target=feed, args=(service, over, asked.seed), daemon=True).start()
        with page(service.state, (LEAKS if asked.control else "") + REAL, Path(folder) / "page.log") as (process, address):
            samples, counts = look(address, process.pid, asked)
        over.set()
        log = (Path(folder) / "page.log").read_text()
    before, after, grown = samples[0], samples[-1], samples[int(len(samples) * WARM) :]
    print("answers:", ", ".join(f"{count} of {status}" for status, count in sorted(counts.statuses.items())))
    table.row("requests", counts.requests, "")
    table.row("rate", counts.requests / counts.took_s, "a second")
    table.row("memory, largest", max(one.rss_mb for one in samples), "MB", RSS_MB)
    limit = SLOPE_MB if counts.requests >= ENOUGH else None
    table.row("memory grows", slope(grown, lambda one: one.rss_mb), "MB in 10,000", limit)
    table.row("memory of its children, largest", max(one.children_mb for one in samples), "MB")
    table.row("descriptors, more than before", after.descriptors - before.descriptors, "", 0)
    table.row("threads, more than before", after.threads - before.threads, "", 0)
    table.row("children, more than before", after.children - before.children, "", 0)
    table.row("requests that failed", len(counts.failed), "", 0)
    if asked.control:
        return 0 if "descriptors, more than before" in table.beyond else 1
    print(*counts.failed[:10], log if counts.failed or "Traceback" in log else "", sep="\n", end="")
    print(f"beyond their limits: {', '.join(table.beyond)}" if table.beyond else "nothing is beyond its limit")
    return 1 if table.beyond or "Traceback" in log else 0


if __name__ == "__main__":
    sys.exit(main())
