"""The page of `limiar bench --html`."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from limiar.edge_app.bench.operators import Operator
from limiar.edge_app.bench.pipeline import STAGES
from limiar.edge_app.bench.plots import common_scale, distribution, ratio_plot, scale_words
from limiar.edge_app.bench.ratios import Ratio
from limiar.edge_app.bench.result import BenchResult, Measurement, OpenLoop, Skipped, Unread, Variant, VariantRatio
from limiar.edge_app.bench.roofline import Peak
from limiar.edge_app.bench.start import Start
from limiar.edge_app.bench.timing import latency
from limiar.edge_app.bench.work import Work
from limiar.edge_app.system.board import BoardSample
from limiar.edge_app.system.machine import Condition, Machine

pytest.importorskip("jinja2", reason="limiar[html] is not installed in this environment")
page = importlib.import_module("limiar.edge_app.bench.page").page
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
HOSTILE = """x"><script>alert(1)</script><img src='http://a/b'>&\u202e{{ 7 * 7 }}"""


def measured(file: str, us: float, calls: int, rng: np.random.Generator) -> Measurement:
    def found(scale: float) -> list[list[list[int]]]:
        taken = (us * scale * 1000 * np.exp(rng.gamma(1, 0.1, calls))).astype(int)
        return [[block.tolist() for block in half.reshape(-1, 20)] for half in np.split(taken, 2)]

    return Measurement(
        file=file,
        runtime="litert",
        version="2",
        threads=1,
        verified="no",
        bytes=30_000,
        invoke=latency(found(1), keep=True),
        whole=latency(found(4)),
        start=Start("2", 10, 200, 210, 80, 1, 70),
        stages={name: latency(found(1), keep=True) for name in STAGES},
        total=latency(found(6)),
        open_loop=OpenLoop(30, 40, 2, latency([[[round(us * 7000)] * 40]], keep=True)),
    )


def result(files: dict[str, float], calls: int = 80, **other: object) -> BenchResult:
    """files: the microseconds of each."""
    rng, condition = np.random.default_rng(1), Condition(0.1, "performance", 1500.0, 50.0, None)
    first, *others = [Variant(file, "litert", 1) for file in files]
    return BenchResult(
        **{  # type: ignore[arg-type]
            "app": "limiar",
            "time": "2026-11-27T12:00:00Z",
            "bundle": "0" * 64,
            "name": "lung",
            "version": "1",
            "seed": 0,
            "starts": 3,
            "inputs": 1,
            "image": "a sample",
            "machine": Machine("aarch64", 64, "Cortex-A72", 4, ("asimd",), None, 4096, "Debian", "6.1", "3.11"),
            "before": condition,
            "after": condition,
            "notes": (),
            "measurements": tuple(measured(file, us, calls, rng) for file, us in files.items()),
            "skipped": (),
            "processes": 2,
            "timeline": tuple(BoardSample(at_s=at, temperature_c=50.0 + at, others=0.1) for at in range(9)),
            "ratios": tuple(VariantRatio(one, first, Ratio(1.2, 1.1, 1.3), None) for one in others),
            **other,
        }
    )


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.met: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.append((tag, dict(attrs)))


def test_an_invalid_run_says_so_before_anything_else() -> None:
    text = page(result({"int8": 10}, valid=False, invalid=("the board slowed down at 3 s: cool it",))).decode()
    assert text.index('<h1 class="fail">INVALID</h1>') < text.index("the board slowed down at 3 s") < text.index("<h2")
    assert "INVALID" not in page(result({"int8": 10})).decode()


