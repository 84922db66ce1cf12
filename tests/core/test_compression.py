"""What is left out of a conversation that does not fit, and what never is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.compression import AFTER, BEFORE, apply, clip, cuts_of, outline, plan
from llmapp.core.estimate import estimate
from llmapp.core.history import canonical, problems
from llmapp.core.messages import ChatMessage, Role

from .conversations import ANY_MESSAGES, conversations, result, said, system, user

LONG = "word " * 100
ROUNDS = [message for n in range(10) for message in (user(f"Q{n} {LONG}"), said(f"A{n} {LONG}"))]
RULES = system("Be kind.")


def names(messages: Sequence[ChatMessage]) -> list[str]:
    return [message.content.split()[0] for message in messages]


def test_what_fits_is_left_as_it_is() -> None:
    messages = (RULES, *ROUNDS)
    planned = plan(messages, 10_000, estimate)
    assert planned
    assert (planned.summarised, apply(messages, planned, "")) == ((), messages)


def test_the_oldest_go_and_the_newest_stay() -> None:
    """More goes than has to, so that the next messages have a place."""
    messages = [RULES, *ROUNDS, user("Last?")]
    planned = plan(messages, 2000, estimate)
    assert planned
    assert names(planned.summarised) == [f"{role}{n}" for n in range(7) for role in "QA"]
    assert names(planned.kept) == [f"{role}{n}" for n in range(7, 10) for role in "QA"] + ["Last?"]
    assert planned.room == 250
    assert estimate([RULES, *planned.kept]) + planned.room <= 2000 * 0.6


def test_what_a_summary_covers_goes_in_any_case() -> None:
    planned = plan([RULES, *ROUNDS], 2400, estimate, covered=12)
    assert planned
    assert len(planned.summarised) == 12


def test_a_summary_of_another_path_is_passed_over() -> None:
    """It covers more than there is."""
    planned = plan([RULES, *ROUNDS], 2000, estimate, covered=50)
    assert planned
    assert 0 < len(planned.summarised) < 20


def test_the_summary_is_no_question() -> None:
    """It has a message of its own, behind the instructions, that says what it is."""
    messages = [RULES, *ROUNDS]
    planned = plan(messages, 1500, estimate)
    assert planned
    rules, notes, first, *_ = apply(messages, planned, " They spoke. ")
    assert (rules, notes.role, first.role) == (RULES, Role.SYSTEM, Role.USER)
    assert notes.content == f"{BEFORE}\n\nThey spoke.\n\n{AFTER}"
    assert "not a request" in notes.content
    assert apply(messages, planned, " \n") == (RULES, *planned.kept)


def test_several_instructions_are_kept_in_order() -> None:
    messages = [RULES, system("Be brief."), *ROUNDS]
    planned = plan(messages, 1500, estimate)
    assert planned
    assert names(apply(messages, planned, "x"))[:3] == ["Be", "Be", "Notes"]


CUTS = [
    ("questions and answers", [user("1"), said("2"), user("3"), said("4")], [0, 2]),
    ("one question", [user("1")], [0]),
    ("nothing asked", [said("1"), said("2")], [0]),
    ("an answer leads", [said("1"), user("2"), said("3"), user("4")], [0, 1, 3]),
    ("two questions in a row", [user("1"), user("2"), user("3")], [0, 1, 2]),
    ("a pair is whole", [user("1"), said("", "a"), result("a"), said("2"), user("3")], [0, 4]),
    ("a result that is late", [user("1"), said("", "a"), user("2"), result("a"), user("3")], [0, 4]),
    ("a call that nobody answered", [user("1"), said("2"), user("3"), said("", "a"), user("4"), user("5")], [0, 2]),
    (
        "an id that is used again",
        [user("1"), said("", "a"), result("a"), user("2"), said("", "a"), result("a"), user("3")],
        [0, 3, 6],
    ),
    (
        "an id that is used again, and was not answered",
        [user("1"), said("", "a"), user("2"), said("", "a"), result("a"), user("3")],
        [0],
    ),
    ("nothing", [], [0]),
]


@pytest.mark.parametrize("messages, cuts", [row[1:] for row in CUTS], ids=[row[0] for row in CUTS])
def test_where_a_conversation_may_be_cut(messages: list[ChatMessage], cuts: list[int]) -> None:
    assert cuts_of(messages) == cuts


def test_a_long_result_after_the_last_question_is_clipped() -> None:
    """Nothing before it is left to go: head and tail of the result stay, the question stays whole."""
    messages = [RULES, user(LONG), said("", "a"), result("a", "head " + LONG * 20 + "tail")]
    planned = plan(messages, 500, estimate)
    assert planned
    question, _call, found = planned.kept
    assert (planned.summarised, question.content) == ((), LONG)
    assert found.content.startswith("head word")
    assert found.content.endswith("word tail")
    assert "characters are left out here" in found.content
    assert estimate([RULES, *planned.kept]) <= 500


def test_the_newest_result_is_clipped_last() -> None:
    messages = [user("Hi"), said("", "a"), result("a", LONG * 10), said("", "b"), result("b", LONG * 2)]
    planned = plan(messages, 600, estimate)
    assert planned
    assert [len(m.content) for m in planned.kept if m.role is Role.TOOL] == [1000, len(LONG * 2)]


@pytest.mark.parametrize(
    "messages", [[user(LONG * 10)], [system(LONG * 10), user("Hi")], [*ROUNDS, user(LONG * 10)], [system(LONG * 10)]]
)
def test_what_must_be_kept_may_be_too_long(messages: list[ChatMessage]) -> None:
    """There is no plan then."""
    assert plan(messages, 800, estimate) is None


def pairs(messages: Sequence[ChatMessage]) -> list[tuple[str, bool]]:
    return [(call.id, any(m.tool_call_id == call.id for m in messages)) for m in messages for call in m.tool_calls]


@given(conversations(), st.integers(1, 3000), st.integers(0, 30))
def test_what_holds_for_each_plan(messages: list[ChatMessage], target: int, covered: int) -> None:
    planned = plan(messages, target, estimate, covered)
    if planned is None:
        return
    start = planned.instructions
    conversation = messages[start:]
    cut = len(planned.summarised)
    # It is one block from the beginning, and the rest is there in order.
    assert list(planned.summarised) == conversation[:cut]
    originals = conversation[cut:]
    assert len(planned.kept) == len(originals)
    for kept, original in zip(planned.kept, originals, strict=True):
        assert (kept.role, kept.tool_calls, kept.tool_call_id) == (
            original.role,
            original.tool_calls,
            original.tool_call_id,
        )
        assert kept == original or (len(kept.content) < len(original.content) and kept.role is not Role.USER)
    # Pairs are whole on both sides, but for calls that nobody answered: those stay.
    assert all(answered for _id, answered in pairs(planned.summarised))
    assert not {id for id, _ in pairs(planned.summarised)} & {m.tool_call_id for m in planned.kept}
    # The last question stays, and what is kept begins with one.
    assert [m for m in messages if m.role is Role.USER][-1] in planned.kept
    assert planned.kept[0].role is Role.USER
    # It fits, with the summary; and it can be sent.
    sent = apply(messages, planned, "")
    assert estimate(sent) + planned.room <= max(target, estimate(messages))
    assert estimate(sent) + planned.room <= target
    assert problems(canonical(apply(messages, planned, "It was so."))) == []
    # Again, it changes nothing.
    again = plan(sent, target, estimate)
    assert again
    assert apply(sent, again, "") == sent


@given(ANY_MESSAGES, st.integers(-10, 200), st.integers(-5, 20))
def test_any_messages_end_in_a_plan_or_none(messages: list[ChatMessage], target: int, covered: int) -> None:
    """Whatever is wrong with them: nothing is lost but what is summarised."""
    planned = plan(messages, target, estimate, covered)
    if planned is not None:
        rest = messages[: planned.instructions] + list(planned.summarised) + list(planned.kept)
        assert [m.role for m in rest] == [m.role for m in messages]


@given(conversations(), st.data())
def test_a_smaller_target_never_leaves_more(messages: list[ChatMessage], data: st.DataObject) -> None:
    targets = sorted(data.draw(st.lists(st.integers(1, 3000), min_size=2, max_size=4)))
    sizes = [-1 if (p := plan(messages, t, estimate)) is None else len(p.kept) for t in targets]
    assert all(one <= next for one, next in pairwise(sizes))


@given(st.text(max_size=300), st.integers(-5, 320))
def test_a_clipped_text_has_its_length(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped) <= max(limit, 0)
    assert clip(clipped, limit) == clipped
    assert clipped == text if len(text) <= limit else len(clipped) <= len(text)


def test_an_outline_needs_no_model() -> None:
    """It says how many messages there were, and how each question began."""
    text = outline(
        [user("First\n  question?"), said("So."), said("", "a"), result("a"), user("Then " + "x" * 300)], 400
    )
    assert text.splitlines() == [
        "5 earlier messages were left out; 2 of them were the user's. Those began, in order:",
        "- First question?",
        f"- Then {'x' * 149}…",
    ]


def test_an_outline_has_the_newest_questions() -> None:
    text = outline([user(f"Question {n}?") for n in range(100)], 300)
    assert text.splitlines()[-1] == "- Question 99?"
    assert "- Question 98?" in text
    assert "- Question 1?" not in text


@given(st.lists(st.builds(user, st.text(max_size=60)), max_size=20), st.integers(-5, 600))
def test_an_outline_has_its_length(messages: list[ChatMessage], limit: int) -> None:
    assert len(outline(messages, limit)) <= max(limit, 0)
