"""A site with ATOMIC_REQUESTS: Django refuses it to asynchronous views, so ours keep their own transactions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connections
from django.test import AsyncClient

from llmapp.models import Conversation, Run

from .support import start

pytestmark = pytest.mark.usefixtures("hub", "enqueued")


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


ADDRESSES = [
    ("/chat/", 200),
    ("/chat/{conversation}/", 200),
    ("/chat/embed/scripted/", 200),
    ("/api/conversations/", 200),
    ("/api/conversations/{conversation}/messages", 200),
    ("/api/runs/{nothing}", 404),
    ("/api/runs/{nothing}/events", 404),
    ("/api/status", 200),
    ("/health/live", 200),
    ("/health/ready", 503),
    ("/demo/token/", 404),
]


@pytest.mark.parametrize("address, status", ADDRESSES)
async def test_each_address_answers(
    client: AsyncClient, chat: Conversation, agent: Any, address: str, status: int
) -> None:
    path = address.format(conversation=chat.pk, nothing=uuid.uuid4())
    assert (await client.get(path)).status_code == status


async def test_a_run_is_there_before_its_stream_begins(client: AsyncClient, agent: Any) -> None:
    """Whoever reads the log, in another connection, finds it."""
    response = await start(client)
    assert response.status_code == 200
    assert await Run.objects.acount() == 1
