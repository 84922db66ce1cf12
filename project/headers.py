"""The Content-Security-Policy of pages that bring none of their own: sign-in, admin, errors."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


@sync_and_async_middleware
def content_security_policy(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Set the header where a view did not."""

    def stamped(response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    async def in_loop(request: HttpRequest) -> HttpResponseBase:
        return stamped(await get_response(request))

    def in_thread(request: HttpRequest) -> HttpResponseBase:
        return stamped(get_response(request))

    return in_loop if iscoroutinefunction(get_response) else in_thread
