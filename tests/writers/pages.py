"""A store's answers and the forms of the page, for its tests."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.edge_app.answer import Answer, Timing
from limiar.edge_app.store.writer import Agreement, BundleKey, Refusal, Store

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

KEY = BundleKey(
    sha256="ab" * 32, name="tiny", version="1.0.0", file="tflite_int8", runtime="litert 2.3.0", labels=("neg", "pos")
)
CSRF = re.compile(rb'name="csrf" value="([^"]+)"')


Serving = AbstractContextManager[tuple["subprocess.Popen[bytes]", str]]


def made_state(folder: Path) -> Path:
    """A state folder whose store has: 1 a file, 2 a frame, 3 a refusal, 4 a referred file with HTML in its name."""
    folder.mkdir()
    with Store(folder / "results.db", "run") as store:
        store.use(KEY, "bundle")
        store.add(b"1" * 32, b"/in/a.png", made_answer(), source="inbox")
        store.add_frame("bench", "boot", 7, 0, made_answer("neg"), Agreement(5, 4, 0.25))
        store.refuse(Refusal("inbox", b"/in/b.png", b"identity", None, "E-IMAGE-EMPTY", "/in/b.png is empty", 0))
        store.add(b"2" * 32, b'/in/<b onclick="x">&amp;.png', made_answer("neg", 0.6, "refer"), source="inbox")
    return folder


@contextmanager
def serving(state: Path, *words: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The real command and its address; on a free port of 127.0.0.1 if no word says otherwise."""
    command = [sys.executable, "-P", "-m", "limiar", "page", "--listen", "127.0.0.1:0", "--state", str(state), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        try:
            assert process.stderr
            line = process.stderr.readline().decode()
            found = re.search(r"https?://\S+", line)
            assert found, line + process.stderr.read().decode()
            yield process, found[0]
        finally:
            process.kill()


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


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    """Waits for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
