"""The page as it is built: it answers as `limiar scan` does, and answers nothing once a byte of it differs."""

import base64
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from playwright.sync_api import Error

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import GOLDEN, MANIFEST, SIGNATURE, BundleFile, manifest_json
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half, sign
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode
from limiar.edge_app.inference.classifier import load
from limiar.edge_app.inference.session import Session
from limiar.edge_app.output.lines import Line, Origin, answered, image_fields, refused
from limiar.edge_app.phone.phone import phone
from phone_modules import PHONE, Modules, served

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers, Person

ORIGIN = Origin("", "", "", "", "")
APART = {"ms": None, "time": "", "runtime": "", "verified": "", "app": ""}  # of a phone's line
STARTED = r"""async ({ name, keys }) => {
  const { openWork } = await import("/web/work.js");
  const pageText = await (await fetch(`/${name}/page.json`)).text();
  const startWorker = async () => new Worker(`/${name}/worker.js`);
  const read = async part => [part, new Uint8Array(await (await fetch(`/${name}/${part}`)).arrayBuffer())];
  const given = Object.keys(JSON.parse(pageText).parts).filter(part => /^(bundle|vendor)\//.test(part));
  const workerParts = async () => Object.fromEntries(await Promise.all(given.map(read)));
  globalThis.work = openWork({ pageText, workerParts, startWorker });
  return globalThis.work.start();
}"""
ANSWERED = """async ({ name, base64, map }) => {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  const found = await globalThis.work.answer(bytes, name, map);
  return { ...found, picture: found.picture && { ...found.picture, pixels: found.picture.pixels.length },
           heat: found.heat && { ...found.heat, pixels: found.heat.pixels.length } };
}"""
FRAME = """async ({ base64, width, height, about }) => {
  const rgba = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  return globalThis.work.frame(rgba, width, height, about);
}"""


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def made() -> dict[str, bytes]:
    """Pictures that are answered, referred and refused, by name."""
    rng = np.random.default_rng(7)
    noisy = png(rng.integers(0, 256, (90, 70)))
    return {
        "noisy.png": noisy,
        "trailing.png": noisy + bytes(512),
        "colourful.png": png(rng.integers(0, 256, (50, 60, 3))),
        "large.png": png(np.tile(np.arange(1200) % 256, (900, 1))),
        "dark.png": png(np.full((60, 60), 3)),
        "black.png": png(np.where(np.arange(3600).reshape(60, 60) == 7, 255, 0)),
        "white.png": png(np.where(np.arange(3600).reshape(60, 60) == 7, 0, 255)),
        "thin.png": png(rng.integers(0, 256, (3, 90))),
        "cut.png": noisy[:-40],
        "text.png": b"not a picture",
        "empty.png": b"",
        "wrong.jpg": noisy,
        "names/área é.png": noisy,
    }


class Python:
    """The same bundle in `edge_app`."""

    def __init__(self, path: Path) -> None:
        self.bundle = open_bundle(path)
        self.session = Session(self.bundle)
        self.classifier = load(self.session.model)
        self.origin = Origin(self.bundle.sha256, self.session.file.name, "", "", "")

    def line(self, name: str, data: bytes) -> Line:
        """As `limiar scan` has it, without what only a device knows."""
        about = image_fields(name.encode(), hashlib.sha256(data).digest())
        try:
            found = self.classifier.answer(decode(data, name, self.session.manifest.input))
        except ImageError as error:
            return refused(self.origin, error.code, error.message, "", **about)
        return msgspec.structs.replace(answered(self.origin, found, found.decision, **about), **APART)


@pytest.fixture(scope="module")
def python(project: Path) -> Python:
    return Python(project / "models" / "lung-nodule")


class Started:
    """A tab in which the worker of a page has started."""

    def __init__(self, person: "Person", url: str, name: str = "page") -> None:
        self.page = Modules(person.page, url).page
        self.told: dict[str, Any] = self.page.evaluate(STARTED, {"name": name})

    def answer(self, name: str, data: bytes, map: bool = False) -> dict[str, Any]:
        """{line, picture, heat}, with the number of bytes for pixels."""
        given = {"name": name, "base64": base64.b64encode(data).decode(), "map": map}
        found: dict[str, Any] = self.page.evaluate(ANSWERED, given)
        return found

    def line(self, name: str, data: bytes) -> Line:
        return msgspec.convert(self.answer(name, data)["line"], Line)


@pytest.fixture(scope="module")
def started(browsers: "Browsers", page_folder: Path) -> Iterator[Started]:
    with served(("/web/", PHONE / "web"), ("/page/", page_folder)) as url, browsers.person(url) as person:
        yield Started(person, url)
        assert person.faults == []


