"""The review queue, and what a person says about an answer anywhere."""

import msgspec
from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from limiar.edge_app.bundle.manifest import REFER
from limiar.edge_app.errors import StoreError
from limiar.edge_app.page.asked import number_asked
from limiar.edge_app.page.here import here
from limiar.edge_app.page.place import back
from limiar.edge_app.results.agreement import agreement
from limiar.edge_app.results.lines import reviewed_label
from limiar.edge_app.results.review import review as keep
from limiar.edge_app.results.review import undo as take_back
from limiar.edge_app.store.reader import Filter
from limiar.edge_app.store.state import DATABASE

review = Blueprint("review", __name__)

_WAITING = Filter(kinds=("file", "frame"), decision=REFER, reviewed=False)
_COUNTED = 10_000  # more are not counted
_NAME, _WHY = 200, 1000  # characters


@review.get("/review")
def show() -> str:
    """The referred image that has waited longest, of those after the one that was skipped."""
    reader, skipped, reviewed = here.reader(), number_asked("after"), number_asked("done")
    here.site.pictures.warm()
    waiting = msgspec.structs.replace(_WAITING, after=skipped or 0)
    done = here.entry(reviewed) if reviewed else None
    return render_template(
        "review.html",
        view="review",
        entry=next(reader.entries(waiting, limit=1), None),
        left=reader.count(_WAITING, upto=_COUNTED),
        counted_upto=_COUNTED,
        skipped=skipped,
        done=done if done and done.review else None,
        done_label=reviewed_label(done) if done else None,
        agreement=agreement(reader, Filter()),
    )


@review.post("/results/<int:number>/review")
def say(number: int) -> AnyResponse:
    """Keeps that a label is right."""
    by, why, label = (request.form.get(name, "").strip() for name in ("by", "why", "label"))
    if not by or len(by) > _NAME or len(why) > _WHY:
        raise BadRequest  # the form itself asks for a name
    entry = here.entry(number)
    kept, given = entry.review, None if label == entry.label else label
    if not kept or (kept.label, kept.by, kept.why) != (given, by, why):  # a double click says it twice
        keep(here.settings.state / DATABASE, number, given, by, why)
    session["by"] = by
    return redirect(back(), 303)


@review.post("/results/<int:number>/undo")
def undo(number: int) -> AnyResponse:
    """Takes back the review that the form is about; one that does not hold any more was taken back already."""
    try:
        take_back(here.settings.state / DATABASE, number, here.reviewer or "?", request.form.get("review", type=int))
        flash(here.language.words("review.undid", id=number), "good")
    except StoreError as error:
        if error.code != "E-RESULT-REVIEW":
            raise
    return redirect(back() if request.form.get("next") else url_for("results.one", number=number), 303)
