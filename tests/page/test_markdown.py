"""A model card's Markdown as plain blocks."""

import pytest

from limiar.edge_app.page.markdown import Block, Span, blocks


def kinds(text: str) -> list[str]:
    return [block.kind for block in blocks(text)]


def test_the_blocks_of_a_card_are_found() -> None:
    text = (
        "# A card\n\nSome text\nof two lines.\n\n- one\n  goes on\n- two\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```\n| x\n```\n"
    )
    found = blocks(text)
    assert [block.kind for block in found] == ["heading", "paragraph", "list", "table", "code"]
    assert found[0] == Block("heading", 1, ((Span("text", "A card"),),))
    assert found[1].lines == ((Span("text", "Some text of two lines."),),)
    assert found[2].lines == ((Span("text", "one goes on"),), (Span("text", "two"),))
    assert found[3].rows == (((Span("text", "a"),), (Span("text", "b"),)), ((Span("text", "1"),), (Span("text", "2"),)))
    assert found[4].lines == ((Span("code", "| x"),),)


def test_strong_and_code_are_marked_and_a_link_is_its_text_and_address() -> None:
    (block,) = blocks("**Not** for `x` [here](javascript:alert(1)) or [there](https://example.org)")
    assert block.lines[0] == (
        Span("strong", "Not"),
        Span("text", " for "),
        Span("code", "x"),
        Span("text", " [here](javascript:alert(1)) or there (https://example.org)"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "```",
        "|",
        "|\n|",
        "#",
        "#######",
        "-",
        "**",
        "`",
        "[](",
        "| a |\n| b |",
        "1.",
        "\r\n",
        "\x00",
        "* * *",
        "-" * 999,
    ],
)
def test_odd_text_stays_text(text: str) -> None:
    assert set(kinds(text)) <= {"paragraph", "list", "code"}


@pytest.mark.parametrize(
    "piece", ["#", "# ", "-", "- ", "|", "| ", "*", "**a", "`", "[", "](", "[a](", " ", "\n", "|-|\n", "- a\n", "1. "]
)
def test_a_card_of_one_repeated_piece_is_read_in_one_go(piece: str) -> None:
    blocks(piece * (131_072 // len(piece)) + "x")  # with a pattern that tries again from every place this takes hours
