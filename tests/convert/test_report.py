"""What convert writes for people."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.convert.gate.gate import GateFinding
from limiar.convert.gate.gate_file import read_gate, with_options
from limiar.convert.gate.judge import rounded_up
from limiar.convert.pipeline import Converted
from limiar.convert.publish.measure import CALLS, Measured, _latency_panel, publish_measured
from limiar.convert.publish.publish import publish_bundle
from limiar.convert.report.junit import junit_xml
from limiar.convert.report.release_page import deciding, file_losses, reason, report_html
from limiar.convert.report.release_report import ReleaseReport, model_card, report_json
from limiar.convert.run.predictions import predictions_csv, read_predictions_csv
from limiar.edge_app.bench.timing import Latency
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.report.panels import Mark, Panel, draw_panels
from limiar.edge_app.text import visible

ACTS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


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


def page_of(converted: Converted, report: ReleaseReport | None = None) -> str:
    return report_html(report or converted.report, converted.answers, converted.thumbnails).decode()


def test_the_page_begins_with_the_verdict_and_its_reason_and_needs_no_other_file(converted: Converted) -> None:
    html = page_of(converted)
    page = Page(html)
    assert page.words[0] == "PASS"
    assert page.words[2] == reason(converted.report)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "default-src 'none'" in html
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
        first, verdict="FAIL", required=True, findings=(GateFinding("sensitivity", "litert", "FAIL", "accuracy <lost>"),)
    )
    page = page_of(converted, msgspec.structs.replace(converted.report, verdict="REFUSED", files=(failed, *others)))
    words = Page(page).words
    assert words[0] == "REFUSED"
    assert words[2].startswith(f"{first.name}, which the gate requires, did not pass: litert: accuracy <lost>")
    assert "litert: accuracy <lost>" in words
    assert "<lost>" not in page  # escaped: a reason may quote a file name


def test_a_file_that_was_never_made_has_a_row(converted: Converted) -> None:
    *others, last = converted.report.files
    missing = msgspec.structs.replace(
        last,
        verdict="LEFT OUT",
        findings=(GateFinding("conversion", "", "FAIL", "no kernel"),),
        runtimes=(),
        bytes=None,
        sha256=None,
        tolerance=None,
        expected_runtime=None,
    )
    report = msgspec.structs.replace(converted.report, files=(*others, missing))
    assert "no kernel" in Page(page_of(converted, report)).words
    assert f"| {last.name} |" not in model_card(report, "").decode()


def test_the_reports_are_the_same_bytes_when_made_again(converted: Converted) -> None:
    assert page_of(converted) == page_of(converted)
    assert msgspec.json.decode(report_json(converted.report), type=type(converted.report)) == converted.report


def test_the_page_shows_curves_and_thumbnails_with_words_for_who_cannot_see_them(converted: Converted) -> None:
    html = page_of(converted)
    for word in ("ROC", "Reliability", "Risk and coverage"):
        assert f'aria-label="{word}. ' in html
    assert converted.thumbnails is not None
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', html)
    assert pictures
    tensors = {tensor.tobytes() for tensor in converted.thumbnails}
    for data, text in pictures:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).tobytes() in tensors
        assert re.fullmatch(r"(neg|pos), sha256 [0-9a-f]{12}", text)


def test_without_thumbnails_no_pixel_is_in_the_page(converted: Converted) -> None:
    html = report_html(converted.report, converted.answers, None).decode()
    assert Page(html).links == []
    assert "data:image" not in html
    assert "Images are left out of this page." in html


def test_every_table_has_heads_and_every_scrolled_part_can_be_reached_with_keys(converted: Converted) -> None:
    html = page_of(converted)
    assert len(re.findall(r"<th[ >]", html)) == len(re.findall(r'<th scope="(?:col|row)"', html))
    regions = re.findall(r'<div class="scroll"([^>]*)>', html)
    ids = set(re.findall(r' id="([^"]+)"', html))
    for attributes in regions:
        assert 'role="region"' in attributes
        assert 'tabindex="0"' in attributes
        named = re.search(r'aria-labelledby="([^"]+)"', attributes)
        assert 'aria-label="' in attributes or (named and named.group(1) in ids)


def test_the_page_has_a_row_for_each_file_on_each_runtime_with_the_first_layer_that_differs(converted: Converted) -> None:
    first, *others = converted.report.files
    own, *rest = first.runtimes
    planted = msgspec.structs.replace(rest[0], own_difference=0.25, first_layer="dense <3>")
    report = msgspec.structs.replace(
        converted.report, files=(msgspec.structs.replace(first, runtimes=(own, planted, *rest[1:])), *others)
    )
    section = page_of(converted, report).partition('id="parity"')[2].partition("</section>")[0]
    rows = [[re.sub("<[^>]+>", "", cell) for cell in row.split("</td>")] for row in section.split("<tr>")[2:]]
    runtimes = [(file.name, result.line) for file in report.files for result in file.runtimes]
    assert len(rows) == len(runtimes)
    for row, (name, line) in zip(rows, runtimes, strict=True):
        assert row[0] == f"{name}{line}"
    assert [row[5] for row in rows[:2]] == ["\N{EN DASH}", "dense &lt;3&gt;"]
    assert rows[1][3] == "0.25"
    assert {row[5] for row, (name, _) in zip(rows, runtimes, strict=True) if name.startswith("onnx")} == {"\N{EN DASH}"}


def test_a_file_s_losses_are_those_of_its_worst_runtime(converted: Converted) -> None:
    file = next(file for file in converted.report.files if file.test and file.test.losses)
    [result, *_] = file.runtimes
    assert result.test is not None
    worse = tuple(msgspec.structs.replace(loss, loss=0.2, high=0.3, verdict="FAIL") for loss in result.test.losses)
    bad = msgspec.structs.replace(result, runtime="other", test=msgspec.structs.replace(result.test, losses=worse))
    file = msgspec.structs.replace(file, runtimes=(*file.runtimes, bad))
    assert [loss.name for loss in file_losses(file, converted.report)] == ["sensitivity", "specificity"]
    assert {loss.high for loss in file_losses(file, converted.report)} == {0.3}
    assert deciding(file, converted.report) == "at most 30.0 of 5 points of sensitivity"


def test_what_a_report_quotes_acts_nowhere(converted: Converted, nasty: tuple[str, ...]) -> None:
    findings = tuple(GateFinding(check=text, runtime="litert", verdict="FAIL", message=text) for text in nasty)
    file = msgspec.structs.replace(converted.report.files[0], findings=findings)
    texts = "".join(nasty)
    report = msgspec.structs.replace(
        converted.report, files=(file,), default_file=file.name, licence=texts, intended_use=texts, not_checked=nasty
    )
    page = page_of(converted, report)
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page
    assert not re.search(ACTS, page)
    assert not re.search(ACTS, model_card(report, "").decode())
    cases = ElementTree.fromstring(junit_xml(report)).iter("testcase")
    assert [case.attrib["name"].split(" on litert")[0].split("\n")[0] for case in cases] == [
        visible(text).split("\n")[0] for text in nasty
    ]


def test_a_build_reads_a_failure_only_where_a_required_file_did_not_pass(converted: Converted) -> None:
    findings = (
        GateFinding("finite", "litert", "PASS", "all logits are numbers"),
        GateFinding("sensitivity", "litert", "INCONCLUSIVE", "too few \x1b[31m <images>"),
    )
    required, other, lenient = (
        msgspec.structs.replace(
            converted.report.files[0], name=name, required=needed, verdict="INCONCLUSIVE", allowed=allowed, findings=findings
        )
        for name, needed, allowed in (("a", True, False), ("b", False, False), ("c", True, True))
    )
    suites = ElementTree.fromstring(junit_xml(msgspec.structs.replace(converted.report, files=(required, other, lenient))))
    assert suites.tag == "testsuites"
    assert [suites.attrib[name] for name in ("tests", "failures", "skipped", "errors")] == ["6", "1", "2", "0"]
    by_name = {suite.attrib["name"]: suite for suite in suites}
    assert [case.attrib["name"] for case in by_name["a"]] == ["finite on litert", "sensitivity on litert"]
    failure = by_name["a"].find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "INCONCLUSIVE: too few \\x1b[31m <images>"
    assert [suite.attrib["failures"] for suite in suites] == ["1", "0", "0"]


def test_junit_has_a_case_for_each_check_of_each_file_on_each_runtime(converted: Converted) -> None:
    suites = ElementTree.fromstring(junit_xml(converted.report))
    assert suites.attrib["failures"] == "0"
    for file, suite in zip(converted.report.files, suites, strict=True):
        assert len(suite) == len(file.findings)
        for result in file.runtimes:
            assert f"sensitivity on {result.title}" in {case.attrib["name"] for case in suite}


def test_predictions_give_the_metrics_that_the_report_states(converted: Converted, tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_bytes(predictions_csv(converted.answers))
    test = read_predictions_csv(tmp_path / "predictions.csv").part("test")
    for file in converted.report.files:
        probabilities = test.probabilities(file.name)
        assert probabilities is not None
        assert file.test is not None
        accuracy = file.test.metrics["accuracy"]
        assert accuracy.n == len(test.truth)
        assert (probabilities.argmax(axis=1) == test.truth).mean() == pytest.approx(accuracy.value, abs=1e-6)


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


def test_a_latency_that_dwarfs_the_others_is_drawn_on_a_logarithmic_axis() -> None:
    def panel(*latencies_us: float) -> Panel:
        spread = (Latency(300, us, None, None, 5, 0.9 * us, 1.1 * us) for us in latencies_us)
        return _latency_panel({f"file {index}": latency for index, latency in enumerate(spread)})

    assert not panel(15, 37, 44).log
    slow = panel(15, 17, 37, 1247)
    assert slow.log
    svg = draw_panels(list(slow.marks), [slow])
    quickest, next_one, *_, slowest = (float(x) for x in re.findall(r'cx="([\d.]+)"', svg))
    assert next_one - quickest > 2  # px; on a linear axis from 0 they would lie on each other
    assert slowest - quickest < 260
    assert re.findall(r'text-anchor="middle">([^<]+)<', svg) == ["30", "100", "300", "1000"]


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
    assert {path.name for path in folder.iterdir()} == {"latency.json", "latency.html", "predictions.csv", "junit.xml"}
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_the_card_names_what_the_gate_was_asked_otherwise(converted: Converted) -> None:
    assert "The gate was not limiar's own" not in model_card(converted.report, "").decode()
    loose = msgspec.structs.replace(converted.report, gate=with_options(read_gate(), [], 0.2, None, False))
    assert "The gate was not limiar's own: noninferiority.margin = 0.2." in model_card(loose, "").decode()
    decides = msgspec.structs.replace(converted.report, gate=with_options(read_gate(), [], None, 0.95, False))
    assert "The gate was not limiar's own" not in model_card(decides, "").decode()


def test_a_bundle_that_replaces_another_has_no_measurements_of_it_beside_it(converted: Converted, tmp_path: Path) -> None:
    older = tmp_path / "out.measured"
    older.mkdir()
    (older / "predictions.csv").write_text("of another bundle")
    publish_bundle(tmp_path / "out", converted, release_counter=1, seed=0, card="")
    assert not older.exists()