def test_the_start_says_what_runs_and_how_it_was_proven(started: Started, python: Python) -> None:
    told, manifest = started.told, python.session.manifest
    assert (told["name"], told["version"], told["labels"]) == (manifest.name, manifest.version, list(manifest.labels))
    assert (told["bundle"], told["file"]) == (python.bundle.sha256, manifest.default_file)
    assert (told["golden"], told["signature"], told["hasMap"]) == (72, "not signed", True)
    assert (told["verified"], told["app"]) == ("device", f"{APP} phone")
    assert told["runtime"].startswith("litert-wasm ")
    assert told["referBelow"] == python.session.file.decision.refer_below
    assert told["ms"]["all"] == pytest.approx(told["ms"]["files"] + told["ms"]["load"] + told["ms"]["golden"])


def same(here: Line, there: Line) -> None:
    """A phone's line says what a scan's says."""
    assert here.verified == "device"
    assert here.app == f"{APP} phone"
    assert (here.ms is None) == here.refused
    shares, others = ((line.probabilities or {}) for line in (here, there))
    assert list(shares) == list(others)
    assert list(shares.values()) == pytest.approx(list(others.values()), rel=1e-15)  # exp is within one unit in the last place
    alike = {**APART, "probabilities": there.probabilities, "confidence": there.confidence}
    assert msgspec.structs.replace(here, **alike) == msgspec.structs.replace(there, **APART)


def test_a_phone_s_lines_are_a_scan_s(started: Started, python: Python) -> None:
    seen = set()
    for name, data in made().items():
        here = started.line(name, data)
        same(here, python.line(name, data))
        seen.add(here.code or here.decision)
    assert {"refer", "E-IMAGE-BLACK", "E-IMAGE-SATURATED", "E-IMAGE-UNIFORM", "E-IMAGE-THIN", "E-IMAGE-TRUNCATED"} <= seen


def test_of_every_golden_image_the_line_is_a_scan_s(started: Started, python: Python) -> None:
    golden = [file.path for file in python.session.manifest.files if file.path.startswith("golden/")]
    decisions = set()
    for path in golden:
        here = started.line(path, python.bundle.read(path))
        same(here, python.line(path, python.bundle.read(path)))
        decisions.add(here.decision)
    assert {"neg", "pos", "refer", "refused"} <= decisions


def test_keys_are_in_a_line_s_order(started: Started) -> None:
    fields = list(Line.__struct_fields__)
    for name in ("noisy.png", "trailing.png", "cut.png"):
        keys = list(started.answer(name, made()[name])["line"])
        assert keys == sorted(keys, key=fields.index)


def test_a_picture_comes_small_and_with_its_map_if_that_is_asked_for(started: Started) -> None:
    large = started.answer("large.png", made()["large.png"], map=True)
    assert large["picture"] == {"width": 400, "height": 300, "channels": 3, "pixels": 400 * 300 * 3}
    assert (large["heat"]["width"], large["heat"]["height"], large["heat"]["pixels"]) == (400, 300, 400 * 300 * 3)
    assert large["heat"]["low"] < large["heat"]["high"]
    small = started.answer("noisy.png", made()["noisy.png"])
    assert small["picture"] == {"width": 70, "height": 90, "channels": 1, "pixels": 70 * 90}
    assert small.get("heat") is None
    assert started.answer("cut.png", made()["cut.png"], map=True).get("picture") is None


def test_a_camera_s_frame_is_answered_as_its_pixels_in_a_file(started: Started, python: Python) -> None:
    rgb = np.random.default_rng(8).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    rgba = np.concatenate([rgb, np.full((48, 64, 1), 255, np.uint8)], axis=2)
    about = {"source": "browser-camera:rear", "sequence": 9, "taken": "2026-11-28T00:00:00.000Z", "dropped": 0}
    given = {"base64": base64.b64encode(rgba.tobytes()).decode(), "width": 64, "height": 48, "about": about}
    here = msgspec.convert(started.page.evaluate(FRAME, given)["line"], Line)
    there = python.line("frame.png", png(rgb))
    assert (here.source, here.sequence, here.taken, here.dropped) == tuple(about.values())
    assert (here.path, here.sha256) == (None, msgspec.UNSET)
    same(msgspec.structs.replace(here, source=None, sequence=None, taken=None, dropped=None), with_file(there))


def with_file(line: Line) -> Line:
    """Without the fields of a file."""
    return msgspec.structs.replace(line, path=None, sha256=msgspec.UNSET)


