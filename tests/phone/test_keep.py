"""What the phone's page keeps, and its exports: the JSON lines and spreadsheets of edge_app."""

import csv
import io
import math
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limiar.edge_app.answer import Timing
from limiar.edge_app.output.lines import Line, json_lines
from limiar.edge_app.output.spreadsheet import FILE_COLUMNS, FRAME_COLUMNS, Spreadsheet
from phone_modules import Modules

LABELS = ("no nodule", "=nodule")
ORIGIN = {"bundle": "b" * 64, "file": "tflite_int8", "runtime": "litert-wasm 2.5.3", "verified": "device"}
ORIGIN |= {"app": "limiar 0.1.0 phone", "time": "2026-11-27T12:00:00.123Z"}
SHARES = {"no nodule": 1.0, "=nodule": 1.25e-05}
FILE = Line(
    path="scans/a, \u202e\"b\".png", sha256="a" * 64, decision="refer", label="=nodule", confidence=0.75, probabilities=SHARES,
    outside=("mean", "contrast"), trailing="padding", ms=Timing(1.0, 0.25, 1e-7), stored=False, **ORIGIN,
)  # fmt: skip
REFUSED = Line(
    path="=cmd|' /C calc'!A0", sha256=None, decision="refused", code="E-IMAGE-READ", message="; -gone \x7f",
    stored=False, **ORIGIN,
)  # fmt: skip
FRAME = Line(
    source="browser-camera:rear", sequence=7, taken="2026-11-27T12:00:00.000Z", dropped=3, decision="=nodule", label="=nodule",
    confidence=1.0, probabilities=SHARES, frames=5, agreeing=4, spread=0.0, ms=Timing(0.0, 2.0, 3.5), stored=False, **ORIGIN,
)  # fmt: skip
# Runs `body` with an open Keep; what it returns, and Blobs as their text.
RUN = """
async ({name, labels, body, given}) => {
  const {openKeep} = await import("/web/keep/keep.js");
  const keep = await openKeep(labels, name);
  const found = await new (Object.getPrototypeOf(async () => {}).constructor)("keep", "given", body)(keep, given);
  return found instanceof Blob ? found.text() : found;
}
"""


def as_object(line: Line) -> dict[str, Any]:
    """A line as the worker gives it."""
    return msgspec.json.decode(json_lines([line]))


class Kept:
    """An open Keep in the browser."""

    def __init__(self, modules: Modules, name: str) -> None:
        self._page, self._name = modules.page, name

    def run(self, body: str, given: Any = None) -> Any:
        asked = {"name": self._name, "labels": list(LABELS), "body": body, "given": given}
        return self._page.evaluate(RUN, asked)

    def add(self, *lines: Line) -> list[dict[str, Any]]:
        body = "const all = []; for (const line of given) all.push(await keep.add(line)); return all;"
        return self.run(body, [as_object(line) for line in lines])


@pytest.fixture
def kept(modules: Modules, request: pytest.FixtureRequest) -> Kept:
    return Kept(modules, request.node.name)


def renamed(line: Line, **changed: Any) -> Line:
    return msgspec.structs.replace(line, **changed)


def spreadsheet(path: Path, lines: list[Line], columns: tuple[str, ...]) -> str:
    sheet = Spreadsheet(path, LABELS, columns)
    sheet.write(lines)
    sheet.close()
    return path.read_bytes().decode()


def test_the_json_lines_are_those_of_a_scan_byte_for_byte(kept: Kept) -> None:
    kept.add(FILE, REFUSED, FRAME)
    assert kept.run("return keep.jsonLines()").encode() == json_lines([FILE, REFUSED, FRAME])


def test_an_export_has_many_lines_in_the_order_in_which_they_came(kept: Kept) -> None:
    many = [renamed(FILE, sha256=f"{k:064}", path=f"{k}.png") for k in range(1001)]
    kept.add(*many)
    assert kept.run("return keep.jsonLines()").encode() == json_lines(many)


def test_the_spreadsheets_are_those_of_a_scan_and_of_a_camera_byte_for_byte(kept: Kept, tmp_path: Path) -> None:
    kept.add(FILE, REFUSED, FRAME)
    files, frames = kept.run("return keep.csv()"), kept.run("return keep.csv({frames: true})")
    assert files == spreadsheet(tmp_path / "files.csv", [FILE, REFUSED], FILE_COLUMNS)
    assert frames == spreadsheet(tmp_path / "frames.csv", [FRAME], FRAME_COLUMNS)
    assert list(csv.DictReader(io.StringIO(files)))[1]["path"] == "'=cmd|' /C calc'!A0"


def test_a_spreadsheet_has_columns_for_labels_of_an_earlier_bundle(kept: Kept) -> None:
    kept.add(FILE, renamed(FILE, sha256="c" * 64, probabilities={"cat": 0.5, "dog": 0.5}))
    (first, second) = csv.DictReader(io.StringIO(kept.run("return keep.csv()")))
    assert (first["probability_cat"], second["probability_cat"], second["probability_no nodule"]) == ("", "0.5", "")


def test_an_image_that_was_answered_before_keeps_its_first_answer(kept: Kept) -> None:
    again = renamed(FILE, time="2026-11-28T00:00:00.000Z", confidence=0.5)
    first, second = kept.add(FILE, again)
    assert (first["stored"], second["stored"]) == (False, True)
    assert second == {"id": first["id"], "stored": True, "line": as_object(FILE)}
    assert kept.run("return keep.count()") == 1


