"""The worker is lost to a picture, or does not start: the page refuses that picture and goes on, or answers nothing."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import convert

from limiar.edge_app.output.lines import Line
from phone_modules import PHONE, Modules, served

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers

PATIENCE_S = 60.0  # for what comes
# Does what a file's name says: "crash", "trap", "hang", "fail", and anything else is answered.
WORKER = """
let starts = 0;
onmessage = ({ data: { id, kind, page, name, about, rgba } }) => {
  const { refuse, bundle } = page ? JSON.parse(page) : {};
  if (kind === "start" && refuse === "hang") return;
  if (kind === "start" && refuse) return postMessage({ id, ok: false, code: refuse, message: "why" });
  if (kind === "start") return postMessage({ id, ok: true, started: {
    bundle, file: "tflite_int8", runtime: "litert-wasm 2.5.3", verified: "device", app: "limiar 0.1.0 phone" } });
  if (name === "crash") throw new TypeError("lost");
  if (name === "trap") return postMessage({ id, ok: false, trap: true, code: null, message: "unreachable" });
  if (name === "fail") return postMessage({ id, ok: false, code: "E-RUNTIME-FINITE", message: "NaN" });
  if (name === "hang") for (;;);
  postMessage({ id, ok: true, line: name ? { path: name } : { ...about, size: rgba.length } });
};
"""
ASKED = """async ({ page, asked, limits }) => {
  const { openWork } = await import("/web/work.js");
  let workers = 0;
  const startWorker = async () => {
    workers += 1;
    return new Worker("/stub/worker.js");
  };
  const work = openWork({ pageText: page, workerParts: async () => undefined, startWorker }, limits);
  const told = promise => promise.then(found => found, error => [error.constructor.name, error.code ?? error.message]);
  const about = { source: "browser-camera:rear", sequence: 7, dropped: 0 };
  const steps = { start: () => work.start(), end: async () => { work.end(); return "ended"; },
                  frame: () => work.frame(new Uint8Array(16), 2, 2, about) };
  const found = await Promise.all(asked.map(name => told((steps[name] ?? (() => work.answer(new Uint8Array([7]), name)))())));
  work.end();
  return { found, workers };
}"""


@pytest.fixture(scope="module")
def modules(browsers: "Browsers", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    """The page's modules, and the worker above at an address of its own."""
    stub = tmp_path_factory.mktemp("stub")
    (stub / "worker.js").write_text(WORKER)
    with served(("/web/", PHONE / "web"), ("/stub/", stub)) as url, browsers.person(url) as person:
        yield Modules(person.page, url)
        assert person.faults == []


def ask(modules: Modules, *asked: str, page: str = '{"bundle": "b0"}', picture_s: float = PATIENCE_S) -> tuple[list[Any], int]:
    """What becomes of each, all asked for at once, and how many workers there were."""
    limits = {"start": PATIENCE_S if "hang" not in page else 0.2, "picture": picture_s}
    given = {"page": page, "asked": asked, "limits": limits}
    found = modules.page.evaluate(ASKED, given)
    lines = [one.get("line", one) if isinstance(one, dict) else one for one in found["found"]]
    return lines, found["workers"]


def test_answers_come_in_order_from_one_worker_and_a_frame_gives_its_memory_away(modules: Modules) -> None:
    found, workers = ask(modules, "start", "a.png", "frame", "b.png")
    assert found[0]["bundle"] == "b0"
    assert found[1:] == [
        {"path": "a.png"},
        {"source": "browser-camera:rear", "sequence": 7, "dropped": 0, "size": 16},
        {"path": "b.png"},
    ]
    assert workers == 1


@pytest.mark.parametrize(
    ("name", "code", "picture_s"),
    [
        ("crash", "E-IMAGE-CRASH", PATIENCE_S),
        ("trap", "E-IMAGE-CRASH", PATIENCE_S),
        ("hang", "E-IMAGE-TIMEOUT", 3),  # of which the others take milliseconds, also on a busy machine
    ],
)
def test_a_picture_that_costs_the_worker_is_refused_and_the_next_is_answered(
    modules: Modules, name: str, code: str, picture_s: float
) -> None:
    found, workers = ask(modules, "a.png", name, "b.png", picture_s=picture_s)
    assert [one["path"] for one in found] == ["a.png", name, "b.png"]
    line = convert(found[1], Line)
    assert (line.code, line.decision, line.sha256) == (code, "refused", hashlib.sha256(b"\x07").hexdigest())
    assert (line.bundle, line.file, line.verified, line.app) == ("b0", "tflite_int8", "device", "limiar 0.1.0 phone")
    assert workers == 2


def test_a_model_that_fails_is_no_fault_of_the_picture(modules: Modules) -> None:
    found, workers = ask(modules, "fail", "a.png")
    assert found == [["RuntimeUnavailable", "E-RUNTIME-FINITE"], {"path": "a.png"}]
    assert workers == 2  # the runtime may be in any state


@pytest.mark.parametrize(
    ("refuse", "kind", "code"),
    [
        ("E-BUNDLE-HASH", "BundleError", "E-BUNDLE-HASH"),
        ("E-PHONE-CHECK", "LimiarError", "E-PHONE-CHECK"),
        ("E-RUNTIME-LOAD", "RuntimeUnavailable", "E-RUNTIME-LOAD"),
        ("hang", "RuntimeUnavailable", "E-RUNTIME-START"),
    ],
)
def test_where_the_start_is_refused_nothing_is_answered(modules: Modules, refuse: str, kind: str, code: str) -> None:
    found, workers = ask(modules, "start", "a.png", "frame", page=f'{{"refuse": "{refuse}"}}')
    assert found == [[kind, code]] * 3
    assert workers == 3  # each checks again


def test_what_waits_when_the_worker_is_ended_is_not_answered(modules: Modules) -> None:
    found, _ = ask(modules, "start", "a.png", "end", "b.png")
    assert found[2] == "ended"
    assert all(found[at] == ["Error", "the worker was ended"] for at in (0, 1, 3))
