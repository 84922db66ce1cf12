"""A conversation is made to fit: by a summary that is known, by a new one, or without a model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.calls.base import Summary
from llmapp.calls.compressor import Compressed, compress, summary_request
from llmapp.core.compression import notes
from llmapp.core.estimate import estimate
from llmapp.core.messages import ChatMessage, Role
from tests.core.conversations import conversations, result, said, system, user

RULES = system("Be kind.")
LONG = "word " * 100


def rounds(first: int, last: int) -> list[ChatMessage]:
    return [
        message
        for n in range(first, last)
        for message in (user(f"Q{n} {LONG}", ref=f"q{n}"), said(f"A{n} {LONG}", ref=f"a{n}"))
    ]


class Model:
    """Summarises as it is told to, and keeps what it was asked."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[ChatMessage, ...]] = []

    async def __call__(self, request: tuple[ChatMessage, ...]) -> str | None:
        self.asked.append(request)
        return self.answers.pop(0)

    @property
    def told(self) -> str:
        return self.asked[-1][-1].content


async def made(messages: Sequence[ChatMessage], target: int, model: Model, known: Summary | None = None) -> Compressed:
    compressed = await compress(messages, target, estimate, known, model)
    assert compressed is not None
    assert estimate(compressed.messages) <= target
    return compressed


async def test_what_fits_is_sent_as_it_is() -> None:
    """Also where a summary is known: the messages themselves say more."""
    messages = (RULES, *rounds(0, 3))
    known = Summary("They spoke.", 2, "a0")
    assert await made(messages, 2000, Model(), known) == Compressed(messages, None, 0)


async def test_a_model_is_asked_for_a_summary() -> None:
    """It stands for the beginning: how many messages, and up to which one."""
    messages = (RULES, *rounds(0, 10), user("Last?", ref="q10"))
    model = Model(" They spoke of Q0 to Q6. ")
    compressed = await made(messages, 2000, model)
    assert compressed.summary == Summary("They spoke of Q0 to Q6.", 14, "a6")
    assert compressed.count == 14
    assert compressed.messages == (RULES, *notes("They spoke of Q0 to Q6."), *messages[15:])
    assert "User: Q6" in model.told
    assert "Assistant: A6" in model.told
    assert "Q7" not in model.told


async def test_a_summary_that_suffices_is_used_again() -> None:
    """No model is asked while the rest still fits."""
    messages = (RULES, *rounds(0, 10), user("Last?", ref="q10"))
    known = Summary("They spoke.", 14, "a6")
    for count in (0, 1, 2, 3):
        longer = (*messages, *rounds(10, 10 + count), user("And?"))
        compressed = await made(longer, 2000, Model(), known)
        assert (compressed.summary, compressed.count) == (known, 14)
        assert compressed.messages == (RULES, *notes("They spoke."), *longer[15:])


async def test_a_new_summary_is_made_of_the_old_one() -> None:
    """The model is told the old notes, and only the messages that go now."""
    messages = (RULES, *rounds(0, 20))
    model = Model("All of it.")
    compressed = await made(messages, 2000, model, Summary("Of old: 42.", 14, "a6"))
    assert compressed.summary == Summary("All of it.", 34, "a16")
    assert compressed.count == 34
    assert "Of old: 42." in model.told
    assert "User: Q7" in model.told
    assert "Q6" not in model.told


@pytest.mark.parametrize("known", [Summary("Elsewhere.", 4, "other"), Summary("Too much.", 400, "")])
async def test_a_summary_of_another_path_is_not_used(known: Summary) -> None:
    """The messages that it speaks of are not here."""
    model = Model("New.")
    compressed = await made((RULES, *rounds(0, 10)), 1500, model, known)
    assert "User: Q0" in model.told
    assert known.text not in model.told
    assert compressed.summary
    assert compressed.summary.text == "New."


async def test_thoughts_are_no_summary() -> None:
    compressed = await made((RULES, *rounds(0, 10)), 2000, Model("<think>Which ones?</think>\nThey spoke."))
    assert compressed.summary
    assert compressed.summary.text == "They spoke."


@pytest.mark.parametrize("answer", [None, "", " \n", "<think>Which ones"])
async def test_a_model_that_fails_is_replaced_by_an_outline(answer: str | None) -> None:
    compressed = await made((RULES, *rounds(0, 10)), 2000, Model(answer))
    assert compressed.summary
    assert compressed.summary.text.startswith(f"{compressed.count} earlier messages were left out")
    assert "- Q0 word" in compressed.summary.text
    assert compressed.summary.text in compressed.messages[1].content


async def test_an_outline_keeps_the_old_notes() -> None:
    compressed = await made((RULES, *rounds(0, 20)), 2000, Model(None), Summary("Of old: 42.", 14, "a6"))
    assert compressed.summary
    assert compressed.summary.text.startswith("Of old: 42.\n\n20 earlier messages were left out")
    assert (compressed.summary.covers, compressed.summary.upto) == (34, "a16")


