"""The short way of plain paragraphs leads to the same page as the long one."""

import re
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmapp.rendering import html, plain
from llmapp.rendering.blocks import NO_STEM

from .documents import BLOCKS, LINES

WORDS = (
    "words",
    "and",
    "more,",
    "http:",
    "1.",
    "(2)",
    "a-b",
    "- c",
    "=",
    "--",
    "'so'",
    '"x"',
    "é",
    "的。",
    "!",
    "#",
    "+ d",
)
JOINTS = (
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\n",
    " \n",
    "  \n",
    "\n\n",
    "\n  ",
    "",
    "\t",
    "\r\n",
    "\xa0",
    "\u3000",
    "://",
    "\x85",
)
TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(JOINTS)), min_size=1, max_size=9).map(
        lambda pairs: "".join(word + joint for word, joint in pairs)
    ),
    st.text(st.sampled_from("abc ,.:;'\"()?!/%+=@#{}^-\n1é的\u2028\u3000\xa0\x0b\x7f\ufeff"), min_size=1),
    st.text(min_size=1).map(lambda text: f"a{text}"),
)


def long_way(render, *arguments: object) -> str:
    with mock.patch.object(plain, "paragraph", return_value=None):
        return render(*arguments)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS)
@example(text="a\n\n")
@example(text="a \nb")
def test_plain_text_makes_the_page_of_the_parser(text: str) -> None:
    """Byte for byte, whether it is settled or still being written."""
    if plain.paragraph(text) is None:
        return
    assert html.piece(text, NO_STEM, {}) == long_way(html.piece, text, NO_STEM, {})
    assert html.open_piece(text, NO_STEM, {}) == long_way(html.open_piece, text, NO_STEM, {})


@pytest.mark.parametrize("place", ["a{}b", "a{}", "a {} b", "a\n{}", "a\n{}b {}\nc"])
def test_every_character(place: str) -> None:
    """In a word, behind it, before one, alone in a line."""
    for number in (*range(0x180), *range(0x2000, 0x2070), 0x3000, 0xFEFF):
        text = place.replace("{}", chr(number))
        for way in (html.piece, html.open_piece):
            assert way(text, NO_STEM, {}) == long_way(way, text, NO_STEM, {}), hex(number)


@pytest.mark.parametrize(
    "text",
    [
        "*b*",
        "_b_",
        "`b`",
        "~~b~~",
        "$b$",
        "\\(b\\)",
        "<b>",
        "<https://b.c>",
        "[b](https://c.d)",
        "&amp;",
        "&",
        "https://b.c",
    ],
)
def test_marks_in_a_sentence(text: str) -> None:
    """What means something anywhere in a line means it here."""
    for way in (html.piece, html.open_piece):
        assert way(f"a {text} c", NO_STEM, {}) == long_way(way, f"a {text} c", NO_STEM, {})


@pytest.mark.parametrize("text", [block for block in BLOCKS if not re.match(r"[A-Z]\w+ \w+", block)] + [*LINES])
def test_what_has_marks_is_not_plain(text: str) -> None:
    """A sentence is plain, and no block that is anything else."""
    assert plain.paragraph("a sentence") == "<p>a sentence</p>\n"
    shown = plain.paragraph(text)
    assert shown is None or shown == html.render(text)
