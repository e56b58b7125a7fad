"""The health view: what `limiar status` says, with the last day as plots."""

import time
from datetime import UTC, datetime

import msgspec
from flask import Blueprint, Response, render_template

from limiar.edge_app.page.here import here
from limiar.edge_app.page.language import local_time
from limiar.edge_app.page.plots import HEIGHT, MEASURES, WIDTH, hours, plots
from limiar.edge_app.text import for_json

health = Blueprint("health", __name__)

_SLOWED = frozenset({"under-voltage", "clock capped", "throttled", "soft temperature limit"})  # what a Raspberry Pi says


@health.get("/health")
def show() -> str:
    """Everything."""
    known, now_s = here.known(), time.time()
    samples = here.site.history.last_day()
    return render_template(
        "health.html",
        view="health",
        status=known.status,
        asked=_iso(now_s - (time.monotonic() - known.monotonic_s)),
        plots=plots(samples, now_s),
        hours=[(_clock(hour.start_s), hour.values) for hour in hours(samples, now_s)],
        measures=tuple(MEASURES),
        measured=_measured,
        box=(WIDTH, HEIGHT),
        slowed=_slowed,
    )


@health.get("/status.json")
def as_json() -> Response:
    """What `limiar status --json` prints."""
    return Response(for_json(msgspec.json.encode(here.known().status)) + b"\n", mimetype="application/json")


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _clock(time_s: float) -> str:
    return f"{local_time(_iso(time_s)):%H:%M}"


def _measured(measure: str, value: float | None) -> str:
    """For people, with its unit."""
    language = here.language
    if value is None:
        return language.words("health.unknown")
    match measure:
        case "memory" | "free":
            return language.size(value)
        case "referred":
            return language.percent(value)
        case "temperature":
            return f"{language.number(value)} °C"
    return language.number(value, 0 if value >= 100 or value == int(value) else 1)


def _slowed(words: tuple[str, ...]) -> str:
    language = here.language
    known = (language.words(f"health.slowed.{word}") if word in _SLOWED else word for word in words)
    return ", ".join(known) or language.words("health.slowed.no")
