"""The live view."""

from flask import Blueprint, render_template

live = Blueprint("live", __name__)


@live.get("/")
def show() -> str:
    """Everything."""
    return render_template("live.html", view="live")
