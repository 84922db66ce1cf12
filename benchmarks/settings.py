"""The demo site, which says of each answer how many queries it took, and lets one person send what many would."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import async_only_middleware

from project.settings import *  # noqa: F403
from project.settings import LLMAPP as _LLMAPP
from project.settings import MIDDLEWARE as _MIDDLEWARE

#: Where an answer says it.
HEADER = "X-Queries"

LLMAPP = {**_LLMAPP, "SENDS_PER_MINUTE": 100_000}
# The last one: what those before it ask is the site's own.
MIDDLEWARE = [*_MIDDLEWARE, "benchmarks.settings.say_queries"]

_asked = 0


def _count(execute: Callable[..., Any], *arguments: Any) -> Any:
    global _asked
    _asked += 1
    return execute(*arguments)


def _watch(connection: Any, **facts: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


connection_created.connect(_watch, dispatch_uid="benchmarks")


@async_only_middleware
def say_queries(view: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> Any:
    async def answer(request: HttpRequest) -> HttpResponseBase:
        before = _asked
        response = await view(request)
        response.headers[HEADER] = str(_asked - before)
        return response

    return answer
