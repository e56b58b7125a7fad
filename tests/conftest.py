"""Fixtures for every test. Needs nothing but pytest: tests/edge_app also runs where only a device's packages are."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="Write what was found as what is expected; read the diff.")


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def lung() -> Path:
    """The folder of real CT patches, `lung` in LIMIAR_DATA or else in ../shared/data; it is not part of the project."""
    folder = Path(os.environ.get("LIMIAR_DATA", PROJECT.parent / "shared" / "data")) / "lung"
    if not folder.is_dir():
        if os.environ.get("LIMIAR_REQUIRE_DATA") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_DATA=1, but there is no {folder}: set LIMIAR_DATA to the folder that has lung/")
        pytest.skip(f"needs the CT patches, and there is no {folder}: set LIMIAR_DATA to the folder that has lung/")
    return folder
