"""Makes text that others wrote (file names, labels, messages of libraries) safe for the place where it is shown.

Everything written to a terminal, log, table, page, picture or XML goes through one of these functions. Data that a program
reads back (JSON, a RUN's tables) keeps its exact characters; `csv_row` writes a table's row so that it can be read back.
"""

import re
from collections.abc import Iterable

# Characters that act instead of being seen: controls (C0, DEL, C1), marks and overrides of direction (Unicode UAX #9), line
# and paragraph separators, lone surrogates, and those that XML 1.0 (section 2.2) excludes. Joiners stay: Persian and Hindi need
# them.
_ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_USER_INFO = re.compile(r"([a-z][a-z0-9+.-]{1,15}:/{1,3})\S*@", re.IGNORECASE)  # of an address: RFC 3986, section 3.2.1
# A spreadsheet runs a cell that starts like this as a formula (OWASP, CSV injection), in some languages also with the wide
# forms; where commas are decimal, a semicolon starts a new cell.
_STARTS_FORMULA = re.compile(r"(^|;)(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def for_terminal(text: bytes | str) -> str:
    """One line for a terminal or log: unprintable characters, and bytes that are not UTF-8, become \\xNN."""
    text = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    return text if text.isprintable() else "".join(c if c.isprintable() else _named(c) for c in text)


def without_passwords(text: str) -> str:
    """The text without the user and password in each address."""
    return _USER_INFO.sub(r"\1", text)


def for_csv(cell: object) -> object:
    """A cell of a table for people: one line that no spreadsheet takes for a formula. Numbers are unchanged."""
    if not isinstance(cell, str):
        return cell
    cell = _ACTS.sub(lambda found: _named(found[0]), cell)
    return _STARTS_FORMULA.sub(r"\1'\2", cell)


def for_json(data: bytes) -> bytes:
    """The same JSON, with every character visible on a terminal and no line end inside a text.

    JSON escapes only C0; Python's str.splitlines also ends a line at U+0085 and U+2028.
    """
    if data.isascii() and b"\x7f" not in data:
        return data
    kept = _ACTS.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", data.decode())
    return kept.encode()


def for_html(text: str) -> str:
    """Text for an element or a quoted attribute; line ends and tabs stay."""
    from html import escape  # here, since every command imports this module and only pages need it

    return escape(visible(text))


def visible(text: str) -> str:
    """Text of several lines, without characters that act instead of being seen: for XML, and for templates that escape."""
    return _ACTS.sub(lambda found: found[0] if found[0] in "\n\t" else _named(found[0]), text)


def is_plain(text: str) -> bool:
    """Whether a label has no character that acts instead of being seen."""
    return not _ACTS.search(text)


def csv_row(cells: Iterable[object]) -> str:
    """A line of a CSV, ending in "\\n"; a reader gets each cell back exactly, whatever is in it."""
    import csv

    row = _Row()
    csv.writer(row, lineterminator="\r\n").writerow(cells)  # with this terminator, a cell with either character is quoted
    return row.text[:-2] + "\n"


class _Row:
    def write(self, text: str) -> None:
        self.text = text


def width(text: str) -> int:
    """Columns on a terminal: two for a wide character (Unicode UAX #11), none for a mark on the one before."""
    if text.isascii():
        return len(text)
    import unicodedata  # 1 MB of tables that few names need

    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) == "Cf" else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def fitted(text: str, columns: int) -> str:
    """A text in exactly this many columns: padded, or shortened in the middle, since the end of a path says more."""
    if (taken := width(text)) <= columns:
        return text + " " * (columns - taken)
    head = _start(text, (columns - 1) // 2)
    tail = _start(text[::-1], columns - 1 - width(head))[::-1]
    return f"{head}…{tail}" + " " * (columns - 1 - width(head) - width(tail))


def _start(text: str, columns: int) -> str:
    taken = 0
    for k, character in enumerate(text):
        taken += width(character)
        if taken > columns:
            return text[:k]
    return text


def counted(count: int, one: str, many: str | None = None) -> str:
    """The count and its noun: "1 image", "2 images", "3 classes"."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def _named(character: str) -> str:
    """A character as its bytes in a file's name, \\xNN each; a surrogate that stands for no byte, as \\uNNNN."""
    try:
        return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return f"\\u{ord(character):04x}"
