#!/usr/bin/env python3
"""How fast is the page with 100,000 results, what memory does it take, and does the service answer slower beside it?

    studies/bench_page.py [--results 100000] [--bundle models/lung-nodule] [--pairs 30] [--seconds 4] [--browsers 3]

The results are made up: files of two folders, frames of a camera, refusals, and one answer in twenty is reviewed. The figure of
a view is the slowest of its rounds; the filters are all that the filter bar links to, and some that fit nothing, for which
everything is read. Then a service answers as fast as it can, by turns with and without a page whose live view browsers poll as
live.js does, with its pictures: on a shared machine only the ratio within a pair is worth quoting.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import html
import http.client
import itertools
import multiprocessing
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple, Self

PROJECT = Path(__file__).resolve().parents[1]
sys.path.append(str(PROJECT / "tests" / "harness"))

from limiar.edge_app.answer import Answer, Timing  # noqa: E402
from limiar.edge_app.store.writer import Agreement, BundleKey, Kept, Refusal, Store  # noqa: E402
from page_browsers import page  # noqa: E402
from running import REAL  # noqa: E402
from services import Service, noise  # noqa: E402
from soak import AHEAD, Table, copies, field  # noqa: E402

FIRST_S = 1.0  # limits
FILTER_S = 0.3
SLOWEST_SHARE = 0.95  # of the service's rate, beside a page
PAGE_MB = 60.0
ROUNDS = 5
UNCHANGED = 100  # polls
POLL_S = 0.5  # as live.js: after a strip of nothing but new answers, twice as long
REVIEWED = 1 / 20
KEPT = 5000  # answered images, for the page's pictures
SETTLE_S = 0.5
KEY = BundleKey("ab" * 32, name="made", version="1.0.0", file="tflite_int8", runtime="litert", labels=("nodule", "no_nodule"))
VIEWS = ("/", "/results?before=1000", "/results/1", "/review", "/health", "/bundle")
NOTHING = ("decision=none", "label=none", "source=none&reviewed=yes", "since=2999-01-01", "decision=none&reviewed=no")
FILTERS = ("decision=refer&reviewed=no", "decision=refused", "kind=refusal", "label=nodule&from=0&to=0.55", *NOTHING)
_FILTER = re.compile(r'href="/results\?([^"]+)"')
_PICTURE = re.compile(r'<img\b[^>]*? src="(/pictures/[^"]*)"')
_MARK = re.compile(r'data-mark="([^"]*)"')


class Got(NamedTuple):
    """An answer of the page."""

    status: int
    text: str
    seconds: float


class Browser:
    """A connection to the page, which keeps the pictures that it has."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=30)
        self._pictures: set[str] = set()
        self._mark = ""

    def get(self, path: str, mark: str = "") -> Got:
        """Whole."""
        began_s = time.monotonic()
        self._connection.request("GET", path, headers={"If-None-Match": f'"{mark}"'})
        answer = self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        return Got(answer.status, text, time.monotonic() - began_s)

    def poll(self) -> bool:
        """The live view, with the pictures in it that it does not have yet; whether all were new."""
        got = self.get("/live?after=0", self._mark)
        if found := _MARK.search(got.text):
            self._mark = found[1]
        shown = set(map(html.unescape, _PICTURE.findall(got.text)))
        new = shown - self._pictures
        self._pictures |= new
        for picture in new:
            self.get(picture)
        return bool(new) and new == shown


