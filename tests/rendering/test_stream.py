"""Text that grows makes the same page as text that is finished, block by block, in linear time."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmapp.rendering.markdown import Block, MarkdownStream, assemble, render

from .documents import BLOCKS, ENDS, LINES, pieces, realistic, soup

EXAMPLES = 300


def stream_of(text: str, random: Random) -> list[Block]:
    """Feed a text in pieces, look at the open block now and then, and return what was settled."""
    stream, blocks = MarkdownStream(), []
    for piece in pieces(text, random):
        blocks += stream.feed(piece)
        if random.random() < 0.1:
            stream.open()
    return blocks + stream.finish()


@pytest.mark.parametrize("kind", [realistic, soup])
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_answer_in_any_pieces_makes_its_page(kind, seed: int) -> None:
    """What the browser puts together is what a full render gives."""
    text = kind(Random(seed))
    assert assemble(stream_of(text, Random(seed))) == render(text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(lines=st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=12), seed=st.integers())
def test_any_lines_make_their_page(lines: list[tuple[str, str]], seed: int) -> None:
    """The same for lines that Hypothesis can shrink to the two or three that matter."""
    text = "".join(line + end for line, end in lines)
    assert assemble(stream_of(text, Random(seed))) == render(text)


@pytest.mark.parametrize("first", BLOCKS)
def test_every_pair_of_blocks_letter_by_letter(first: str) -> None:
    """Any block may follow any other, with a blank line between them or without."""
    for second in BLOCKS:
        for gap in ("\n", "\n\n"):
            text = first + gap + second
            stream, blocks = MarkdownStream(), []
            for letter in text:
                blocks += stream.feed(letter)
            assert assemble(blocks + stream.finish()) == render(text)


# What has come, and the blocks that are settled by it: (mode, the text that they cover).
SETTLED = [
    # A block is settled when the next one starts, or at a blank line.
    ("one\n", []),
    ("one\n\n", [("new", "one\n\n")]),
    ("one\n# two", []),
    ("one\n# two\n", [("new", "one\n# two\n")]),
    ("one\n# a | b\n", [("new", "one\n")]),
    ("> one\n\n", [("new", "> one\n\n")]),
    # A row at once.
    ("a|b\n-|-\n", []),
    ("a|b\n-|-\n1|2\n", [("new", "a|b\n-|-\n1|2\n")]),
    ("a|b\n-|-\n1|2\n3|4\n", [("new", "a|b\n-|-\n1|2\n"), ("rows", "3|4\n")]),
    ("a|b\n-|-\n1|2\n# c\n", [("new", "a|b\n-|-\n1|2\n"), ("rows", "# c\n")]),
    ("a|b\n-|-\n1|2\n> c\n\n", [("new", "a|b\n-|-\n1|2\n"), ("new", "> c\n\n")]),
    ("a|b\n-|-\n1|2\n\nc\n\n", [("new", "a|b\n-|-\n1|2\n"), ("new", "\nc\n\n")]),
    # A quote may go on lazily, a row may not.
    ("> a|b\n> -|-\n> 1|2\n", []),
    # At once, unless it may become the head of a table.
    ("# one\n", [("new", "# one\n")]),
    ("# a | b\n", []),
    ("---\n", [("new", "---\n")]),
    ("$$\nx\n$$\n", [("new", "$$\nx\n$$\n")]),
    # Half a line end, half a line.
    ("# one\r", []),
    ("# one\r\n", [("new", "# one\r\n")]),
    ("# one\rt", [("new", "# one\r")]),
    ("# one", []),
    # A list stays open at a blank line, its finished items don't.
    ("- one\n\n", []),
    ("- one\n- two\n", [("new", "- one\n")]),
    ("- one\n\n- two\n- three\n", [("new", "- one\n\n"), ("items", "- two\n")]),
    ("- one\n\ntwo\n", [("new", "- one\n\n")]),
    ("    code\n\n", []),
    # A formula that waits for its end may swallow what looks like blocks.
    ("$$\na\n# b\n", []),
    ("$$\na\n\n# b\n", [("new", "$$\na\n\n"), ("new", "# b\n")]),
    # Code goes out in lines that are certain, here all of them: there is no language.
    ("```\na\n", [("new", "```\na\n")]),
    ("```\na\n```\n", [("new", "```\na\n"), ("code", "```\n")]),
    ("```py\na\n", []),
    ("```py\na\n```\n", [("new", "```py\na\n```\n")]),
    ("``` a | b\n", []),
]


@pytest.mark.parametrize(("text", "expected"), SETTLED)
def test_settled(text: str, expected: list[tuple[str, str]]) -> None:
    """Only what nothing can change any more is settled, and that at once."""
    stream, covered, found = MarkdownStream(), 0, []
    for block in [block for letter in text for block in stream.feed(letter)]:
        found.append((block.mode, text[covered : block.end]))
        covered = block.end
    assert found == expected


def test_items_and_lines_go_out_one_by_one() -> None:
    """A long list and a long fence arrive in pieces that belong into what is already there."""
    stream = MarkdownStream()
    fed = ["- a\n", "- b\n", "- c\n", "```\n", "1\n", "2\n", "```\n", "end\n\n"]
    settled = [(block.index, block.mode) for line in fed for block in stream.feed(line)]
    # a; b; c when the fence starts; two lines and the end of the fence; the paragraph
    modes = ["new", "items", "items", "new", "code", "code", "new"]
    assert settled == list(enumerate(modes))


def test_rows_go_out_one_by_one() -> None:
    """A table grows by its rows; what ends it begins anew, and columns stay aligned."""
    stream = MarkdownStream()
    fed = ["a | b\n", "--|:-:\n", "1 | 2\n", "3 | **4**\n", "5\n", "\n", "end\n\n"]
    settled = [(block.mode, block.html) for line in fed for block in stream.feed(line)]
    row = '<tr>\n<td>{}</td>\n<td class="llmapp-center">{}</td>\n</tr>\n'
    piece = '<div class="llmapp-table" tabindex="0"><table>\n<tbody>\n{}</tbody>\n</table></div>\n'
    assert [mode for mode, _ in settled] == ["new", "rows", "rows", "new"]
    assert [html for _, html in settled[1:3]] == [
        piece.format(row.format("3", "<strong>4</strong>")),
        piece.format(row.format("5", "")),
    ]


def test_the_next_block_has_the_index_of_the_open_one() -> None:
    """The open block is replaced by what is settled instead of it."""
    stream = MarkdownStream()
    stream.feed("# one\n\ntw")
    shown = stream.open()
    assert shown == Block(1, "new", "<p>tw</p>\n", len("# one\n\ntw"), settled=False)
    assert stream.feed("o\n\n") == [Block(1, "new", "<p>two</p>\n", len("# one\n\ntwo\n\n"), settled=True)]
    assert stream.open() is None


def test_blocks_cover_the_text_in_order() -> None:
    """Each block ends behind the one before it, and the last one covers all that isn't blank."""
    for seed in range(100):
        random = Random(seed)
        text = realistic(random)
        blocks = stream_of(text, random)
        assert [block.index for block in blocks] == list(range(len(blocks)))
        assert all(one.end < two.end for one, two in pairwise(blocks))
        assert text[blocks[-1].end :].strip() == ""


