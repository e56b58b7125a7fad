"""The built page, whole: its camera answers and keeps, and a new version is taken when a person says so."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect

import limiar
from limiar.edge_app.image.read import decode
from phone_modules import served
from y4m import write_y4m

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers

ENLARGED = 8  # times: a patch as a camera sees it
FRAMES = 30
LOADS_MS = 120_000  # the model loads and its golden images are answered, on a busy machine


def patch_with_noise(patch: np.ndarray) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    large = np.kron(patch, np.ones((ENLARGED, ENLARGED, 1)))
    for _ in range(FRAMES):
        yield (large + rng.integers(-2, 3, large.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def browser_flags(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A camera that looks at a golden image."""
    film = tmp_path_factory.mktemp("camera") / "film.y4m"
    write_y4m(film, patch_with_noise(decode((project / "models/lung-nodule/golden/01.png").read_bytes()).pixels()[:40, :40]))
    return ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")


def test_the_camera_s_frames_are_answered_and_the_line_says_that_the_browser_decoded_them(
    browsers: "Browsers", page_folder: Path
) -> None:
    with served(("/", page_folder)) as url, browsers.person(f"{url}/", permissions=["camera"]) as person:
        person.goes("#/camera")
        person.page.locator(".dock button.primary:enabled").click(timeout=LOADS_MS)
        expect(person.page.locator(".live .dots .agrees")).to_have_count(5, timeout=LOADS_MS)
        person.page.locator(".dock button.primary").click()
        person.goes("#/")
        person.page.get_by_role("button", name="Export").first.click()
        with person.page.expect_download() as download:
            person.page.get_by_role("dialog").get_by_role("button", name="Download").first.click()
        lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
        assert person.faults == []
    assert lines
    assert {line["source"] for line in lines} == {"browser-camera:0"}  # Chromium does not say which way it looks
    assert all(line["agreeing"] >= 3 and "sha256" not in line and line["sequence"] > 0 for line in lines)


def test_a_new_bundle_is_offered_and_answers_once_it_is_taken(browsers: "Browsers", project: Path, tmp_path: Path) -> None:
    reference = project / "models" / "lung-nodule"
    limiar.phone(reference, tmp_path / "page", file="tflite_int8")
    with served(("/", tmp_path / "page")) as url, browsers.person(f"{url}/") as person:
        person.goes("")
        person.page.locator("button.primary:enabled").first.wait_for(timeout=LOADS_MS)
        person.page.evaluate("() => navigator.serviceWorker.ready.then(() => null)")
        shutil.rmtree(tmp_path / "page")
        limiar.phone(reference, tmp_path / "page", file="tflite_fp32")
        person.page.reload()  # still the kept one, which is whole
        person.page.locator("button.primary:enabled").first.wait_for(timeout=LOADS_MS)
        offer = person.page.locator(".notices .row-of-buttons")
        expect(offer).to_contain_text("A new version is ready", timeout=LOADS_MS)
        person.page.set_input_files("#choose-images", reference / "golden" / "01.png")
        expect(person.page.locator("ol.stream li.row")).to_have_count(1, timeout=LOADS_MS)
        offer.get_by_role("button").click()
        expect(person.page.locator(".notices .row-of-buttons")).to_have_count(0, timeout=LOADS_MS)
        person.page.locator("button.primary:enabled").first.wait_for(timeout=LOADS_MS)
        person.page.set_input_files("#choose-images", reference / "golden" / "01.png")
        expect(person.page.locator("ol.stream li.row")).to_have_count(2, timeout=LOADS_MS)  # the file is another
        person.page.locator("ol.stream li.row a").first.click()
        expect(person.page.get_by_text("tflite_fp32").first).to_be_visible()
        assert person.faults == []
