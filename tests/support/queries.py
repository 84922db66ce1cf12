"""How many queries something takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.test.utils import CaptureQueriesContext

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
