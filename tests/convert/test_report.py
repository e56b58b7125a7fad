"""What convert writes for people."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from convert.gate import Finding
from convert.measure import CALLS, Measured, publish_measured
from convert.pipeline import Converted
from convert.plot import Mark, Panel, draw_panels
from convert.report import model_card, report_html, report_json, rounded_up
from edge_app.bundle import open_bundle


class Page(HTMLParser):
    """The visible words of a page, and what it links to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script", "title")
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.words.append(data.strip())


def test_the_page_begins_with_the_verdict_and_needs_no_other_file(converted: Converted) -> None:
    html = report_html(converted.report).decode()
    page = Page(html)
    assert page.words[0] == "PASS"
    assert page.links == []
    assert "<script" not in html
    assert "url(" not in html
    assert "@import" not in html
    for file in converted.report.files:
        assert any(file.name in word for word in page.words)


def test_report_and_card_tell_the_intended_use_and_every_file_s_accuracy(bundle: Path, converted: Converted) -> None:
    opened = open_bundle(bundle)
    card, page = opened.read("MODEL_CARD.md").decode(), opened.read("report.html").decode()
    for text in (card, page):
        assert "Research and education, not for diagnosis." in text
    for name, file in opened.manifest.models.items():
        assert file.model is not None
        assert re.search(rf"\| {name} \|.* {file.model.metrics['accuracy'].value:.3f} \(", card)


def test_what_did_not_pass_stands_with_its_reasons(converted: Converted) -> None:
    first, *others = converted.report.files
    failed = msgspec.structs.replace(
        first, verdict="FAIL", findings=(Finding("sensitivity", "litert", "FAIL", "accuracy <lost>"),)
    )
    page = report_html(msgspec.structs.replace(converted.report, verdict="REFUSED", files=(failed, *others))).decode()
    words = Page(page).words
    assert words[0] == "REFUSED"
    assert "litert: accuracy <lost>" in words
    assert "<lost>" not in page  # escaped: a reason may quote a file name


def test_a_file_that_was_never_made_has_a_row(converted: Converted) -> None:
    *others, last = converted.report.files
    missing = msgspec.structs.replace(
        last,
        verdict="LEFT OUT",
        findings=(Finding("conversion", "", "FAIL", "no kernel"),),
        runtimes=(),
        bytes=None,
        sha256=None,
        tolerance=None,
        expected_runtime=None,
    )
    report = msgspec.structs.replace(converted.report, files=(*others, missing))
    assert "no kernel" in Page(report_html(report).decode()).words
    assert f"| {last.name} |" not in model_card(report, "").decode()


def test_the_reports_are_the_same_bytes_when_made_again(converted: Converted) -> None:
    assert report_html(converted.report) == report_html(converted.report)
    assert msgspec.json.decode(report_json(converted.report), type=type(converted.report)) == converted.report


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.0, 0.0), (0.1, 0.1), (0.101, 0.11), (0.0371, 0.038), (0.002, 0.002), (12.01, 13.0)]
)
def test_a_tolerance_is_rounded_up(value: float, rounded: float) -> None:
    assert rounded_up(value) == rounded


@pytest.mark.parametrize("values", [[5.0], [0.9, 0.9], [0.0001, 250.0], [0.91, 0.93, 0.97], [1000.0, 9999.0]])
@pytest.mark.parametrize("bars", [True, False])
def test_every_mark_is_drawn_inside_the_plot(values: list[float], bars: bool) -> None:
    rows = [f"file <{index}>" for index in range(len(values))]
    marks = {row: Mark(value, text=f"{value:g}") for row, value in zip(rows, values, strict=True)}
    svg = draw_panels(rows, [Panel("size", marks, bars=bars, line=values[0])])
    width = float(re.search(r'width="(\d+)"', svg).group(1))  # type: ignore[union-attr]
    centres = [float(x) for x in re.findall(r'(?:cx="|H)([\d.]+)', svg)]
    assert len(centres) >= len(values)
    assert all(0 <= x <= width for x in centres)
    assert "file &lt;0&gt;" in svg


def test_what_is_measured_in_time_lies_beside_the_bundle(bundle: Path, converted: Converted) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    folder = publish_measured(bundle, converted)
    assert folder == bundle.with_name("small.measured")
    measured = msgspec.json.decode((folder / "latency.json").read_bytes(), type=Measured)
    assert measured.bundle == open_bundle(bundle).sha256
    assert set(measured.files) == set(converted.models)
    assert all(file.invoke.count == CALLS and file.invoke.p50_us for file in measured.files.values())
    page = (folder / "latency.html").read_text()
    assert page.count('class="head"') == 3  # size, latency, accuracy
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
