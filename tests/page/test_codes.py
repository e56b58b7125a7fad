"""Every code has a sentence in the page's languages."""

import re
from pathlib import Path

import pytest

from limiar.edge_app.page.filters import code
from limiar.edge_app.page.words.codes import CODES


def documented(project: Path) -> list[str]:
    """The codes of the two tables of the docs."""
    text = "".join((project / "docs" / name).read_text() for name in ("errors.md", "health.md"))
    return re.findall(r"^\| ([EW]-[A-Z0-9-]+) \|", text, re.MULTILINE)


def test_every_code_of_the_docs_has_its_sentences_and_no_other_has(project: Path) -> None:
    assert sorted(CODES) == sorted(documented(project))


def test_they_are_in_the_order_of_the_alphabet_so_that_one_is_found() -> None:
    assert list(CODES) == sorted(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_is_one_sentence_in_two_languages(code: str) -> None:
    english, portuguese = CODES[code]
    assert english != portuguese
    for text in (english, portuguese):
        assert re.fullmatch(r"\S.{10,140}[.]", text), text
        assert "  " not in text


def test_a_refusal_shows_the_sentence_and_the_message(client) -> None:
    with client() as browser:
        page = browser.get("/results/99", headers={"Accept-Language": "pt"})
    assert page.status_code == 404
    assert "Este resultado não existe" in page.text
    assert "E-RESULT-MISSING" in page.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `limiar doctor`, then", "run <code>limiar doctor</code>, then"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("a ` alone <b>", "a ` alone &lt;b&gt;"),
        ("", ""),
    ],
)
def test_commands_in_a_message_are_set_apart_and_nothing_in_it_is_html(text: str, shown: str) -> None:
    assert code(text) == shown