async def test_a_summary_that_is_too_long_is_cut() -> None:
    """The answer to the last question counts more."""
    compressed = await made((RULES, *rounds(0, 10)), 2000, Model("Much. " * 5000))
    assert compressed.messages[1].content.count("Much.") > 100


async def test_messages_that_are_not_stored_make_a_summary_for_once() -> None:
    messages = [user(f"Q{n} {LONG}") for n in range(10)]
    compressed = await made(messages, 800, Model("New."))
    assert compressed.summary
    assert compressed.summary.upto == ""


async def test_a_result_that_was_added_belongs_to_its_call() -> None:
    """A call whose result was not recorded gets one in each request: stored nowhere, and covered with its call."""
    added = [said("", "a", ref="a7"), result("a", "(none)")]
    messages = (*rounds(0, 7), user(f"Q7 {LONG}", ref="q7"), *added, *rounds(8, 11))
    compressed = await made(messages, 1680, Model("New."))
    assert compressed.summary == Summary("New.", 17, "a7")
    again = await made(messages, 1680, Model(), compressed.summary)
    assert again == compressed


async def test_what_was_compressed_is_compressed_again() -> None:
    """The notes of the first time are replaced by new ones, which stand for all that is gone."""
    messages = (RULES, *rounds(0, 10), user("Last?", ref="q10"))
    once = await made(messages, 2000, Model("Of old: 42."))
    model = Model("All of it.")
    twice = await made(once.messages, 700, model, once.summary)
    assert twice.summary == Summary("All of it.", 18, "a8")
    assert twice.messages == (RULES, *notes("All of it."), *messages[19:])
    assert "Of old: 42." in model.told
    assert "User: Q7" in model.told


async def test_notes_that_are_stored_nowhere_are_not_lost() -> None:
    once = await made((RULES, *rounds(0, 10)), 2000, Model("Of old: 42."))
    model = Model(None)
    twice = await made(once.messages, 700, model)
    assert "Of old: 42." in model.told
    assert "Of old: 42." in twice.messages[1].content


async def test_notes_that_are_too_long_are_cut() -> None:
    """What they stand for is gone already, and nothing else can go."""
    messages = (RULES, *notes("Of old. " * 400), user("Last?"))
    compressed = await made(messages, 300, Model())
    assert (compressed.messages[0], compressed.messages[2]) == (RULES, user("Last?"))
    assert 300 < len(compressed.messages[1].content) < 1200


async def test_nothing_can_be_left_out() -> None:
    """What must be kept is too long: nobody is asked."""
    assert await compress((RULES, user(LONG * 10)), 500, estimate, None, Model()) is None


async def test_long_results_are_clipped_without_a_summary() -> None:
    messages = (user("Hi"), said("", "a"), result("a", LONG * 20))
    compressed = await made(messages, 500, Model())
    assert (compressed.summary, compressed.count) == (None, 0)


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_the_request_for_a_summary_fits_itself(size: int) -> None:
    """Long messages are clipped in it, many short ones too, and the old notes."""
    messages = [user("word " * size), said("", 'a {"path": "/etc"}'), result("a", "word " * size)] * 20
    request = summary_request(messages, "Of old: 42. " * size, 2000, estimate, 200)
    assert estimate(request) <= 1800
    rules, wish = request
    assert (rules.role, wish.role) == (Role.SYSTEM, Role.USER)
    assert "Of old: 42." in wish.content
    assert "in the language of the conversation" in rules.content
    assert "at most 120 words" in rules.content
    assert wish.content.endswith("Write the notes now.")


def test_the_request_names_who_said_what() -> None:
    messages = [user("Where?"), said("I look.", 'a {"path": "/etc"}'), result("a", "hosts")]
    (_rules, wish) = summary_request(messages, "", 5000, estimate, 200)
    assert 'Assistant: I look.\n(calls look with {"path": "/etc"})\n\nResult of a tool: hosts' in wish.content
    assert "came before" not in wish.content


@given(conversations(), st.integers(1, 3000), st.none() | st.text(max_size=2000), st.data())
async def test_what_holds_whatever_the_model_says(
    messages: list[ChatMessage], target: int, answer: str | None, data: st.DataObject
) -> None:
    """It fits, the last question is there, and once more changes nothing and asks nobody."""
    refs = [message.ref for message in messages if message.ref]
    known = data.draw(st.none() | st.sampled_from(refs).map(lambda ref: Summary("Of old.", 1, ref)))
    compressed = await compress(messages, target, estimate, known, Model(answer))
    if compressed is None:
        return
    assert estimate(compressed.messages) <= target
    assert estimate(compressed.messages) <= estimate(messages)
    assert [m for m in messages if m.role is Role.USER][-1] in compressed.messages
    again = await compress(compressed.messages, target, estimate, None, Model())
    assert again == Compressed(compressed.messages, None, 0)
