"""Other people's text is safe wherever it is shown: one nasty list goes through every function and the real outputs."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import manifest_json, parse_manifest
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import BundleError, LimiarError
from limiar.edge_app.text import counted, csv_row, for_csv, for_html, for_json, for_terminal, is_plain, visible
from limiar.train.record.run_folder import table_csv

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
ACTS = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories: controls, surrogates, separators of lines and paragraphs
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def acting(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ACTS or BIDI.match(c)]


def test_nothing_acts_on_a_terminal_or_log_and_what_is_plain_stays(nasty: tuple[str, ...]) -> None:
    for text in nasty:
        shown = for_terminal(text)
        assert shown.isprintable(), text
        shown.encode()
        assert for_terminal(shown) == shown
    assert for_terminal("Lunge (rechts), 日本語") == "Lunge (rechts), 日本語"
    assert for_terminal(b"\xff.png") == for_terminal("\udcff.png") == r"\xff.png"
    assert for_terminal("\ud800") == r"\ud800"
    assert for_terminal("a\x1b[31m") == r"a\x1b[31m"


def test_no_cell_is_a_formula_or_more_than_a_line_and_numbers_stay_numbers(nasty: tuple[str, ...]) -> None:
    for text in nasty:
        cell = str(for_csv(text))
        assert not acting(cell), text
        assert not [part for part in cell.split(";") if part.lstrip().startswith(FORMULA)], text
        (row,) = csv.reader(io.StringIO(csv_row([cell, "next"]), newline=""))
        assert row == [cell, "next"]
    assert [for_csv(value) for value in (-1.5, 3, True, None, "plain")] == [-1.5, 3, True, None, "plain"]


def test_a_table_for_programs_gives_every_text_back(nasty: tuple[str, ...]) -> None:
    rows = [(text, "x", f"{text} again") for text in nasty if not any("\ud800" <= c < "\udc80" for c in text)]
    written = table_csv(("file", "label", "group"), rows)
    found = list(csv.reader(io.TextIOWrapper(io.BytesIO(written), "utf-8", "surrogateescape", newline="")))
    assert [tuple(row) for row in found] == [("file", "label", "group"), *rows]
    assert written.endswith(b"\n")
    assert not written.endswith(b"\r\n")


def test_json_is_the_same_and_no_text_in_it_acts_or_ends_a_line(nasty: tuple[str, ...]) -> None:
    texts = [text for text in nasty if not any("\ud800" <= c <= "\udfff" for c in text)]
    data = for_json(msgspec.json.encode(texts) + b"\n")
    assert json.loads(data) == texts
    assert len(data.decode().splitlines()) == 1
    assert set(acting(data.decode())) == {"\n"}
    assert for_json(msgspec.json.encode("日本語")) == '"日本語"'.encode()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.title: str | None = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.title = dict(attributes).get("title")
        assert len(attributes) == 1


def test_a_page_shows_a_text_as_text_inside_and_in_attributes(nasty: tuple[str, ...]) -> None:
    for text in nasty:
        page = Page()
        page.feed(f'<p title="{for_html(text)}">{for_html(text)}</p>')
        assert (page.tags, page.title) == (["p"], visible(text))
        for_html(text).encode()


def test_xml_of_it_is_well_formed(nasty: tuple[str, ...]) -> None:
    for text in nasty:
        element = ElementTree.Element("case", message=visible(text))
        element.text = visible(text)
        again = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
        assert again.text == visible(text)


def test_an_error_is_one_line_whatever_it_quotes(nasty: tuple[str, ...]) -> None:
    for text in nasty:
        error = LimiarError("E-TEST", f"{text}: check it")
        assert str(error).isprintable()
        msgspec.json.encode(error.message)


def test_a_bundle_s_texts_are_looked_at_when_it_is_opened(tiny_bundle: Bundle, nasty: tuple[str, ...]) -> None:
    for text in nasty:
        try:
            raw = manifest_json(msgspec.structs.replace(tiny_bundle.manifest, labels=("neg", text), positive=text))
        except UnicodeEncodeError:
            continue  # no JSON has it
        if is_plain(text):
            assert parse_manifest(raw, "here").labels[1] == text
        else:
            with pytest.raises(BundleError, match="E-BUNDLE-MANIFEST") as refused:
                parse_manifest(raw, "here")
            assert str(refused.value).isprintable()
    for field in ({"licence": "\x1b[2J"}, {"intended_use": "\u202e"}):
        with pytest.raises(BundleError, match="instead of being seen"):
            parse_manifest(manifest_json(msgspec.structs.replace(tiny_bundle.manifest, **field)), "here")
    several = msgspec.structs.replace(tiny_bundle.manifest, intended_use="research,\nnot diagnosis")
    assert parse_manifest(manifest_json(several), "here") == several


def nasty_folder(folder: Path, names: tuple[bytes, ...]) -> list[bytes]:
    """Files of those names, each a picture; the paths."""
    folder.mkdir()
    paths = []
    for k, name in enumerate(names):
        paths.append(os.path.join(os.fsencode(folder), name))
        with open(paths[-1], "wb") as file:
            picture = Image.linear_gradient("L").resize((50 + k, 50))
            picture.save(file, "PNG")
    return paths


def test_a_scan_shows_every_name_in_table_json_and_csv(
    tiny_path: Path, nasty_names: tuple[bytes, ...], limiar: Limiar, tmp_path: Path
) -> None:
    paths = nasty_folder(tmp_path / "named", nasty_names)
    names = [os.path.basename(path) for path in paths]
    options = ["-0", "--csv", tmp_path / "out.csv", "--annotate", tmp_path / "drawn"]
    done = limiar("scan", tiny_path, *options, input=b"\0".join(names), cwd=tmp_path / "named")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(lines) == len(names)
    for line, name in zip(lines, names, strict=True):
        assert ("path_base64" in line) == (not _is_utf8(name))
        if _is_utf8(name):
            assert line["path"] == name.decode()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names)
    assert not [row["path"] for row in rows if acting(row["path"]) or row["path"].lstrip().startswith(FORMULA)]
    table = _on_a_terminal(
        ["scan", str(tiny_path), "-0", "--db", str(tmp_path / "r.db")], b"\0".join(names), tmp_path / "named"
    )
    assert set(re.findall(rb"\x1b\[[0-9;]*m", table)) <= {b"\x1b[31m", b"\x1b[32m", b"\x1b[33m", b"\x1b[0m"}  # our own colours
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", table).decode().replace("\r\n", "\n")
    assert not set(acting(text)) - {"\n"}


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _on_a_terminal(arguments: list[str], given: bytes, folder: Path) -> bytes:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "limiar", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.DEVNULL, cwd=folder) as scan:
        os.close(theirs)
        assert scan.stdin
        scan.stdin.write(given)
        scan.stdin.close()
        text = b""
        try:
            while block := os.read(ours, 65536):
                text += block
        except OSError:  # Linux's way of saying that the other end is closed
            os.close(ours)
        assert scan.wait(60) == 0
    return text


@pytest.mark.parametrize(("count", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images")], ids=["none", "one", "several"])
def test_one_image_is_not_one_images(count: int, said: str) -> None:
    assert counted(count, "image") == said
    assert counted(count, "class", "classes") == said.replace("images", "classes").replace("image", "class")
