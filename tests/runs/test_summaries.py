"""Summaries are found again on each path that they are true of, and on no other."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from llmapp.calls.base import Summary
from llmapp.models import AgentSettings, Conversation, ConversationSummary, Message
from llmapp.runs import summaries, thread
from tests.support.conversations import grown


@pytest.fixture
def conversation(person: Any, scripted: Callable[..., AgentSettings]) -> Conversation:
    return grown(person, scripted(), 10)


def path(leaf_id: uuid.UUID | None) -> list[str]:
    return [message.ref for message in thread.history(leaf_id)]


def test_where_each_message_is_stored(conversation: Conversation) -> None:
    """What a model is told names its rows, in order."""
    stored = thread.in_order(thread.messages_to(conversation.leaf_id), conversation.leaf_id)
    assert path(conversation.leaf_id) == [str(message.pk) for message in stored]


def test_the_newest_on_the_path_is_found(conversation: Conversation, django_assert_num_queries: Any) -> None:
    ids = path(conversation.leaf_id)
    with django_assert_num_queries(1):
        assert summaries.latest(ids) is None
    for covers, text in [(2, "old"), (6, "new")]:
        summaries.keep(conversation.pk, Summary(text, covers, ids[covers - 1]))
    with django_assert_num_queries(1):
        assert summaries.latest(ids) == Summary("new", 6, ids[5])


def test_a_branch_has_the_summaries_of_what_it_shares(person: Any, conversation: Conversation) -> None:
    """A later summary speaks of messages that this branch does not have."""
    ids = path(conversation.leaf_id)
    summaries.keep(conversation.pk, Summary("old", 4, ids[3]))
    summaries.keep(conversation.pk, Summary("new", 8, ids[7]))
    conversation.leaf_id = uuid.UUID(ids[5])
    grown(person, conversation.agent, 6, "Other {n}.", conversation)  # type: ignore[arg-type]
    assert summaries.latest(path(conversation.leaf_id)) == Summary("old", 4, ids[3])
    assert summaries.latest(ids) == Summary("new", 8, ids[7])


def test_messages_are_counted_along_the_path(conversation: Conversation) -> None:
    """An answer that became empty is not sent any more, and not counted."""
    ids = path(conversation.leaf_id)
    summaries.keep(conversation.pk, Summary("old", 6, ids[5]))
    Message.objects.filter(pk=ids[1]).update(text="")
    assert summaries.latest(path(conversation.leaf_id)) == Summary("old", 5, ids[5])


def test_nothing_is_found_without_a_path(transactional_db: None) -> None:
    assert summaries.latest([]) is None
    assert summaries.latest([str(uuid.uuid4())]) is None


def test_what_cannot_be_found_again_is_not_kept(person: Any, conversation: Conversation) -> None:
    """The last message is stored nowhere, is gone, or is another conversation's."""
    other = grown(person, conversation.agent, 2)  # type: ignore[arg-type]
    for upto in ("", str(uuid.uuid4()), str(other.leaf_id)):
        summaries.keep(conversation.pk, Summary("lost", 2, upto))
    assert not ConversationSummary.objects.exists()


def test_a_summary_goes_with_its_message_and_its_conversation(conversation: Conversation) -> None:
    ids = path(conversation.leaf_id)
    summaries.keep(conversation.pk, Summary("old", 4, ids[3]))
    summaries.keep(conversation.pk, Summary("new", 8, ids[7]))
    Message.objects.filter(pk=ids[7]).delete()
    assert summaries.latest(ids[:6]) == Summary("old", 4, ids[3])
    conversation.delete()
    assert not ConversationSummary.objects.exists()


def test_old_summaries_make_room(conversation: Conversation) -> None:
    """A conversation that goes on for years does not collect them."""
    ids = path(conversation.leaf_id)
    for n in range(summaries.KEPT + 5):
        summaries.keep(conversation.pk, Summary(f"number {n}", 2, ids[1]))
    assert ConversationSummary.objects.count() == summaries.KEPT
    assert summaries.latest(ids) == Summary(f"number {summaries.KEPT + 4}", 2, ids[1])
