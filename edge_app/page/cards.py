"""The live view's cards: each source with its last answer."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from limiar.edge_app.health.status import SourceStatus
from limiar.edge_app.page.language import local_time
from limiar.edge_app.page.statuses import Known
from limiar.edge_app.store.reader import Entry

State = Literal["ok", "waiting", "failed", "stopped", "silent", "unwatched"]


class Card(Struct, frozen=True, kw_only=True):
    """A source, and what it answered last."""

    name: str | None  # None: files of scans
    state: State
    source: SourceStatus | None = None  # None: the service does not know it
    entry: Entry | None = None  # None: nothing yet
    age_s: float | None = None  # of the entry

    @property
    def current(self) -> bool:
        """Whether a new image would be answered now."""
        return self.state == "ok"

    @property
    def key(self) -> str:
        """Other than before: so is the card, but for its age."""
        source, entry = self.source, self.entry
        said = (source.code, source.message, source.queue) if source else ()
        review = entry.review if entry else None
        return repr((self.state, *said, entry.id if entry else 0, review.time if review else ""))


def cards(known: Known, by_source: Mapping[str | None, Entry]) -> list[Card]:
    """Sources of the service in its order, then others of which the store has answers."""
    sources = known.status.sources
    watched = {source.name for source in sources}
    found = [
        Card(
            name=one.name,
            state=one.state,
            source=one,
            entry=(entry := by_source.get(one.name)),
            age_s=_age_s(entry, one, known),
        )
        for one in sources
    ]
    state: State = "silent" if known.silent_s is not None else "unwatched" if known.status.running else "stopped"
    others = sorted((name for name in by_source if name not in watched), key=lambda name: name or "")
    for name in others:
        entry = by_source[name]
        found.append(
            Card(name=name, state="unwatched" if name is None else state, entry=entry, age_s=_age_s(entry, None, known))
        )
    return found


def _age_s(entry: Entry | None, source: SourceStatus | None, known: Known) -> float | None:
    """By the service's clock, which does not jump; of an entry that it does not know, by the device's."""
    if entry is None:
        return None
    if source and source.last_entry == entry.id and source.last_age_s is not None:
        return source.last_age_s + time.monotonic() - known.monotonic_s
    try:
        return max(0.0, (datetime.now(UTC) - local_time(entry.time)).total_seconds())
    except (ValueError, OverflowError, OSError):
        return None
