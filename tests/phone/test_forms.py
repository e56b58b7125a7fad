"""Both forms of the page, as a browser opens them: they answer, ask nobody, and refuse where a part of them is another."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner
from playwright.sync_api import expect

from limiar.edge_app.bundle.manifest import DicomSpec, TileSpec
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.cli import limiar
from limiar.edge_app.errors import BundleError, OutputError
from limiar.edge_app.phone.build import build
from limiar.edge_app.phone.phone import phone
from phone_modules import served

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers, Person

READY = "button.primary:enabled"
PATIENCE_S = 120
GOLDEN = ("00.png", "02.jpg", "04.webp", "06.tif", "07.bmp", "10.ppm", "11.pgm")
# Of what the policy stops, also where the console says nothing.
WATCH = 'addEventListener("securitypolicyviolation", event => console.error(`stopped: ${event.violatedDirective}`))'


@pytest.fixture
def bundle(project: Path) -> Path:
    return project / "models/lung-nodule"


def answers(person: "Person", address: str, bundle: Path) -> list[str]:
    """Opens the page, answers files of every format, and returns what it asked for, by address."""
    asked: list[str] = []
    person.page.context.on("request", lambda request: asked.append(request.url))
    person.page.add_init_script(WATCH)
    person.page.goto(address)
    person.page.wait_for_selector(READY)
    person.page.set_input_files("#choose-images", [bundle / "golden" / name for name in GOLDEN])
    person.page.locator("ol.stream li.row").nth(len(GOLDEN) - 1).wait_for()
    assert person.page.locator("ol.stream .badge.refused").count() == 0
    return asked


def test_a_folder_answers_every_format_and_asks_its_own_server_alone(
    browsers: "Browsers", page_folder: Path, bundle: Path
) -> None:
    with served(("/", page_folder)) as url, browsers.person(url) as person:
        asked = answers(person, f"{url}/index.html", bundle)
        assert person.faults == []
    assert len(asked) > 10
    # Small pictures are blobs of the page itself.
    assert [address for address in asked if not address.removeprefix("blob:").startswith(f"{url}/")] == []


def test_one_file_answers_every_format_from_the_disk_and_asks_nobody(
    browsers: "Browsers", page_file: Path, bundle: Path
) -> None:
    address = page_file.as_uri()
    with browsers.person(address) as person:
        asked = answers(person, address, bundle)
        # Its worker comes from its own text, which is no origin: that Playwright tells as a request.
        assert [fault for fault in person.faults if "blob:null/" not in fault] == []
    assert [other for other in asked if other != address and not other.startswith(("blob:null/", "data:"))] == []


def test_a_folder_that_is_opened_from_a_disk_says_that_it_must_be_served(browsers: "Browsers", page_folder: Path) -> None:
    with browsers.person((page_folder / "index.html").as_uri()) as person:
        person.goes("")
        expect(person.page.get_by_text("serve it, or use one file")).to_be_visible()
    with served(("/", page_folder)) as url, browsers.person(f"{url}/") as person:
        person.goes("")
        expect(person.page.get_by_text("serve it, or use one file")).to_be_hidden()


def test_the_policies_let_a_page_take_its_own_parts_alone(page_folder: Path, page_file: Path) -> None:
    folder, file = policy(page_folder / "index.html"), policy(page_file)
    for stated in (folder, file):
        assert (stated["default-src"], stated["base-uri"], stated["form-action"]) == ("'none'", "'none'", "'none'")
        assert "unsafe-inline" not in str(stated)
        assert "'unsafe-eval'" not in str(stated)
    assert folder["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert folder["connect-src"] == "'self'"
    assert (folder["worker-src"], file["worker-src"]) == ("'self' blob:", "blob:")
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}=' 'wasm-unsafe-eval'", file["script-src"])
    assert file.get("connect-src", "'none'") == "'none'"


def policy(page: Path) -> dict[str, str]:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page.read_text())
    assert found
    directives = [directive.strip().partition(" ") for directive in found[1].split(";")]
    return {name: value for name, _, value in directives}


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("page.json", "E-PHONE-CHECK"),
        ("words.json", "E-PHONE-CHECK"),
        ("worker.js", "E-PHONE-CHECK"),
        ("vendor/litert.wasm.gz", "E-PHONE-CHECK"),
        ("vendor/jpeg.wasm.gz", "E-PHONE-CHECK"),
        ("bundle/manifest.json", "E-BUNDLE-HASH"),
        ("bundle/tflite_int8.tflite", "E-BUNDLE-HASH"),
        ("bundle/golden/00.png", "E-BUNDLE-HASH"),
        ("bundle/golden/golden.json", "E-BUNDLE-HASH"),
    ],
)
def test_a_page_with_one_bit_of_another_answers_nothing(
    browsers: "Browsers", page_folder: Path, tmp_path: Path, name: str, code: str
) -> None:
    folder = shutil.copytree(page_folder, tmp_path / "page")
    flipped(folder / name)
    with served(("/", folder)) as url, browsers.person(url) as person:
        person.page.goto(f"{url}/index.html")
        alert = person.page.get_by_role("alert")
        alert.wait_for()
        assert code in (alert.text_content() or "")
        assert person.page.locator(READY).count() == 0


@pytest.mark.parametrize("name", ["app.js", "app.css"])
def test_the_browser_itself_refuses_another_script_or_style(
    browsers: "Browsers", page_folder: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(page_folder, tmp_path / "page")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with served(("/", folder)) as url, browsers.person(url) as person:
        person.page.goto(f"{url}/index.html")
        end_s = time.monotonic() + PATIENCE_S
        while not any("integrity" in fault for fault in person.faults):  # the console comes when it comes
            assert time.monotonic() < end_s, person.faults
            person.page.wait_for_timeout(50)


def test_an_altered_file_is_refused_too(browsers: "Browsers", page_file: Path, tmp_path: Path) -> None:
    text = page_file.read_text()
    at = text.index('data-part="bundle/tflite_int8.tflite"')
    at = text.index(">", at) + 1000
    altered = tmp_path / "altered.html"
    altered.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    with browsers.person(altered.as_uri()) as person:
        person.page.goto(altered.as_uri())
        alert = person.page.get_by_role("alert")
        alert.wait_for()
        assert re.search("E-PHONE-CHECK|E-BUNDLE-HASH", alert.text_content() or "")
        assert person.page.locator(READY).count() == 0


def test_the_same_bundle_makes_the_same_bytes(page_folder: Path, page_file: Path, bundle: Path, tmp_path: Path) -> None:
    phone(bundle, tmp_path / "again")
    phone(bundle, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page_file.read_bytes()
    files = {path.relative_to(page_folder): path.read_bytes() for path in page_folder.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "again"): path for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in again.items()} == files


@pytest.mark.parametrize("name", ["page", "page.html", "page.HTM"])
def test_a_page_is_replaced_and_anything_else_is_left_alone(bundle: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    phone(bundle, out)
    phone(bundle, out, file="tflite_fp32")
    assert out.is_dir() == (name == "page")
    text = out.read_text() if out.is_file() else (out / "page.json").read_text()
    if out.is_dir():
        assert json.loads(text)["file"] == "tflite_fp32"
    other = tmp_path / f"other-{name}"
    if out.is_dir():
        other.mkdir()
        (other / "thesis.txt").write_text("mine")
    else:
        other.write_text("mine")
    with pytest.raises(OutputError) as refused:
        phone(bundle, other)
    assert refused.value.code == "E-PHONE-OUT"
    assert (other.read_text() if other.is_file() else (other / "thesis.txt").read_text()) == "mine"


@pytest.mark.parametrize(
    "changed",
    [
        lambda manifest: {"input": msgspec.structs.replace(manifest.input, dicom=DicomSpec())},
        lambda manifest: {"tiles": TileSpec(40, 20, "pos")},
    ],
)
def test_a_bundle_that_a_phone_would_answer_otherwise_is_refused(bundle: Path, changed: Callable) -> None:
    opened = open_bundle(bundle)
    manifest = msgspec.structs.replace(opened.manifest, **changed(opened.manifest))
    with pytest.raises(BundleError) as refused:
        build(Bundle(bundle, manifest, opened.sha256))
    assert refused.value.code == "E-PHONE-BUNDLE"


def test_the_command_says_what_it_wrote_and_an_onnx_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(limiar, ["phone", str(bundle), "--out", str(out), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["bytes"] == out.stat().st_size
    with pytest.raises(BundleError) as refused:
        phone(bundle, out, file="onnx_int8")
    assert refused.value.code == "E-PHONE-FILE"
