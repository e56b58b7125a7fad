"""The results view."""

from flask import Blueprint, render_template

results = Blueprint("results", __name__)


@results.get("/results")
def show() -> str:
    """Everything."""
    return render_template("results.html", view="results")
