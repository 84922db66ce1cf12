"""The threads with the database: a connection is kept for a moment, and never after a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.db import connection

from llmapp.runs import threads as module
from llmapp.runs.threads import DatabaseThreads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def threads() -> AsyncIterator[DatabaseThreads]:
    made = DatabaseThreads(1, "test")
    yield made
    made.close()


def wire() -> object:
    """Return the connection below Django's, opened by a query. Compared while it is held, so no id comes twice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return connection.connection


def fail() -> None:
    wire()
    raise ValueError("a fault")


async def test_calls_that_follow_each_other_share_a_connection(threads: DatabaseThreads) -> None:
    first = await threads.call(wire)
    assert await threads.call(wire) is first


async def test_one_that_was_not_used_for_long_is_looked_at(
    threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own rules count then: here, that none is older than a request."""
    first = await threads.call(wire)
    monkeypatch.setattr(module, "KEPT", -1.0)
    assert await threads.call(wire) is not first


async def test_a_failure_gives_it_up(threads: DatabaseThreads) -> None:
    first = await threads.call(wire)
    with pytest.raises(ValueError, match="a fault"):
        await threads.call(fail)
    assert await threads.call(wire) is not first