def fill(state: Path, count: int) -> None:
    """Makes a store with so many results, over a year."""
    chance = random.Random(0)  # noqa: S311  # no secret
    state.mkdir()
    with Store(state / "results.db", "run") as store:
        store.use(KEY, "bundle")
        for number in range(count):
            label, sure = chance.choice(KEY.labels), chance.uniform(0.5, 1)
            shares = {name: sure if name == label else 1 - sure for name in KEY.labels}
            day = time.gmtime(1_764_000_000 + 365 * 86_400 * number / count)
            taken = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", day)
            answer = Answer(label if sure > 0.6 else "refer", label, sure, shares, Timing(1, 1, 1), taken, "limiar 0")
            path = b"/srv/limiar/inbox/image-%06d.png" % number
            kind = chance.random()
            if kind < 0.6:
                store.add(chance.randbytes(32), path, answer, source=chance.choice(("inbox", "ward")))
            elif kind < 0.98:
                picture = Kept(f"bench/{number:06d}.png", chance.randbytes(32))
                store.add_frame("bench", "boot", number, 0, answer, Agreement(5, 5, 0.1), picture)
            else:
                identity, sha256 = chance.randbytes(16), chance.randbytes(32)
                store.refuse(Refusal("inbox", path, identity, sha256, "E-IMAGE-EMPTY", "the file is empty", 0))
            if kind < 0.98 and chance.random() < REVIEWED:
                store.review(store.sequence, None, "Ana", "")


def memory_mb(pid: int, name: str) -> float:
    """VmRSS: now; VmHWM: at most."""
    return 1.024e-3 * field(Path(f"/proc/{pid}"), "status", name)


def processor_s(pid: int) -> float:
    """Of a process, and of those that its threads started."""
    children = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    family = [pid, *(int(child) for listed in children for child in listed.read_text().split())]
    stats = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in family)
    return sum(int(words[11]) + int(words[12]) for words in stats) / os.sysconf("SC_CLK_TCK")


def look(state: Path, log: Path, table: Table) -> None:
    """Each view and filter, and what the process takes then."""
    began_s = time.monotonic()
    with page(state, REAL, log) as (process, address):
        table.row("page started", time.monotonic() - began_s, "s")
        browser = Browser(address)
        table.row("first view", browser.get("/").seconds, "s", FIRST_S)
        filters = dict.fromkeys([*map(html.unescape, _FILTER.findall(browser.get("/results").text)), *FILTERS])
        for path in (*VIEWS, "/results", *(f"/results?{one}" for one in filters)):
            got = [browser.get(path) for _ in range(ROUNDS)]
            assert {one.status for one in got} == {200}, path
            table.row(path, max(one.seconds for one in got), "s", FILTER_S)
        found = _MARK.search(browser.get("/").text)
        assert found
        polls = [browser.get("/live?after=0", found[1]) for _ in range(UNCHANGED)]
        assert {one.status for one in polls} == {304}
        table.row("poll of a live view that is as it was", 1000 * statistics.median(one.seconds for one in polls), "ms")
        table.row("memory", memory_mb(process.pid, "VmRSS"), "MB", PAGE_MB)
        for path in ("/results.csv", "/results.jsonl"):
            got = [browser.get(path) for _ in range(2)]
            table.row(f"{path}, {len(got[0].text) / 1e6:.0f} MB", statistics.median(one.seconds for one in got), "s")
        table.row("memory at most, exports too", memory_mb(process.pid, "VmHWM"), "MB", PAGE_MB)


