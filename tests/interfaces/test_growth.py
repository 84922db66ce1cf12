"""Pages and answers take the same queries with little stored and with much."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, RequestFactory

from llmapp.api import conversations, runs
from llmapp.api.auth import Identity
from llmapp.models import AgentSettings, Conversation
from tests.support.conversations import grown
from tests.support.queries import Queries

#: Page -> its queries; two of them are the session and the user.
PAGES = {
    "/chat/": 4,
    "/chat/{conversation}/": 9,
    "/chat/{conversation}/?thread=another": 7,
    "/chat/{conversation}/?before={message}&thread=": 7,
    "/chat/embed/scripted/{conversation}/": 9,
    "/api/conversations/": 4,
    "/api/conversations/?cursor={cursor}": 4,
    "/api/conversations/{conversation}": 6,
    "/api/conversations/{conversation}/messages": 5,
    "/api/conversations/{conversation}/messages?limit=20": 5,
    "/api/conversations/{conversation}/messages?limit=20&before={message}": 7,
    "/api/runs/{run}": 4,
    "/admin/llmapp/conversation/": 5,
    "/admin/llmapp/conversation/{conversation}/change/": 6,
    "/admin/llmapp/run/": 6,
    "/admin/llmapp/run/?conversation__id__exact={conversation}": 7,
    "/admin/llmapp/run/{run}/change/": 6,
}


@pytest.fixture
def owner(transactional_db: None, django_user_model: Any) -> Any:
    """Somebody who may see everything."""
    return django_user_model.objects.create_superuser("root")


@pytest.mark.parametrize("stored", [20, 300])
def test_the_queries_of_a_page(owner: Any, agent: AgentSettings, stored: int) -> None:
    """With so many messages in the conversation, and as many conversations beside it."""
    conversation = grown(owner, agent, stored)
    Conversation.objects.bulk_create([Conversation(user=owner, agent=agent) for _ in range(stored)])
    # Ten messages before the end.
    message = list(conversation.messages.order_by("created_at"))[-10]
    newest = conversations.list_conversations(RequestFactory().get("/", {"limit": 10}), Identity(owner))
    places = {
        "conversation": conversation.pk,
        "message": message.pk,
        "run": conversation.runs.latest("created_at").pk,
        "cursor": newest["next"],
    }
    browser, asked = Client(), Queries()
    browser.force_login(owner)
    for page in PAGES:
        path = page.format(**places)
        assert browser.get(path).status_code == 200, path  # what is cached for good is cached now
        with asked.of(page):
            browser.get(path)
    assert asked == PAGES


@pytest.mark.parametrize("stored", [20, 300])
def test_the_ids_that_a_client_sends_are_looked_for_alone(
    owner: Any, agent: AgentSettings, stored: int, django_assert_num_queries: Any
) -> None:
    conversation = grown(owner, agent, stored)
    leaf = str(conversation.leaf_id)
    with django_assert_num_queries(2):
        assert runs._known_ids(conversation, [leaf, "a name", "00000000-0000-4000-8000-000000000000"]) == {leaf}
