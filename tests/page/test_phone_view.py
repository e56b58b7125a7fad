"""The page for phones at /phone: the bundle that answers here, where a browser can take it."""

import subprocess
import sys
from pathlib import Path

import pytest

from pages import until


@pytest.mark.parametrize(
    ("language", "said"), [("en", "this page is served over http"), ("pt", "esta página é servida por http")]
)
def test_over_plain_http_from_elsewhere_it_says_why_there_is_none(client, language: str, said: str) -> None:
    with client() as browser:
        asked = {"Accept-Language": language, "Host": "192.168.1.5:8460"}
        page = browser.get("/phone/", headers=asked)
        assert browser.get("/phone/app.js", headers=asked).status_code == 404
    assert page.status_code == 200
    assert said in page.text
    assert "limiar page --certificate" in page.text


def test_without_a_bundle_that_answers_it_says_so(client) -> None:
    with client() as browser:
        page = browser.get("/phone/", headers={"Host": "localhost:8460"})
    assert page.status_code == 200
    assert "this page is served over http" not in page.text
    assert "limiar-page" not in page.text


def test_the_page_of_the_bundle_is_made_answers_and_has_a_policy_of_its_own(people, device, project: Path) -> None:
    golden = project / "models/lung-nodule/golden"
    with people(device.url, refused=(404,)) as person:
        person.goes("/")
        person.page.get_by_role("link", name="Phone").click()
        person.page.wait_for_selector("button.primary:enabled")  # it is made first, and opens by itself
        person.page.set_input_files("#choose-images", [golden / "02.jpg", golden / "04.webp"])
        person.page.locator("ol.stream li.row").nth(1).wait_for()
        shown = person.page.context.request.get(f"{device.url}phone/")
        assert "'wasm-unsafe-eval'" in shown.headers["content-security-policy"]
        assert "wasm" not in person.page.context.request.get(device.url).headers["content-security-policy"]


def test_a_page_that_is_being_made_ends_with_the_process_that_wants_it(project: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys, threading, time; from limiar.edge_app.page import phone_pages\n"
        "threading.Thread(target=phone_pages._run, args=('phone', sys.argv[1], '--out', sys.argv[2]), daemon=True).start()\n"
        "made = f'/proc/{os.getpid()}/task'\n"
        "while not (found := [pid for task in os.listdir(made) for pid in open(f'{made}/{task}/children').read().split()]):\n"
        "    time.sleep(0.01)\n"
        "print(found[0], flush=True); time.sleep(0.1); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, project / "models/lung-nodule", tmp_path / "out"], stdout=subprocess.PIPE, timeout=60
    )
    until(lambda: not Path(f"/proc/{int(done.stdout)}/exe").exists())
    assert not (tmp_path / "out/index.html").exists()  # which it makes if nothing ends it before
