"""A store's answers and the forms of the page, for its tests."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.store.writer import BundleKey

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

KEY = BundleKey(
    sha256="ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos")
)
CSRF = re.compile(rb'name="csrf" value="([^"]+)"')


def made_answer(
    label: str = "pos", confidence: float = 0.97, decision: str | None = None, time: str = "2026-01-01T00:00:00.000Z"
) -> Answer:
    """An answer of a model with the labels neg and pos."""
    shares = {name: confidence if name == label else 1 - confidence for name in KEY.labels}
    return Answer(decision or label, label, confidence, shares, Timing(0.1, 0.2, 0.3), time, "limiar 0")


def send(browser: "FlaskClient", path: str, fields: dict[str, object], form: str = "/") -> "TestResponse":
    """Sends a form of the page at `form`, with its hidden field."""
    found = CSRF.search(browser.get(form).data)
    assert found, form
    return browser.post(path, data={"csrf": found[1].decode(), **fields})


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
