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
from django.urls import re_path

from .consumers import ConversationConsumer

websocket_urlpatterns = [
    re_path(r"^ws/conversations/(?P<conversation>.+?)/?$", ConversationConsumer.as_asgi()),
]


def with_websockets(application: Any) -> Any:
    """Return a site's ASGI application with our websockets beside its pages."""
    return ProtocolTypeRouter({"http": application, "websocket": websocket_application()})


def websocket_application() -> Any:
    """Return the websockets behind Django's session and sign-in.

    The consumer checks the origin itself: a validator around it would also refuse programs, which have a
    token and no origin. Any other address is refused like one that is not yours; the router alone would make
    an error of it.
    """
    return AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, re_path("", _refuse)]))  # type: ignore[arg-type]


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Close a socket before it opens: the server answers 403."""
    await receive()
    await send({"type": "websocket.close"})