def test_open_block_continues_a_list_and_what_follows_it() -> None:
    """The open block may hold the last item and the paragraph that ends the list."""
    stream = MarkdownStream()
    stream.feed("- a\n- b\n\nand so")
    shown = stream.open()
    assert shown is not None
    assert (shown.mode, shown.html) == ("items", "<ul>\n<li>b</li>\n</ul>\n<p>and so</p>\n")


def test_finish() -> None:
    """A finished text gives the rest once and takes nothing more."""
    stream = MarkdownStream()
    assert stream.feed("one") == []
    assert [block.html for block in stream.finish()] == ["<p>one</p>\n"]
    assert stream.finish() == []
    assert stream.text == "one"
    with pytest.raises(RuntimeError):
        stream.feed("two")


def test_reference_links_are_why_both_are_compared() -> None:
    """A link whose address comes later is not known when its paragraph is settled; an earlier one is."""
    late = "[text][1]\n\n[1]: https://example.com\n"
    early = "[1]: https://example.com\n\n[text][1]\n"
    assert assemble(stream_of(late, Random(1))) != render(late)
    assert assemble(stream_of(early, Random(1))) == render(early)


LONG = {
    "paragraphs": "Some words that make a paragraph.\nAnd **more** of it.\n\n",
    "one paragraph": "Some words that never end.\n",
    "items": "- an item of a list\n",
    "numbers": "1. an item of a list\n\n",
    "one item": "  - a child of the only item\n",
    "code": "x = call(1, 'two')\n",
    "rows": "| a | b |\n",
    "quote": "> said and quoted\n",
    "indented": "    code\n\n",
}
BEFORE = {"one item": "- item\n", "code": "```python\n", "rows": "| a | b |\n|---|---|\n"}


@pytest.mark.parametrize("name", LONG)
def test_work_is_linear(name: str) -> None:
    """Text that is sixteen times as long costs about sixteen times the characters read."""
    short, long = (work_for(BEFORE.get(name, ""), LONG[name], characters) for characters in (4_000, 64_000))
    assert long < 16 * 1.5 * short
    assert long < 8 * 64_000


def work_for(before: str, unit: str, characters: int) -> int:
    """Count the characters that were read while a text came in tokens of four."""
    text = before + unit * (characters // len(unit))
    stream = MarkdownStream()
    for position in range(0, len(text), 4):
        stream.feed(text[position : position + 4])
    stream.finish()
    return stream.work
