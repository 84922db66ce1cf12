"""The addresses of websockets.

At the end of a site's `asgi.py`, after Django has been set up:

    from llmapp.routing import with_websockets
    application = with_websockets(application)

A site that has websockets of its own takes `websocket_urlpatterns` into its `URLRouter`.
"""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.db import DatabaseError
from django.urls import re_path

from .consumers import ConversationConsumer
from .runs import away

websocket_urlpatterns = [
    re_path(r"^ws/conversations/(?P<conversation>.+?)/?$", ConversationConsumer.as_asgi()),
]


def with_websockets(application: Any) -> Any:
    """Return a site's ASGI application with our websockets beside its pages."""
    return ProtocolTypeRouter({"http": with_static_files(application), "websocket": websocket_application()})


def with_static_files(application: Any) -> Any:
    """Serve the files of apps while a site is being made: `runserver` does so with DEBUG, an ASGI server does not."""
    if settings.DEBUG and settings.STATIC_URL and apps.is_installed("django.contrib.staticfiles"):
        return ASGIStaticFilesHandler(application)
    return application


def websocket_application() -> Any:
    """Return the websockets behind Django's session and sign-in.

    The consumer checks the origin itself: a validator around it would also refuse programs, which have a
    token and no origin. Any other address is refused like one that is not yours; the router alone would make
    an error of it.
    """
    return RefusedWhileAway(AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, re_path("", _refuse)])))  # type: ignore[arg-type]


class RefusedWhileAway:
    """Without a database nobody can be known: a refusal and one line, not an error for every page that tries."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.inner(scope, receive, send)
        except DatabaseError as error:
            if not away.is_away(error):
                raise
            away.noticed(error)
            await send({"type": "websocket.close", "code": 1013})


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Close a socket before it opens: the server answers 403."""
    await receive()
    await send({"type": "websocket.close"})
