"""docs/raspberry-pi.md has what scripts/virtual_pi found, and nothing that it did not find."""

import re
from pathlib import Path

import pytest

from virtualpi import page
from virtualpi.__main__ import LEVELS

PAGE = """# A page

<!-- virtual_pi user -->
| old | 1 s |
<!-- end -->

<!-- virtual_pi camera -->
<!-- end -->

The end.
"""


def test_a_level_writes_its_own_table_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    page.write("user", [("installed | all", "262 MB"), ("verify", "9 s")], path)
    found = path.read_text()
    header, _, *rows = page.sections(found)["user"].splitlines()
    assert re.fullmatch(r"\| `scripts/virtual_pi user` \| \d{4}-\d\d-\d\d, \d+ cores, \S+ \|", header)
    assert rows == [r"| installed \| all | 262 MB |", "| verify | 9 s |"]
    assert re.sub(r"(virtual_pi user -->\n).*?(<!-- end)", r"\1| old | 1 s |\n\2", found, count=1, flags=re.DOTALL) == PAGE


@pytest.mark.parametrize(("level", "rows"), [("user", []), ("machine", [("boot", "40 s")])])
def test_a_level_that_measured_nothing_or_has_no_place_on_the_page_changes_nothing(
    tmp_path: Path, level: str, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    with pytest.raises(Exception, match=r"page\.md stays as it was"):
        page.write(level, rows, path)
    assert path.read_text() == PAGE


def test_every_level_that_measures_has_its_table_on_the_page_and_it_is_filled(project: Path) -> None:
    found = page.sections((project / "docs" / "raspberry-pi.md").read_text())
    assert list(found) == ["user", "camera", "machine", "install"]
    # A header, its line, at least one row.
    assert [level for level, table in found.items() if level in LEVELS and table.count("\n") < 3] == []
