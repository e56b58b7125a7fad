"""A model card's Markdown as blocks of plain text: what a template can show with every character escaped.

It comes from the bundle, so nothing in it becomes HTML, an address to follow or an image: a link is its text and its address.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

Kind = Literal["text", "strong", "code"]
_SPAN = re.compile(r"\*\*([^*\n]{1,2000})\*\*|`([^`\n]{1,500})`")
_LINK = re.compile(r"!?\[([^\[\]]{1,500})\]\(([^()\s]{1,500})\)")
_HEADING = re.compile(r"#{1,6}\s")
_ITEM = re.compile(r"\s{0,3}(?:[-*+]|\d{1,3}[.])\s+(.*)\Z")
_CELLS = 30  # of a row that are shown


class Span(Struct, frozen=True):
    """A piece of a line."""

    kind: Kind
    text: str


Line = tuple[Span, ...]


class Block(Struct, frozen=True):
    """A heading (level 1 to 6), paragraph, list, table or code. A table has rows, whose first is its head."""

    kind: Literal["heading", "paragraph", "list", "table", "code"]
    level: int = 0
    lines: tuple[Line, ...] = ()
    rows: tuple[tuple[Line, ...], ...] = ()


def blocks(text: str) -> list[Block]:
    """Never raises: what is not understood stays as it is."""
    return list(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            end = next((one for one in range(at + 1, len(lines)) if lines[one].startswith("```")), len(lines))
            yield Block("code", lines=((Span("code", "\n".join(lines[at + 1 : end])),),))
            at = end + 1
        elif _HEADING.match(line):
            title = line.lstrip("#")
            yield Block("heading", len(line) - len(title), (_spans(title.strip().rstrip("#").strip()),))
            at += 1
        elif line.lstrip().startswith("|") and at + 1 < len(lines) and _rules(lines[at + 1]):
            end = _end(lines, at + 2, lambda one: one.lstrip().startswith("|"))
            yield Block("table", rows=tuple(_row(one) for one in (line, *lines[at + 2 : end])))
            at = end
        elif _ITEM.match(line):
            end = _end(lines, at + 1, lambda one: bool(one.strip()) and not _HEADING.match(one))
            yield Block("list", lines=tuple(map(_spans, _items(lines[at:end]))))
            at = end
        else:
            end = _end(lines, at + 1, lambda one: bool(one.strip()) and not (_HEADING.match(one) or _ITEM.match(one)))
            yield Block("paragraph", lines=(_spans(" ".join(map(str.strip, lines[at:end]))),))
            at = end


def _rules(line: str) -> bool:
    """Whether a line separates a table's head from its rows."""
    return "|" in line and "-" in line and set(line) <= set("|:- ")


def _end(lines: list[str], start: int, goes_on: Callable[[str], bool]) -> int:
    """The first line from `start` that does not belong to a block any more."""
    return next((at for at in range(start, len(lines)) if not goes_on(lines[at])), len(lines))


def _items(lines: list[str]) -> list[str]:
    """The items of a list, each with the lines that continue it."""
    items: list[list[str]] = []
    for line in lines:
        if found := _ITEM.match(line):
            items.append([found[1]])
        else:
            items[-1].append(line.strip())
    return [" ".join(item) for item in items]


def _row(line: str) -> tuple[Line, ...]:
    return tuple(_spans(cell.strip()) for cell in line.strip().strip("|").split("|")[:_CELLS])


def _spans(text: str) -> Line:
    text = _LINK.sub(r"\1 (\2)", text)
    spans, at = [], 0
    for found in _SPAN.finditer(text):
        if found.start() > at:
            spans.append(Span("text", text[at : found.start()]))
        spans.append(Span("strong", found[1]) if found[1] else Span("code", found[2]))
        at = found.end()
    if at < len(text) or not spans:
        spans.append(Span("text", text[at:]))
    return tuple(spans)