def test_another_file_with_the_same_bytes_has_a_line_with_the_kept_answer(kept: Kept) -> None:
    """As in a scan, where each file has its line."""
    _, second = kept.add(FILE, renamed(FILE, path="copy.png", time="2026-11-28T00:00:00.000Z"))
    assert second["line"] == as_object(renamed(FILE, path="copy.png", stored=True))
    assert kept.run("return keep.count()") == 2


@pytest.mark.parametrize("other", ["bundle", "file", "runtime"])
def test_another_bundle_file_or_runtime_has_an_answer_of_its_own(kept: Kept, other: str) -> None:
    _, second = kept.add(FILE, renamed(FILE, **{other: "another"}))
    assert not second["stored"]


def test_a_refusal_is_kept_once_and_each_frame_for_itself(kept: Kept) -> None:
    found = kept.add(REFUSED, REFUSED, renamed(REFUSED, code="E-IMAGE-BROKEN"), FRAME, FRAME)
    assert [one["stored"] for one in found] == [False, True, False, False, False]
    assert kept.run("return keep.counts()") == {"files": 2, "frames": 2}


def test_the_newest_come_first_with_their_pictures_a_page_at_a_time(kept: Kept) -> None:
    kept.add(FILE, REFUSED)
    kept.run('return keep.add(given, new Blob(["picture"]))', as_object(FRAME))
    read = """
        const all = await keep.list(given);
        return Promise.all(all.map(async one => [one.id, one.line.decision, await one.thumbnail?.text() ?? null]));"""
    assert kept.run(read, {"count": 2}) == [[3, "=nodule", "picture"], [2, "refused", None]]
    assert kept.run(read, {"before": 2}) == [[1, "refer", None]]
    assert kept.run("return keep.get(3)")["line"] == as_object(FRAME)
    assert kept.run("return keep.get(4)") is None


def test_all_is_deleted_with_its_pictures(kept: Kept) -> None:
    kept.run('return keep.add(given, new Blob(["picture"]))', as_object(FILE))
    kept.run("return keep.clear()")
    assert kept.run("return keep.count()") == 0
    counted = "new Promise(found => { pictures.count().onsuccess = event => found(event.target.result); })"
    assert kept.run(f"return keep.transaction('readonly', (lines, pictures) => {counted})") == 0
    assert kept.run("return keep.jsonLines()") == ""


def test_a_browser_that_keeps_nothing_or_is_full_says_so(kept: Kept) -> None:
    caught = "return keep.add(given).then(() => null, error => [error.code, error.message])"
    broken = "keep.database = {transaction() { throw new DOMException('no room', '%s'); }};"
    assert kept.run(broken % "QuotaExceededError" + caught, as_object(FILE))[0] == "E-STORE-FULL"
    assert kept.run(broken % "UnknownError" + caught, as_object(FILE))[0] == "E-STORE-WRITE"


def test_a_database_that_the_system_closed_is_opened_again(kept: Kept) -> None:
    assert kept.run("keep.database.close(); return keep.add(given)", as_object(FILE))["stored"] is False


def test_pages_in_other_folders_of_a_site_have_other_results(modules: Modules) -> None:
    def name(protocol: str, path: str) -> str:
        return modules.call("/keep/keep.js", "keepName", {"protocol": protocol, "pathname": path})

    assert name("https:", "/a/index.html") == name("https:", "/a/") != name("https:", "/b/")
    assert name("file:", "/home/one.html") == name("file:", "/sdcard/two.html")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 1) | st.floats(0, allow_infinity=False) | st.just(sys.float_info.min), max_size=200))
def test_numbers_are_written_as_msgspec_and_python_do(modules: Modules, numbers: list[float]) -> None:
    numbers = [*numbers, *(math.ldexp(1.0, k) for k in range(-30, 60, 3))]
    rows = [(number,) for number in numbers]
    assert modules.each("/keep/text.js", "jsonFloat", rows) == [msgspec.json.encode(number).decode() for number in numbers]
    assert modules.each("/keep/text.js", "pythonFloat", rows) == [repr(number) for number in numbers]


ODD_CHARACTERS = "a;=+-@ ,\"'\\\r\n\t\v\x00\x1f\x7f\x85\xa0\u2028\u202e\u3000\ufeff\uff1d\ufffe\uffffé😀"
ODD = st.text(st.sampled_from(ODD_CHARACTERS), max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=50))
def test_texts_are_written_as_in_python(modules: Modules, texts: list[str]) -> None:
    from limiar.edge_app.text import csv_row, for_csv, for_json

    rows = [(text,) for text in texts]
    assert modules.each("/keep/text.js", "forCsv", rows) == [for_csv(text) for text in texts]
    assert modules.each("/keep/text.js", "jsonText", rows) == [for_json(msgspec.json.encode(text)).decode() for text in texts]
    assert modules.call("/keep/text.js", "csvRow", ["", *texts]) == csv_row(["", *texts])


def test_the_fields_of_a_line_and_the_columns_are_those_of_the_python() -> None:
    web = Path(__file__).parents[2] / "edge_app/phone/web"
    source = "\n".join((web / name).read_text(encoding="utf-8") for name in ("keep/lines.js", "answer/line.js"))
    lists = dict(re.findall(r"const (\w+) = \[(.*?)\n\];", source.replace("SHARES", '"probabilities"'), re.DOTALL))
    found = {name: re.findall(r'"(\w+)"', body) for name, body in lists.items()}
    assert found["FILE_COLUMNS"] == list(FILE_COLUMNS)
    assert found["FRAME_COLUMNS"] == list(FRAME_COLUMNS)
    assert found["LINE_KEYS"] == list(Line.__struct_fields__)
