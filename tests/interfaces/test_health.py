"""Health: alive without any IO, ready when a run could be served, and details only for those who may see them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient

from llmapp.api.bridge import in_thread
from llmapp.runs import hub as hubs
from llmapp.runs import lease
from llmapp.views import health

pytestmark = pytest.mark.usefixtures("hub")


async def test_alive_without_any_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a visitor with a session, and while the database is away: pytest-django refuses any query here."""
    client = AsyncClient()
    client.cookies["sessionid"] = "x" * 32
    response = await client.get("/health/live")
    assert (response.status_code, response.content) == (200, b"")


async def test_ready_when_everything_is_there(transactional_db: None) -> None:
    assert (await AsyncClient().get("/health/ready")).status_code == 503
    await in_thread(lease.register, 1, {})
    response = await AsyncClient().get("/health/ready")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


async def test_details_are_for_staff_and_tokens(client: AsyncClient, person: Any, token: str) -> None:
    expected = {"database": True, "bell": True, "worker": False}
    by_token = await AsyncClient().get("/health/ready", headers={"Authorization": f"Bearer {token}"})
    for response in [await client.get("/health/ready"), by_token]:
        assert (response.status_code, json.loads(response.content)) == (503, expected)
    await type(person).objects.filter(pk=person.pk).aupdate(is_staff=False)
    wrong = await AsyncClient().get("/health/ready", headers={"Authorization": "Bearer x"})
    for response in [await client.get("/health/ready"), wrong]:
        assert (response.status_code, response.content) == (503, b"")


async def test_not_ready_without_the_database(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer all the same, and without details: nobody can be known."""

    def away() -> bool:
        raise OperationalError("the database is away")

    monkeypatch.setattr(health, "_database_answers", away)
    response = await client.get("/health/ready")
    assert (response.status_code, response.content) == (503, b"")


async def test_not_ready_when_the_bell_is_silent(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: hubs.Hub) -> bool:
        return False

    await in_thread(lease.register, 1, {})
    monkeypatch.setattr(hubs.Hub, "bell_works", silent)
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert json.loads(response.content) == {"database": True, "bell": False, "worker": True}


async def test_a_check_that_hangs_has_failed(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: hubs.Hub) -> bool:
        await asyncio.sleep(60)
        return True

    monkeypatch.setattr(health, "PATIENCE", 0.5)
    monkeypatch.setattr(hubs.Hub, "bell_works", hang)
    async with asyncio.timeout(5):
        assert (await client.get("/health/ready")).status_code == 503
