"""A site with two people, an agent that plays a script, and clients that speak for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from llmapp import consumers, tokens
from llmapp.api import workers
from llmapp.api.bridge import in_thread
from llmapp.models import AgentSettings, Conversation, Run
from llmapp.runs.hub import get_hub
from tests.runs.conftest import enqueued, in_background, person, process, scripted

from .support import Socket

__all__ = ["enqueued", "in_background", "person", "process", "scripted"]


@pytest.fixture
def other(transactional_db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("eve", is_staff=True)


@pytest.fixture
def agent(scripted: Callable[..., AgentSettings]) -> AgentSettings:
    return scripted()


@pytest.fixture
def token(person: Any) -> str:
    return tokens.issue(person)


@pytest.fixture
def client(person: Any) -> AsyncClient:
    """A browser in which `person` is signed in."""
    client = AsyncClient()
    client.force_login(person)
    return client


@pytest.fixture
def stranger(other: Any) -> AsyncClient:
    """A browser in which somebody else is signed in."""
    client = AsyncClient()
    client.force_login(other)
    return client


@pytest.fixture
async def hub() -> AsyncIterator[None]:
    """For tests that read a stream: leaves no thread behind."""
    yield
    await get_hub().aclose()


@pytest.fixture
def background(process: Any) -> Callable[[uuid.UUID], asyncio.Task[Any]]:
    """Carry a run out while the test goes on."""

    def start(run_pk: uuid.UUID) -> asyncio.Task[Any]:
        return asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run_pk))

    return start


@pytest.fixture
def execute(background: Callable[[uuid.UUID], asyncio.Task[Any]]) -> Callable[[Run], Any]:
    """Carry a run out, from its claim to its end."""

    async def carry_out(run: Run) -> Run:
        await background(run.pk)
        await in_thread(run.refresh_from_db)
        return run

    return carry_out


# --- sockets --------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for workers more often than people need."""
    monkeypatch.setattr(workers, "FRESH", 0.1)
    monkeypatch.setattr(consumers, "FRESH", 0.1)


@pytest.fixture
async def chat(person: Any) -> Conversation:
    """A conversation of `person`'s."""
    return await Conversation.objects.acreate(user=person)


@pytest.fixture
async def socket(quick: None, chat: Conversation, client: AsyncClient) -> AsyncIterator[Socket]:
    """An open socket on it."""
    opened = Socket(chat.pk, client)
    assert await opened.open()
    yield opened
    await opened.disconnect()
