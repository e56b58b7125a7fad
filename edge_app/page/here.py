"""What a view needs of the request at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app, g, request, session
from msgspec import Struct

from limiar.edge_app.page.access import Access
from limiar.edge_app.page.history import History
from limiar.edge_app.page.language import CODES, Code, Language, language
from limiar.edge_app.page.phone_pages import PhonePages
from limiar.edge_app.page.pictures import Pictures
from limiar.edge_app.page.settings import PageSettings
from limiar.edge_app.page.statuses import Known, Statuses
from limiar.edge_app.store.reader import Entry, Reader
from limiar.edge_app.store.state import DATABASE

_EXTENSION = "limiar"
LANGUAGE_COOKIE = "limiar_language"


class Site(Struct, frozen=True):
    """What all requests share."""

    settings: PageSettings
    access: Access
    statuses: Statuses
    pictures: Pictures
    history: History
    phones: PhonePages


@contextmanager
def open_site(settings: PageSettings) -> Iterator[Site]:
    """What runs beside the requests ends with it. Raises LimiarError E-PAGE-ACCESS."""
    with (
        History(settings.state) as history,
        Statuses(settings.state, history.sample) as statuses,
        Pictures(settings.state, settings.moved_to) as pictures,
    ):
        yield Site(settings, Access(settings.state), statuses, pictures, history, PhonePages(settings))


class Here:
    """The request at hand."""

    @property
    def site(self) -> Site:
        """What all requests share."""
        return cast(Site, current_app.extensions[_EXTENSION])

    @property
    def settings(self) -> PageSettings:
        """What the page was started with."""
        return self.site.settings

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed here."""
        return self.settings.read_only

    @property
    def language(self) -> Language:
        """Which was chosen, or which the browser prefers."""
        chosen = request.cookies.get(LANGUAGE_COOKIE)
        if chosen not in CODES:
            chosen = request.accept_languages.best_match(CODES, CODES[0])
        return language(cast(Code, chosen))

    @property
    def reviewer(self) -> str:
        """The name that the person at this browser gave last; "" if none."""
        return str(session.get("by", ""))

    def reader(self) -> Reader:
        """The store, until the request ends. Raises StoreError."""
        if "reader" not in g:
            g.reader = Reader(self.settings.state / DATABASE).__enter__()
        return cast(Reader, g.reader)

    def entry(self, number: int) -> Entry:
        """One entry. Raises StoreError E-RESULT-MISSING."""
        return self.reader().entry(number)

    def known(self) -> Known:
        """How the device is, and whether its service answers."""
        if "known" not in g:
            g.known = self.site.statuses.now()
        return cast(Known, g.known)


def install(extensions: dict[str, object], site: Site) -> None:
    """Gives the views of an app what they share."""
    extensions[_EXTENSION] = site


def close_reader(_: BaseException | None = None) -> None:
    """When a request has ended."""
    reader: Reader | None = g.pop("reader", None)
    if reader is not None:
        reader.__exit__(None, None, None)


here = Here()
