"""Both forms of the page in Firefox, whose engine is another: its start asks for the same tensors and the same integers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firefox import Firefox
from needed import needed
from phone_modules import served

FILES = ("01.png", "02.jpg", "04.webp", "06.tif", "07.bmp", "10.ppm")


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    with needed(Firefox()) as entered:
        yield entered


def answers(firefox: Firefox, address: str, project: Path) -> None:
    firefox.goes(address)
    firefox.until('document.querySelector("button.primary:enabled, [role=alert]")')
    assert firefox.value('document.querySelector("[role=alert]")?.innerText ?? null') is None
    firefox.chooses("#choose-images", [project / "models/lung-nodule/golden" / name for name in FILES])
    firefox.until(f'document.querySelectorAll("ol.stream li.row").length === {len(FILES)}')
    assert firefox.value('document.querySelectorAll("ol.stream .badge.refused").length') == 0
    assert firefox.faults == []


def test_a_folder_passes_its_checks_and_answers(firefox: Firefox, page_folder: Path, project: Path) -> None:
    with served(("/", page_folder)) as url:
        answers(firefox, f"{url}/", project)


def test_one_file_passes_its_checks_and_answers(firefox: Firefox, page_file: Path, project: Path) -> None:
    answers(firefox, page_file.as_uri(), project)
