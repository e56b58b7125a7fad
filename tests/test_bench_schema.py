"""docs/benchmarking.md documents every key of `limiar bench --json`."""

from pathlib import Path

import msgspec

import bench_schema
from limiar.edge_app.bench.result import BenchResult


def test_the_page_says_what_the_structs_say(project: Path) -> None:
    page = (project / "docs" / "benchmarking.md").read_text(encoding="utf-8")
    assert bench_schema.replaced(page) == page, "run scripts/bench_schema.py"


def test_every_key_of_the_json_has_a_row() -> None:
    schema = msgspec.json.schema(BenchResult)  # msgspec's own walk over the types
    rows = bench_schema.section()
    for name, struct in schema["$defs"].items():
        table = rows.split(f"### {name}\n")[1].partition("\n### ")[0]
        assert [key for key in struct["properties"] if f"| `{key}` | " not in table] == []


def test_a_section_that_others_follow_is_replaced_alone() -> None:
    page = f"# A\n\n{bench_schema.HEADING}\n\nold\n\n## B\n\nkept\n"
    assert bench_schema.replaced(page) == f"# A\n\n{bench_schema.section()}\n## B\n\nkept\n"
    assert bench_schema.replaced("# A\n\nkept\n") == f"# A\n\nkept\n\n{bench_schema.section()}"
