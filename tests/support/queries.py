"""How many queries something takes."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from llmapp.runs.threads import DatabaseThreads

#: What opens and closes transactions is not counted: it depends on the database, and costs nothing that grows.
FRAMES = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "SET ", "PRAGMA")


class Queries(dict[str, int]):
    """Numbers by the name of what took them, for this thread's connection."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        with CaptureQueriesContext(connection) as captured:
            yield
        statements = [query["sql"] for query in captured.captured_queries]
        self[name] = sum(not sql.upper().startswith(FRAMES) for sql in statements)


async def statements(threads: DatabaseThreads, work: Awaitable[object]) -> list[str]:
    """Return what the one thread of `threads` asks of the database while `work` is awaited."""
    captured = await threads.call(lambda: CaptureQueriesContext(connections["default"]))
    await threads.call(captured.__enter__)
    await work
    await threads.call(captured.__exit__, None, None, None)
    sqls = [str(query["sql"]) for query in captured.captured_queries]
    return [sql for sql in sqls if not sql.upper().startswith(FRAMES)]
