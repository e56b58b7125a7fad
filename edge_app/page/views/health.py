"""The health view."""

from flask import Blueprint, render_template

health = Blueprint("health", __name__)


@health.get("/health")
def show() -> str:
    """Everything."""
    return render_template("health.html", view="health")
