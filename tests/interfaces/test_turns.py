"""More requests than there is room for: they wait in order, and who cannot wait is told so in a sentence."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient, AsyncRequestFactory, RequestFactory

from llmapp.api import errors, turns
from llmapp.middleware import DatabaseAway
from tests.support import stack

REQUEST = AsyncRequestFactory().get("/")


async def test_no_more_than_so_many_at_a_time_and_in_order() -> None:
    begun: list[int] = []
    working = most = 0

    async def one(number: int) -> None:
        nonlocal working, most
        async with turns.turn(REQUEST):
            begun.append(number)
            working += 1
            most = max(most, working)
            await asyncio.sleep(0)
            working -= 1

    await asyncio.gather(*(one(number) for number in range(50)))
    assert most == turns.AT_A_TIME
    assert begun == list(range(50))


async def test_a_request_that_fails_leaves_its_turn_to_others() -> None:
    for _ in range(turns.AT_A_TIME + 1):
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(5), turns.turn(REQUEST):
                raise ZeroDivisionError


@pytest.mark.django_db(transaction=True)
async def test_who_gets_no_turn_is_told_to_come_back(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    async with AsyncExitStack() as taken:
        for _ in range(turns.AT_A_TIME):
            await taken.enter_async_context(turns.turn(REQUEST))
        answer = await client.get("/api/conversations")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
        assert answer["Retry-After"] == str(errors.RETRY_AFTER)
    assert (await client.get("/api/conversations")).status_code == 200


# --- SQLite has one place for a writer ------------------------------------------------------------

of_sqlite = pytest.mark.skipif(stack.on_servers(), reason="PostgreSQL has no one writer")


@pytest.fixture
def locked(tmp_path: Path) -> OperationalError:
    """Return what Django raises where another writer does not go away."""
    path = tmp_path / "file.sqlite3"
    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("BEGIN IMMEDIATE")
    error = OperationalError(*caught.value.args)
    error.__cause__ = caught.value
    return error


@of_sqlite
@pytest.mark.django_db(transaction=True)
async def test_the_api_is_busy_where_the_database_is_locked(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, locked: OperationalError
) -> None:
    def fail(*_: Any) -> None:
        raise locked

    monkeypatch.setattr("llmapp.api.http._handle", fail)
    answer = await client.get("/api/conversations")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")


@of_sqlite
def test_a_page_says_a_sentence_where_the_database_is_locked(locked: OperationalError) -> None:
    request = RequestFactory().get("/")
    answer = DatabaseAway(lambda _: None).process_exception(request, locked)
    assert answer is not None
    assert answer.status_code == 503
    # And of what is a fault of ours it says nothing.
    assert DatabaseAway(lambda _: None).process_exception(request, OperationalError("no such table")) is None