class Looking:
    """Browsers that look at a page, or a page that stands still as if there were none. Use as a context manager.

    They are a process of their own, which gets what time is left: a browser takes none of a device's.
    """

    def __init__(self, pid: int, address: tuple[str, int], browsers: int) -> None:
        self._pid = pid
        apart = multiprocessing.get_context("spawn")
        self._on, self._over, self._polls = apart.Event(), apart.Event(), apart.Value("q")
        about = (address, browsers, self._on, self._over, self._polls)
        self._process = apart.Process(target=look_on, args=about, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.turn(True)
        self._process.join()

    def turn(self, on: bool) -> None:
        """Starts or stops all looking."""
        (self._on.set if on else self._on.clear)()
        os.kill(self._pid, signal.SIGCONT if on else signal.SIGSTOP)

    @property
    def polls(self) -> int:
        """Of all browsers so far."""
        return int(self._polls.value)


def look_on(address: tuple[str, int], browsers: int, on: Event, over: Event, polls: "Synchronized[int]") -> None:
    """Polls the live view while `on` is set."""
    os.nice(19)

    def look() -> None:
        browser = Browser(address)
        busy = False
        while not over.wait(2 * POLL_S if busy else POLL_S):
            if on.wait(0.1):
                busy = browser.poll()
                with polls.get_lock():
                    polls.value += 1

    threads = [threading.Thread(target=look) for _ in range(browsers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answered(service: Service) -> int:
    """How many it has answered so far: without counting them, which would take its time."""
    return int(str(next(iter(service.rows("SELECT seq FROM sqlite_sequence WHERE name = 'results'")), (0,))[0]))


def feed(service: Service, over: threading.Event) -> None:
    """Always leaves it some images; throws away what it answered."""
    new = enumerate(copies(noise(200)))
    fed, first = 0, answered(service)
    while not over.wait(0.05):
        for number, data in itertools.islice(new, max(0, answered(service) - first + AHEAD - fed)):
            service.put(f"{number:07d}.png", data)
            (service.inbox / "done" / f"{number - KEPT:07d}.png").unlink(missing_ok=True)
            fed += 1


def rate(service: Service, seconds: float) -> float:
    """Answers a second."""
    began, began_s = answered(service), time.monotonic()
    time.sleep(seconds)
    return (answered(service) - began) / (time.monotonic() - began_s)


def compare(service: Service, asked: argparse.Namespace, table: Table) -> None:
    """Its rate by turns with and without a page that is looked at."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    polls, used_s = 0, 0.0
    with (
        page(service.state, REAL, asked.folder / "beside.log") as (process, address),
        Looking(process.pid, address, asked.browsers) as looking,
    ):
        looking.turn(True)
        rate(service, 2 * asked.seconds)  # warm
        for pair in range(asked.pairs):
            for on in (True, False) if pair % 2 else (False, True):
                looking.turn(on)
                time.sleep(SETTLE_S)
                before, before_s = looking.polls, processor_s(process.pid)
                rates[on].append(rate(service, asked.seconds))
                polls += looking.polls - before
                used_s += processor_s(process.pid) - before_s
    ratios = [beside / alone for beside, alone in zip(rates[True], rates[False], strict=True)]
    half = statistics.quantiles(ratios, n=4)
    table.row("rate without a page", statistics.median(rates[False]), "a second")
    seconds = asked.pairs * asked.seconds
    table.row("polls", polls / seconds, "a second")
    table.row("the page and its pictures", 100 * used_s / seconds, "% of a core")
    table.row("share of it beside a page, quartile", half[0], "")
    table.row("share of it beside a page, quartile", half[2], "")
    table.row("slower beside a page, median", 1 - half[1], "", 1 - SLOWEST_SHARE)


def beside(asked: argparse.Namespace, table: Table) -> None:
    """A service that answers as fast as it can."""
    over = threading.Event()
    with Service(asked.folder / "service", asked.bundle.resolve()) as service:
        service.wait(service.db.exists)
        feeding = threading.Thread(target=feed, args=(service, over))
        feeding.start()
        try:
            compare(service, asked, table)
        finally:
            over.set()
            feeding.join()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=int, default=100_000)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--pairs", type=int, default=30, help="2 at least; 0: only the first part")
    options.add_argument("--seconds", type=float, default=4.0, help="of each half of a pair")
    options.add_argument("--browsers", type=int, default=3)
    asked = options.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        asked.folder = Path(folder)
        fill(asked.folder / "state", asked.results)
        look(asked.folder / "state", asked.folder / "page.log", table)
        if asked.pairs:
            beside(asked, table)
    print(f"beyond their limits: {', '.join(table.beyond)}" if table.beyond else "nothing is beyond its limit")
    return 1 if table.beyond else 0


if __name__ == "__main__":
    sys.exit(main())
