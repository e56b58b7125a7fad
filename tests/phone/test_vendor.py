"""What the phone's page has of others: the bytes of npm's packages, and their licences."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a device has no Playwright
    from browsers import Browsers


@pytest.fixture
def folder(project: Path, tmp_path: Path) -> Path:
    """A copy of the vendored files."""
    return Path(shutil.copytree(project / "edge_app/phone/vendor", tmp_path / "vendor"))


def checked(project: Path, folder: Path) -> str:
    """What scripts/vendor_phone says of a folder: "" if nothing is wrong."""
    command = [sys.executable, str(project / "scripts/vendor_phone"), "--check", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True).stderr.strip()


def test_the_vendored_files_are_those_of_vendor_json_and_have_their_licences(project: Path, folder: Path) -> None:
    assert checked(project, folder) == ""


def test_another_byte_another_file_and_a_licence_that_is_missing_are_found(project: Path, folder: Path) -> None:
    script = folder / "litert.js"
    data = script.read_bytes()
    script.write_bytes(data[:-1] + b" ")
    assert "litert.js is not the file of vendor.json" in checked(project, folder)
    script.write_bytes(data)
    (folder / "more.js").touch()
    assert "not of any package: ['more.js']" in checked(project, folder)
    (folder / "more.js").unlink()
    (folder / "LICENSES/jpeg.txt").unlink()
    assert "missing: ['LICENSES/jpeg.txt']" in checked(project, folder)


def test_a_version_that_the_script_does_not_name_is_found(project: Path, folder: Path) -> None:
    listing = folder / "vendor.json"
    listing.write_text(listing.read_text().replace("2.5.3", "2.5.2"))
    assert "vendor.json is not of this script's packages" in checked(project, folder)


def test_the_licences_go_with_the_page_and_can_be_read_there(
    project: Path, page_folder: Path, page_file: Path, browsers: "Browsers"
) -> None:
    texts = [path.read_text() for path in (project / "edge_app/phone/vendor/LICENSES").iterdir()]
    assert len(texts) == 4
    assert all(text in (page_folder / "LICENSES.txt").read_text() for text in texts)
    with browsers.person(page_file.as_uri()) as person:
        person.goes("")
        person.page.wait_for_selector("button.primary:enabled")  # the view is drawn again once the page has started
        person.page.goto(f"{page_file.as_uri()}#/settings")
        person.page.click("summary:has-text('Licences')")
        shown = person.page.locator("details pre")
        shown.filter(has_text="Independent JPEG Group").wait_for()
        assert "XNNPACK" in (shown.text_content() or "")
