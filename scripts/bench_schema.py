"""Writes the section "The JSON file" of docs/benchmarking.md anew, from the Structs themselves: `bench_schema.py`.

A test compares the two: after a change of a field that `limiar bench --json` writes, run this.
"""

import ast
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec

from limiar.edge_app.bench.result import BenchResult

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarking.md"
HEADING = "## The JSON file"
_INTRODUCTION = """\
`--json FILE` writes one `BenchResult`, which `msgspec.json.decode(data, type=BenchResult)` reads again. `schema` stays 1
while keys are only added: a reader must ignore those that it does not know. What was not measured is null or empty.
Names end in their unit. `samples` holds every call; `limiar.edge_app.bench.samples.unpack` gives them back. This section
is made of the source by `scripts/bench_schema.py`."""
_WORDS: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    types.NoneType: "null",
}


def section() -> str:
    """The section as Markdown: a table for each Struct, BenchResult first."""
    return "\n\n".join([HEADING, _INTRODUCTION, *map(_table, _structs(BenchResult))]) + "\n"


def replaced(page: str) -> str:
    """The page with this section in place of the one it has, or at its end."""
    pattern = re.compile(rf"^{re.escape(HEADING)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if not pattern.search(page):
        return f"{page.rstrip()}\n\n{section()}"
    return pattern.sub(lambda found: section() + ("\n" if found.end() < len(page) else ""), page, count=1)


def _structs(first: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """It and all that it holds, in the order in which they are met."""
    found = [first]
    for struct in found:  # grows meanwhile
        for hint in typing.get_type_hints(struct).values():
            found += [one for one in _held(hint) if one not in found]
    return found


def _held(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for part in typing.get_args(hint):
        yield from _held(part)


def _table(struct: type[msgspec.Struct]) -> str:
    says = _in_json(" ".join((inspect.getdoc(struct) or "").split()))
    hints, comments = typing.get_type_hints(struct), _comments(struct)
    rows = [
        f"| `{field}` | {_word(hints[field])} | {comments.get(field, '')} |".replace("|  |", "| |")
        for field in struct.__struct_fields__
    ]
    return "\n".join([f"### {struct.__name__}", "", says, "", "| key | value | what it is |", "|---|---|---|", *rows])


def _word(hint: object) -> str:
    """A type in JSON's words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_word, parts))
    if origin is typing.Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin is dict:
        return f"object of {_word(parts[1])}"
    if origin in (tuple, list):
        return f"list of {_word(parts[0])}"
    if hint in _WORDS:
        return _WORDS[hint]
    assert isinstance(hint, type), f"{hint} has no word for JSON yet"
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


def _comments(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the source says behind each field."""
    source = textwrap.dedent(inspect.getsource(struct))
    lines, (body,) = source.splitlines(), ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: _in_json(lines[(node.end_lineno or 1) - 1].partition("  # ")[2])
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _in_json(comment: str) -> str:
    return comment.replace("None:", "null:").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {HEADING}\n")