def flipped(data: bytes) -> bytes:
    """With one bit turned, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def refusal(browsers: "Browsers", folder: Path) -> str:
    """What a person is told who opens the page: the whole text, once it has stopped to work on it."""
    with served(("/", folder)) as url, browsers.person(f"{url}/") as person:
        person.goes("index.html")
        person.page.wait_for_selector(".notice.bad")
        return str(person.page.text_content("body"))  # its own words are in a fold


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("bundle/tflite_int8.tflite", "E-BUNDLE-HASH"),
        ("bundle/golden/00.png", "E-BUNDLE-HASH"),
        ("bundle/golden/golden.json", "E-BUNDLE-HASH"),
        ("bundle/manifest.json", "E-BUNDLE-HASH"),
        ("page.json", "E-PHONE-CHECK"),
        ("worker.js", "E-PHONE-CHECK"),
        ("vendor/litert.wasm.gz", "E-PHONE-CHECK"),
        ("vendor/webp.wasm.gz", "E-PHONE-CHECK"),
    ],
)
def test_a_flipped_byte_and_the_page_answers_nothing(
    browsers: "Browsers", page_folder: Path, tmp_path: Path, part: str, code: str
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (folder / part).write_bytes(flipped((folder / part).read_bytes()))
    said = refusal(browsers, folder)
    assert code in said
    assert part.removesuffix(".gz") in said or part.rpartition("/")[2] in said


def changed_bundle(source: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a bundle whose golden.json says something else, and whose manifest says so."""
    shutil.copytree(source, out)
    golden = json.loads((out / GOLDEN).read_bytes())
    change(golden)
    data = json.dumps(golden).encode()
    (out / GOLDEN).write_bytes(data)
    manifest = open_bundle(source).manifest
    new = BundleFile(GOLDEN, len(data), hashlib.sha256(data).hexdigest())
    files = tuple(new if file.path == GOLDEN else file for file in manifest.files)
    (out / MANIFEST).write_bytes(manifest_json(msgspec.structs.replace(manifest, files=files)))
    return out


def other_tensor(golden: dict[str, Any]) -> None:
    golden["images"][3]["tensor_sha256"] = "0" * 64


def other_logit(golden: dict[str, Any]) -> None:
    golden["logits"]["tflite_int8"][5][0] += 0.125


def other_decision(golden: dict[str, Any]) -> None:
    rows = golden["logits"]["tflite_int8"]
    rows[:] = [row[::-1] for row in rows]


def no_row(golden: dict[str, Any]) -> None:
    del golden["logits"]["tflite_int8"][-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_tensor, ["E-PHONE-CHECK", "1 model inputs differ, golden/03.png first"]),
        (other_logit, ["E-PHONE-CHECK", "logits differ by 0.125, outside the tolerance of 0"]),
        (other_decision, ["E-PHONE-CHECK", "decisions differ, golden/"]),
        (no_row, ["E-BUNDLE-GOLDEN", "no logits for every image of tflite_int8"]),
    ],
    ids=["tensor", "logit", "decision", "row"],
)
def test_golden_images_that_do_not_pass_and_the_page_answers_nothing(
    browsers: "Browsers", project: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: list[str]
) -> None:
    phone(changed_bundle(project / "models" / "lung-nodule", tmp_path / "bundle", change), tmp_path / "page")
    told = refusal(browsers, tmp_path / "page")
    assert [text for text in said if text not in told] == []


def test_a_signed_bundle_says_who_signed_it_and_another_key_refuses_it(
    browsers: "Browsers", project: Path, tmp_path: Path
) -> None:
    bundle, page, other = tmp_path / "bundle", tmp_path / "page", tmp_path / "other"
    shutil.copytree(project / "models" / "lung-nodule", bundle)
    key, foreign = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
    (bundle / SIGNATURE).write_bytes(sign((bundle / MANIFEST).read_bytes(), key))
    phone(bundle, page, keys=Keys((public_half(key),)))
    shutil.copytree(page, other)
    listing = json.loads((page / "page.json").read_bytes())
    (other / "page.json").write_text(json.dumps({**listing, "keys": [public_half(foreign).raw.hex()]}))
    with (
        served(("/web/", PHONE / "web"), ("/page/", page), ("/other/", other)) as url,
        browsers.person(url) as person,
    ):
        assert Started(person, url).told["signature"] == f"signed by {public_half(key).fingerprint[:12]}"
        with pytest.raises(Error, match=f"no trusted key \\({public_half(foreign).fingerprint[:12]}\\) has signed"):
            Started(person, url, "other")
