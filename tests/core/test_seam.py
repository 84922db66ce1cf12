"""What of a continuation is shown: the whole text, each part of it once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.output import Seam


def played(shown: str, *pieces: str) -> tuple[str, str, bool]:
    """Return what of the pieces is shown, and how the seam judged them."""
    seam = Seam(shown)
    text = "".join([seam.feed(piece) for piece in pieces] + [seam.flush()])
    return text, seam.kind, seam.abandoned


STORY = "It was a dark and stormy night, and the rain fell in torrents on the roofs of the town."
CODE = "Here it is:\n\n```python\ndef area(radius):\n    return 3 * rad"

TABLE = [
    # it goes on exactly
    ("Hello wor", "ld is round", "ld is round", "continues"),
    ("It was", " a dark night", " a dark night", "continues"),
    (CODE, "ius\n```", "ius\n```", "continues"),
    ("", "All of it", "All of it", "continues"),
    ("  \n", "All of it", "All of it", "continues"),
    (STORY, "", "", "undecided"),
    # the end is repeated
    (STORY[:40], STORY[20:], STORY[40:], "continues"),
    (STORY[:40], "\n\n" + STORY[20:], STORY[40:], "continues"),
    ("Hello wor", "world is round", "ld is round", "continues"),
    (STORY, STORY[40:], "", "continues"),
    ("今天我们来谈谈如何写出好的代码，首先是", "今天我们来谈谈如何写出好的代码，首先是名字", "名字", "anew"),
    ("请注意：今天我们来谈谈如何写出好的代码，首先是", "如何写出好的代码，首先是名字", "名字", "continues"),
    (STORY[:40], "..." + STORY[20:], STORY[40:], "continues"),
    (STORY[:40], "... and on", "... and on", "continues"),
    ("Two things:\n- item on", "- item one", "e", "continues"),
    ("So:\n\n1. We", "1. We go", " go", "continues"),
    ("So:\n| a | b |\n|---|---|\n| one | ", "| one | two |", "two |", "continues"),
    # what the text repeats itself is left alone
    ("It was very ", "very good", "very good", "continues"),
    ("It was very very very very ", "very very very good", "very very very good", "continues"),
    ("And so: 0000000000000000", "00000000000000001", "00000000000000001", "continues"),
    ("ten, one, two, three\none, two, three\n", "one, two, three\nfour", "one, two, three\nfour", "continues"),
    ("It is the", " theory of it", " theory of it", "continues"),
    ("That makes 100", "1000 in all", "1000 in all", "continues"),
    ("So:\n| a | b |\n|---", "|---|", "|---|", "continues"),
    ("So:\n- - - ", "- - - -", "- - - -", "continues"),
    ("So:\n- very ", "very good", "very good", "continues"),
    ("I ate", " ate and ate", " ate and ate", "continues"),
    # it starts again, and says the same
    (STORY[:50], STORY, STORY[50:], "anew"),
    (STORY[:50], "\n" + STORY, STORY[50:], "anew"),
    (STORY[:50], STORY[:50], "", "anew"),
    (STORY[:50], STORY[:30], "", "anew"),
    ("It was", "It was a dark night", " a dark night", "anew"),
    ("I", "It was a dark night", "t was a dark night", "anew"),
    # a fence that is open is opened again
    (CODE + "ius\n", "```python\nprint(1)\n```", "print(1)\n```", "continues"),
    (CODE, "```python\n    return 3 * radius\n```", "ius\n```", "continues"),
    (CODE + "ius", "\n```python\nprint(1)\n```", "\nprint(1)\n```", "continues"),
    (CODE + "ius\n", "```\nThat was it.", "```\nThat was it.", "continues"),
    (CODE + "ius\n```\n", "```python\nprint(1)\n```", "```python\nprint(1)\n```", "continues"),
    ("```\na\n", "```\nDone.", "```\nDone.", "continues"),
]


@pytest.mark.parametrize("shown, said, new, kind", TABLE)
def test_what_is_shown(shown: str, said: str, new: str, kind: str) -> None:
    """However it is cut, what is shown is the same."""
    assert played(shown, said) == (new, kind, False)
    assert played(shown, *said) == (new, kind, False)


@pytest.mark.parametrize(
    "shown, said",
    [
        (STORY[:60], STORY[:30] + " bright morning"),
        ("It was\n\n", "It was a dark night"),
        ("```python\nimport os, sys, json, time, re\nx", "```python\nimport os, sys, json, time, math\n"),
    ],
)
def test_another_text_takes_the_place_of_the_first(shown: str, said: str) -> None:
    """The old text has to be withdrawn, and the new one is there from its beginning."""
    assert played(shown, said) == (said, "anew", True)
    assert played(shown, *said) == (said, "anew", True)


def test_a_fence_alone_is_no_beginning() -> None:
    """Two blocks of code begin with the same line, and are not the same answer."""
    shown = "```javascript\nconst first = 1;\n"
    assert played(shown, "```javascript\nconst second = 2;\n") == ("const second = 2;\n", "continues", False)


def test_text_is_not_held_back_for_long() -> None:
    """A few words after the seam it passes as it comes."""
    seam, shown = Seam(STORY[:30]), ""
    for n, letter in enumerate(STORY[30:]):
        shown += seam.feed(letter)
        assert n + 1 - len(shown) <= 20
    assert seam.feed("!") == "!"


def test_white_space_is_not_held_back_for_ever() -> None:
    """Somebody who sends nothing but empty lines is not collected."""
    seam = Seam(STORY)
    assert sum(len(seam.feed("\n")) for _ in range(1000)) == 1000


#: No word, and no part of the text, is there twice.
WORDS = ["alpha", "brück", "gamma", "delta", "epsilon", "zeta", "你好世界", "theta", "iota", "kappa", "😀", "lambda"]
TEXTS = st.permutations(WORDS).flatmap(
    lambda words: st.lists(st.sampled_from([" ", ", ", ".\n", "\n\n", " - "]), min_size=12, max_size=12).map(
        lambda gaps: "".join(a + b for a, b in zip(words, gaps, strict=True)).strip()
    )
)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


CUTS = st.lists(st.integers(0, 150), max_size=6)


@given(TEXTS, st.integers(0, 120), CUTS)
def test_who_continues_exactly(text: str, at: int, cuts: list[int]) -> None:
    """The parts add up to the whole."""
    shown = text[:at]
    new, _kind, abandoned = played(shown, *pieces_of(text[at:], cuts))
    assert (shown + new, abandoned) == (text, False)


@given(TEXTS, st.integers(12, 120), st.integers(12, 120), CUTS)
def test_who_repeats_the_end(text: str, at: int, overlap: int, cuts: list[int]) -> None:
    """The repetition is not shown."""
    shown = text[:at]
    new, _kind, abandoned = played(shown, *pieces_of(text[max(0, len(shown) - overlap) :], cuts))
    assert (shown + new, abandoned) == (text, False)


@given(TEXTS, st.integers(0, 120), CUTS)
def test_who_starts_again(text: str, at: int, cuts: list[int]) -> None:
    """What was there already is not shown a second time."""
    shown = text[:at]
    new, _kind, abandoned = played(shown, *pieces_of(text, cuts))
    assert (shown + new if not abandoned else new) == text


@given(st.text(max_size=80), st.text(max_size=80), CUTS)
def test_any_texts_in_any_pieces(shown: str, said: str, cuts: list[int]) -> None:
    """The cuts change nothing, and nothing is made up: what is shown is the end of what was said."""
    whole = played(shown, said)
    assert played(shown, *pieces_of(said, cuts)) == whole
    assert said.endswith(whole[0])
