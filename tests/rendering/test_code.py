"""Code is coloured piece by piece, and no piece is coloured wrongly because of where it was cut."""

import re
from html import unescape

import pytest

from llmapp.rendering import code
from llmapp.rendering.code import Highlighter, code_block

PYTHON = 'def f(x):\n    """A long\n\n    string."""\n    return {x: "é"}  # why\n\n\n'
SCRIPT = "/**\n * what it does\n */\nconst a = `one ${two}\n three`; // four\n\n"
SOURCES = {
    "python": PYTHON * 30,
    "javascript": SCRIPT * 30,
    "html": "<div class='a'>\n  <b>x</b>\n</div>\n<script>\nlet a = 1;\n</script>\n" * 30,
    "css": ".a {\n  color: red;\n}\n" * 60,
    "php": "<?php\n" + "$a = 'x'; // y\n" * 900,
    "diff": "- a\n+ b\n c\n" * 90,
    "json": '{\n "a": [1, 2],\n "b": null\n}\n' * 60,
    "bash": '# c\nfor a in $b; do\n  echo "$a\n x"\ndone\n' * 60,
    "text": "no colours\n" * 60,
    "nonsense": "no lexer\n" * 60,
    "": "no language\n" * 60,
}


def pieces_of(language: str, source: str) -> list[str]:
    highlighter = Highlighter(language)
    return [*map(highlighter.add, source.splitlines(keepends=True)), highlighter.rest()]


@pytest.mark.parametrize("language", SOURCES)
def test_nothing_is_lost(language: str) -> None:
    """Without its colours, code is what it was."""
    html = "".join(pieces_of(language, SOURCES[language]))
    assert unescape(re.sub(r"<[^>]*>", "", html)) == SOURCES[language]


@pytest.mark.parametrize("language", SOURCES)
def test_whole_and_in_lines_look_the_same(language: str) -> None:
    """A block that grew looks like one that was whole."""
    assert "".join(pieces_of(language, SOURCES[language])) in code_block(SOURCES[language], language)


@pytest.mark.parametrize("language", ["python", "javascript", "css", "html", "bash"])
def test_pieces_are_coloured_like_the_whole(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting changes no colour: a docstring or a comment is never cut in two."""
    monkeypatch.setattr(code, "LOOK", 1)
    cut = "".join(pieces_of(language, SOURCES[language]))
    monkeypatch.setattr(code, "LOOK", 10**9)
    assert colours(cut) == colours("".join(pieces_of(language, SOURCES[language])))


def colours(html: str) -> list[tuple[str, str]]:
    """Name the colour of each word."""
    found = re.findall(r'<span class="([^"]*)">(.*?)</span>|([^<]+)', html, flags=re.DOTALL)
    return [(name, word) for name, inside, outside in found for word in (inside or outside).split()]


def test_lines_go_out_soon() -> None:
    """Ordinary code waits for a few lines only."""
    pieces = pieces_of("python", "x = call(1, 'two')\n" * 200)
    assert sum(map(bool, pieces)) >= 200 * 19 / code.LOOK / 2


@pytest.mark.parametrize("language", SOURCES)
def test_what_is_shown_before_it_is_certain_loses_nothing(language: str) -> None:
    """Letter by letter: what is final, and behind it what is not."""
    source, final, highlighter = SOURCES[language][:1200], "", Highlighter(language)
    for number, letter in enumerate(source):
        start = source.rfind("\n", 0, number) + 1
        if letter == "\n":
            final += highlighter.add(source[start : number + 1])
        shown = final + highlighter.preview("" if letter == "\n" else source[start : number + 1])
        assert unescape(re.sub(r"<[^>]*>", "", shown)) == source[: number + 1]


def test_lines_are_coloured_before_they_are_certain() -> None:
    """A line is coloured while the ones around it still wait, also while it is being written."""
    highlighter = Highlighter("python")
    assert highlighter.add("x = None\n") == ""
    assert highlighter.preview("if y") == 'x = <span class="hl-n">None</span>\n<span class="hl-k">if</span> y'


@pytest.mark.parametrize("line", ["x = call(1, 'two')\n", "    and more of a string.\n"])
def test_showing_uncertain_lines_is_linear(line: str) -> None:
    """Looking at a stretch after each word costs little more than looking at it once, also within a long string."""
    highlighter = Highlighter("python")
    lines = ["def f():\n", '    """A string.\n', *[line] * 250] if line[0] == " " else [line] * 250
    for whole in lines:
        for end in range(1, len(whole), 5):
            highlighter.preview(whole[:end])
        highlighter.add(whole)
    assert highlighter.lexed < 25 * sum(map(len, lines))


def test_code_that_is_never_clean_becomes_plain() -> None:
    """Code that never returns to its beginning is coloured for a while, then sent line by line as it is."""
    pieces = pieces_of("php", SOURCES["php"])
    assert "hl-" in "".join(pieces)
    assert pieces[-2] == "$a = &#x27;x&#x27;; // y\n"


def test_a_lexer_that_fails_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a lexer leaves the code plain."""

    class Broken:
        def get_tokens_unprocessed(self, text: str) -> None:
            raise ValueError(text)

    monkeypatch.setattr(code, "_lexer", lambda language: Broken())
    assert pieces_of("python", "<x>\n") == ["", "&lt;x&gt;\n"]


LANGUAGES = [
    ("python", "python"),
    ("Python title=x", "python"),
    ("c++", "c++"),
    ("c#", "c#"),
    ("", ""),
    ('"><script>', ""),
    ("x" * 31, ""),
    ("a\u202eb", ""),
]


@pytest.mark.parametrize(("info", "language"), LANGUAGES)
def test_language(info: str, language: str) -> None:
    """A language is a short word, or it is none."""
    assert code.language_of(info) == language
