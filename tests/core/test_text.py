"""Text that leaves a backend is valid Unicode without NUL, however it was cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.text import Mender, mend

HIGH, LOW = "\ud83d", "\ude00"


def mended(*pieces: str) -> list[str]:
    mender = Mender()
    return [mender.feed(piece) for piece in pieces] + [mender.flush()]


@pytest.mark.parametrize(
    "pieces, whole",
    [
        (["plain", " text"], "plain text"),
        ([HIGH, LOW], "😀"),
        (["a" + HIGH, LOW + "b"], "a😀b"),
        ([HIGH, "", LOW], "😀"),
        ([HIGH, "b"], "\ufffdb"),
        ([LOW], "\ufffd"),
        ([HIGH, HIGH, LOW], "\ufffd😀"),
        ([HIGH], "\ufffd"),
        (["a\0b", "\0"], "a\ufffdb\ufffd"),
        (["😀"], "😀"),
    ],
)
def test_pieces(pieces: list[str], whole: str) -> None:
    """Halves are joined over pieces; what stays alone is replaced."""
    assert "".join(mended(*pieces)) == whole


def test_half_a_character_is_held_back() -> None:
    """Nobody sees half an emoji, not even for a moment."""
    assert mended("a" + HIGH, LOW) == ["a", "😀", ""]


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_any_text_in_any_pieces(text: str, cuts: list[int]) -> None:
    """Pieces add up to the mended whole, and the whole can be encoded and has no NUL."""
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    whole = "".join(mended(*pieces))
    assert whole == mend(text)
    assert "\0" not in whole
    assert json.loads(json.dumps(whole)).encode().decode() == whole
