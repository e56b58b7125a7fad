"""Browsers for tests of the page: Debian's Chromium, driven by Playwright, and axe-core, which looks for barriers.

axe-core comes through npm, once, into a cache; its version and its hash are here alone.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from needed import Missing

AXE = "axe-core@4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limiar" / "axe"
_PATIENCE_MS = 120_000  # a busy machine is no failure of the page
_NAVIGATED = "net::ERR_ABORTED"  # of a request that a new page, or a download, ended
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE_RUN = """async tags => {
    const asked = {runOnly: tags, rules: {"target-size": {enabled: true}}, resultTypes: ["violations"]};
    const found = (await axe.run(document, asked)).violations;
    return found.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 200)}: ${node.failureSummary}`));
}"""
_WIDER = "() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"

Code = Literal["en", "pt"]


class Person:
    """Someone who looks at the page: a tab of a browser, and whatever went wrong in it."""

    def __init__(self, page: Page, url: str, axe: str) -> None:
        self.page, self.url, self._axe = page, url, axe
        self.faults: list[str] = []
        self.refusals: list[tuple[int, str]] = []  # answers of 400 or more: status and path
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def goes(self, path: str) -> None:
        """Opens a view."""
        self.page.goto(self.url + path.lstrip("/"))

    def barriers(self) -> list[str]:
        """What breaks WCAG 2.2 A or AA as the page stands, as far as a program sees it."""
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(self._axe)
        found: list[str] = self.page.evaluate(_AXE_RUN, list(TAGS))
        wider = self.page.evaluate(_WIDER)
        return found + ([f"it is {wider} px wider than the window"] if wider > 0 else [])

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")  # also what the content security policy stopped

    def _asked(self, request: Request) -> None:
        address = request.url.removeprefix("blob:")  # what a page made itself belongs to its own origin
        if urlsplit(address)[:2] != urlsplit(self.url)[:2] and not address.startswith("data:"):
            self.faults.append(f"request to another origin: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != _NAVIGATED:
            self.faults.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.refusals.append((response.status, urlsplit(response.url).path))


class Browsers:
    """Use as a context manager. Raises Missing where Chromium or axe-core cannot be had."""

    def __init__(self, *flags: str) -> None:
        """flags: for Chromium, besides the usual ones."""
        self._flags = (*_FLAGS, *flags)

    def __enter__(self) -> Self:
        found = shutil.which("chromium")
        if not found:
            raise Missing("chromium is not installed")
        self._axe = axe()
        expect.set_options(timeout=_PATIENCE_MS)
        self._playwright = sync_playwright().start()
        try:
            self._chromium: Browser = self._playwright.chromium.launch(
                executable_path=found, args=list(self._flags), timeout=_PATIENCE_MS
            )
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._chromium.close()
        finally:
            self._playwright.stop()

    @contextmanager
    def person(
        self, url: str, language: Code = "en", *, width: int = 1280, height: int = 900, dark: bool = False, **more: Any
    ) -> Iterator[Person]:
        """A person with a fresh browser; width, height: of the window, px; more: as Playwright's new_context."""
        context = self._chromium.new_context(
            locale={"en": "en-GB", "pt": "pt-BR"}[language],
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **more,
        )
        context.set_default_timeout(_PATIENCE_MS)
        try:
            yield Person(context.new_page(), url, self._axe)
        finally:
            context.close()


def axe() -> str:
    """axe-core's source. Raises Missing if npm is not here, or did not bring what AXE_SHA512 says."""
    kept = CACHE / f"{AXE}.tgz"
    if not kept.exists():
        _fetch(kept)
    data = kept.read_bytes()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != AXE_SHA512:
        kept.unlink()
        raise Missing(f"what npm brought is not {AXE}: its sha512 differs")
    with tarfile.open(kept) as packed:
        source = packed.extractfile("package/axe.min.js")
        assert source
        return source.read().decode()


def _fetch(kept: Path) -> None:
    if not shutil.which("npm"):
        raise Missing("npm is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as partial:
        command = ["npm", "pack", AXE, "--silent", "--pack-destination", partial]
        done = subprocess.run(command, cwd=partial, capture_output=True, text=True, timeout=300)
        packed = sorted(Path(partial).glob("*.tgz"))
        if done.returncode or not packed:
            raise Missing(f"npm pack {AXE}: {done.stderr.strip()[-200:]}")
        packed[0].rename(kept)
