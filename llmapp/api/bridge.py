"""From the event loop into a thread for database work, and back without holding a connection.

An open stream lives for minutes. Whatever its request did with the database, the connection is closed
(with a pool: given back) before the first byte goes out, and again after each look at the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import connections, transaction

from llmapp.runs import away

P = ParamSpec("P")
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in the thread that belongs to this request or, for sockets, to this process."""

    def call() -> T:
        with away.watched(answers=False):
            return function(*args, **kwargs)

    result: T = await database_sync_to_async(call)()
    return result


async def briefly(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Like `in_thread`, and close the thread's connections afterwards, persistent ones too."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            release()

    return await in_thread(call)


def release() -> None:
    """Close this thread's connections, those in a transaction excepted: they are still needed."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def own_transactions(view: View) -> View:
    """Let an asynchronous view be served where a site has ATOMIC_REQUESTS: Django would refuse it.

    What it does with the database happens in threads, in transactions of its own.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