def test_a_percentile_that_the_calls_do_not_support_has_the_count_that_it_needs_in_its_place() -> None:
    text = page(result({"int8": 10}, calls=80)).decode()
    assert "<small>needs 662</small>" in text
    assert "<small>needs 64</small>" in text  # of the open loop, which has 40
    assert re.search(r"<small>1\d\.\d to 1\d\.\d</small>", text)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    text = page(result({"int8": 10, "fp32": 500})).decode()
    tags = Tags(text).met
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in tags}
    assert not [name for _, given in tags for name in given if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text


def test_every_plot_is_named_and_every_table_has_heads() -> None:
    tags = Tags(page(result({"int8": 10, "fp32": 500})).decode()).met
    drawn = [given for tag, given in tags if tag == "svg"]
    assert len(drawn) == 1 + 1 + 2 * 3 + 1  # ratios, stages, three distributions of two variants, time line
    assert all(given["role"] == "img" and given["aria-label"] for given in drawn)
    assert sum(tag == "table" for tag, _ in tags) == sum(tag == "thead" for tag, _ in tags)
    assert all(given.get("scope") in ("col", "row") for tag, given in tags if tag == "th")
    named = {given["id"] for _, given in tags if "id" in given}
    assert {given["aria-labelledby"] for _, given in tags if "aria-labelledby" in given} <= named


def test_what_others_wrote_is_text_on_the_page() -> None:
    hostile = result({HOSTILE: 10, "fp32": 500}).measurements[0]
    hostile = msgspec.structs.replace(hostile, stages={HOSTILE: hostile.invoke})
    text = page(
        result(
            {HOSTILE: 10, "fp32": 500},
            measurements=(hostile, *result({"fp32": 500}).measurements),
            name=HOSTILE,
            version=HOSTILE,
            image=HOSTILE,
            notes=(HOSTILE,),
            invalid=(HOSTILE,),
            valid=False,
            skipped=(Skipped(HOSTILE, HOSTILE, 1, HOSTILE),),
            unread=(Unread(HOSTILE, HOSTILE),),
        )
    ).decode()
    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "49" not in re.findall(r"&amp;\S{0,9}(\d\d)", text)
    assert "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;" in text


def test_a_page_of_twelve_variants_with_ten_thousand_calls_each_is_under_a_megabyte() -> None:
    assert len(page(result({f"file{number}": 10.0 + number for number in range(12)}, calls=10_000))) < 1_000_000


def test_the_axis_is_logarithmic_where_one_variant_dwarfs_the_rest_and_it_is_said_which() -> None:
    alike = {"a": np.linspace(10, 12, 100), "b": np.linspace(11, 20, 100)}
    scale = common_scale([*alike.values()])
    assert (scale.log, scale_words(alike, scale)) == (False, "")
    unlike = {**alike, "slow": np.linspace(1000, 1200, 100)}
    scale = common_scale([*unlike.values()])
    assert scale.log
    assert scale_words(unlike, scale) == "The axis is logarithmic, since slow took over 5 times as long as a."


def test_calls_that_all_took_the_same_time_can_be_drawn() -> None:
    calls = np.full(100, 10.0)
    found = latency([[[10_000] * 100]])
    assert "NaN" not in distribution("x", "same", calls, found, common_scale([calls]), None)
    assert ratio_plot("x", {}) == ""
    assert "reference" in ratio_plot("x", {"same": Ratio(1.0, 1.0, 1.0)})


def test_what_profile_found_is_on_the_page() -> None:
    operator = Operator("<b>CONV_2D", (1, 8), 1000, 9.5, True, "XNNPACK")
    work = Work(51_506, 3_340_000, 26_500, "int8", 332.0, 0.65)
    peaks = (Peak("int8", "litert", 1, 513.0),)
    found = result({"int8": 10}, peaks=peaks)
    (one,) = found.measurements
    profiled = msgspec.structs.replace(one, work=work, operators=(operator,))
    made = page(msgspec.structs.replace(found, measurements=(profiled,))).decode()
    assert '<h2 id="work">' in made
    assert "int8 on litert, 1 thread, 513 GMAC/s" in made
    assert '<td class="number">65%</td>' in made
    assert "&lt;b&gt;CONV_2D" in made


def test_the_command_writes_the_page_beside_the_json(quick_bench: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.html"
    words = ["--count", "40", "--file", "tflite_int8", "--threads", "1,2", "--json", "-"]
    done = quick_bench(tiny_path, *words, "--html", file)
    assert done.returncode == 0, done.stderr
    assert page(msgspec.json.decode(done.stdout, type=BenchResult)) == file.read_bytes()


def test_a_place_for_the_page_that_cannot_be_written_is_said_before_anything_is_measured(
    limiar: Limiar, tiny_path: Path, tmp_path: Path
) -> None:
    done = limiar("bench", tiny_path, "--html", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-OUTPUT-WRITE: ")


def test_the_json_and_the_page_cannot_be_one_file(limiar: Limiar, tiny_path: Path, tmp_path: Path) -> None:
    done = limiar("bench", tiny_path, "--json", tmp_path / "one", "--html", tmp_path / "one")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"This is the file for --json." in done.stderr


def test_without_jinja_the_line_that_installs_it_is_said_before_anything_is_measured(tiny_path: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['jinja2'] = None; from limiar.edge_app.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "bench", str(tiny_path), "--html", str(tmp_path / "bench.html")]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"E-INSTALL-MISSING: --html needs jinja2, which is not installed: pip install 'limiar[html]'\n"
