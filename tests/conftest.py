"""Fixtures for every test. Needs only pytest and hypothesis: tests/edge_app also runs with a device's packages alone."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
settings.load_profile("busy")

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="Write what was found as what is expected; read the diff.")
    parser.addoption("--quick", action="store_true", help="Leave out the tests that tests/long.txt lists.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--quick: each test that took long in the last whole run is left out, with all of its parameters."""
    if config.getoption("quick"):
        long = set((PROJECT / "tests/long.txt").read_text().splitlines())
        left_out = [item for item in items if item.nodeid.partition("[")[0] in long]
        items[:] = [item for item in items if item.nodeid.partition("[")[0] not in long]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


NASTY = (
    "z $^$",  # matplotlib's mathematics
    r"\$\frac{",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\uff1d1+1",  # a wide =
    " =1+1",
    "a;=1+1",
    "a; @SUM(A1)",
    "\t=1+1",
    "a\r=1+1",
    "a\n=1+1",
    "a\r\n=1+1",
    'a"=1+1,"b',
    "'",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",  # C1
    "\x85next line",
    "\x7f\b\b",
    "\u202egnp.exe",  # written from right to left
    "\u2066a\u2069",
    "\u2028line",
    "\udcff",  # the byte 0xFF in a file's name
    "\ud800",  # of no file's name
    "\ufffe",
    "<script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "&amp;",
    "{{ 7 * 7 }}",
    "%s%n",
    "]]>",
    "\u0646\u06cc\u0645\u200c\u0641",  # Persian, with a joiner that belongs there
    "\u65e5\u672c\u8a9e",
    "a" * 200,
)


@pytest.fixture(scope="session")
def nasty() -> tuple[str, ...]:
    """Texts that act instead of being shown, wherever code forgets to escape them."""
    return NASTY


@pytest.fixture(scope="session")
def nasty_names() -> tuple[bytes, ...]:
    """Those of them that a file can be called."""
    return tuple(
        os.fsencode(text) for text in NASTY if not {"\0", "/"} & set(text) and not any("\ud800" <= c < "\udc80" for c in text)
    )


@pytest.fixture(scope="session")
def lung() -> Path:
    """The folder of real CT patches, `lung` in LIMIAR_DATA or in ../shared/data; it is not part of the project."""
    folder = Path(os.environ.get("LIMIAR_DATA", PROJECT.parent / "shared" / "data")) / "lung"
    if not folder.is_dir():
        if os.environ.get("LIMIAR_REQUIRE_DATA") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_DATA=1, but there is no {folder}: set LIMIAR_DATA to the folder that has lung/")
        pytest.skip(f"needs the CT patches, and there is no {folder}: set LIMIAR_DATA to the folder that has lung/")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs that once went wrong, `cases` in LIMIAR_DATA's place or in ../shared; not part of the project either."""
    folder = Path(os.environ.get("LIMIAR_DATA", PROJECT.parent / "shared" / "data")).parent / "cases"
    if not folder.is_dir():
        if os.environ.get("LIMIAR_REQUIRE_DATA") == "1":
            pytest.fail(f"LIMIAR_REQUIRE_DATA=1, but there is no {folder}: put it beside the folder that LIMIAR_DATA names")
        pytest.skip(f"needs the inputs that once went wrong, and there is no {folder}")
    return folder
