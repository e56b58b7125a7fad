"""The results: a stream with filters, and each result with all that is known about it."""

from collections.abc import Iterator

from flask import Blueprint, Response, render_template, request
from msgspec import Struct

from limiar.edge_app.bundle.manifest import REFER, REFUSED
from limiar.edge_app.page.asked import Asked, asked, midnight, number_asked
from limiar.edge_app.page.here import here
from limiar.edge_app.store.reader import Filter, Reader

results = Blueprint("results", __name__)

_PAGE = 50  # results
_COUNTED = 10_000  # more are not counted
_SURE = (("0.95", "1"), ("0.8", "0.95"), ("0", "0.8"))  # ranges of confidence that can be chosen
_DAYS = (0, 6)  # since midnight of so many days ago


class Choice(Struct, frozen=True):
    """A filter that can be chosen by a link."""

    text: str
    address: str
    chosen: bool


class Group(Struct, frozen=True):
    """Filters of which one at most is chosen; the first takes them all away."""

    title: str
    choices: tuple[Choice, ...]

    @property
    def active(self) -> bool:
        """Whether it restricts what is shown."""
        return not self.choices[0].chosen


@results.get("/results")
def show() -> str:
    """A page of results, the newest first."""
    query, reader = asked(), here.reader()
    here.site.pictures.warm()
    before = number_asked("before")
    found = list(reader.entries(query.older_than(before), newest=True, limit=_PAGE + 1))
    shown = found[:_PAGE]
    all_shown = before is None and len(found) <= _PAGE
    return render_template(
        "results.html",
        view="results",
        entries=shown,
        query=query,
        groups=_groups(query, reader),
        labels=labels_of(reader),
        count=len(shown) if all_shown else reader.count(query.which, upto=_COUNTED),
        counted_upto=_COUNTED,
        older=query.address("results.show", before=shown[-1].id) if len(found) > _PAGE else None,
        first=query.address("results.show") if before else None,
        newest=reader.sequence,
    )


@results.get("/results/new")
def new() -> Response:
    """How many results there are after an ID, as a page asks that is open."""
    query = asked()
    return Response(str(here.reader().count(query.newer_than(number_asked("after") or 0), upto=100)), mimetype="text/plain")


@results.get("/results/<int:number>")
def one(number: int) -> str:
    """One result."""
    reader, query = here.reader(), asked()
    here.site.pictures.warm()
    entry = here.entry(number)
    newer = next(reader.entries(query.newer_than(number), limit=1), None)
    older = next(reader.entries(query.older_than(number), newest=True, limit=1), None)
    return render_template(
        "result.html",
        view="results",
        entry=entry,
        labels=tuple(entry.probabilities or ()),
        shares=sorted((entry.probabilities or {}).items(), key=lambda share: -share[1]),
        reviews=reader.reviews(number),
        query=query,
        newer=newer,
        older=older,
    )


def labels_of(reader: Reader) -> tuple[str, ...]:
    """The labels of the model that answered last, in its order."""
    last = next(reader.entries(Filter(kinds=("file", "frame")), newest=True, limit=1), None)
    return tuple(last.probabilities or ()) if last else ()


def _groups(query: Asked, reader: Reader) -> Iterator[Group]:
    language = here.language
    t, percent = language.words, language.percent
    decisions = {name: name for name in labels_of(reader)}
    decisions |= {name: t(f"decision.{name}") for name in (REFER, REFUSED)}
    yield _group(query, "decision", decisions)
    sources = {one.name for one in here.known().status.sources} | (set(reader.latest_by_source()) - {""})
    yield _group(query, "source", {name: name for name in sorted(sources)})
    yield _group(query, "reviewed", {name: t(f"results.reviewed.{name}") for name in ("no", "yes")})
    since = {midnight(days): t(f"results.since.{days}") for days in _DAYS}
    yield _group(query, "since", since)
    ranges = {
        f"{low}-{high}": t("results.range", low=percent(float(low), 0), high=percent(float(high), 0)) for low, high in _SURE
    }
    chosen = f"{query.values.get('from', '0')}-{query.values.get('to', '1')}" if query.which.confidence else None
    choices = [Choice(t("results.any"), query.address("results.show", **{"from": None, "to": None}), chosen is None)]
    for name, text in ranges.items():
        low, high = name.split("-")
        choices.append(Choice(text, query.address("results.show", **{"from": low, "to": high}), name == chosen))
    if chosen and chosen not in ranges:
        low_share, high_share = query.which.confidence or (0.0, 1.0)
        text = t("results.range", low=percent(low_share), high=percent(high_share))
        choices.append(Choice(text, request.full_path, chosen=True))
    yield Group(t("confidence"), tuple(choices))


def _group(query: Asked, name: str, options: dict[str, str]) -> Group:
    chosen = query.values.get(name)
    if chosen is not None:
        options = {**options, chosen: options.get(chosen, chosen)}
    choices = [Choice(here.language.words("results.any"), query.address("results.show", **{name: None}), chosen is None)]
    choices += [
        Choice(text, query.address("results.show", **{name: value}), value == chosen) for value, text in options.items()
    ]
    return Group(here.language.words(f"results.by.{name}"), tuple(choices))
