"""The bundle view."""

from flask import Blueprint, render_template

bundle = Blueprint("bundle", __name__)


@bundle.get("/bundle")
def show() -> str:
    """Everything."""
    return render_template("bundle.html", view="bundle")
