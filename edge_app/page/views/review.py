"""The review view."""

from flask import Blueprint, render_template

review = Blueprint("review", __name__)


@review.get("/review")
def show() -> str:
    """Everything."""
    return render_template("review.html", view="review")
