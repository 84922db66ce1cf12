"""The threads with the database: a connection is kept for a moment, and never after a failure."""

from __future__ import annotations

import asyncio
import time

import pytest
from django.db import connection

from llmapp.runs import threads as module
from llmapp.runs.threads import DatabaseThreads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that Django decides whether to keep the connection."""
    seen: list[None] = []
    monkeypatch.setattr(module, "close_old_connections", lambda: seen.append(None))
    return seen


def query(fails: bool = False) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if fails:
        raise ValueError("a fault")


async def test_calls_that_follow_each_other_share_a_connection(threads: DatabaseThreads, looks: list[None]) -> None:
    await threads.call(query)
    for _ in range(3):
        await threads.call(query)
    assert len(looks) == 1


async def test_one_that_is_used_all_the_time_is_looked_at_now_and_then(
    threads: DatabaseThreads, looks: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 0.1)
    began = time.monotonic()
    while time.monotonic() - began < 0.35:
        await threads.call(query)
    assert 3 <= len(looks) <= 4


async def test_one_that_nobody_uses_is_given_back(
    threads: DatabaseThreads, looks: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 0.1)
    await threads.call(query)
    await asyncio.sleep(0.5)
    assert len(looks) == 2


async def test_after_a_failure_it_is_looked_at(threads: DatabaseThreads, looks: list[None]) -> None:
    await threads.call(query)
    with pytest.raises(ValueError, match="a fault"):
        await threads.call(query, fails=True)
    assert len(looks) == 2
