"""What a person sees while the database is away or overrun: a sentence with status 503, not a stack trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from llmapp.api.errors import RETRY_AFTER, said_elsewhere
from llmapp.runs import away

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)


def or_away(view: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R | HttpResponse]]:
    """Let an asynchronous view answer with the page while the database is away or overrun."""

    @wraps(view)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> R | HttpResponse:
        try:
            return await view(*args, **kwargs)
        except DatabaseError as error:
            if not away.passes(error):
                raise
            away.noticed(error)
            return away_page()

    return answered


def away_page() -> HttpResponse:
    """Return the page. It is made without the request: whatever looks for its user would ask the database."""
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    return said_elsewhere(HttpResponse(render_to_string("llmapp/away.html"), status=503, headers=headers))
