"""The addresses of websockets.

A site that has its own ASGI routing takes `websocket_urlpatterns` into it; one that has none writes

    application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application()})
"""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import re_path

from .consumers import ConversationConsumer

websocket_urlpatterns = [
    re_path(r"^ws/conversations/(?P<conversation>.+?)/?$", ConversationConsumer.as_asgi()),
]


def websocket_application() -> Any:
    """Return the websockets behind Django's session and sign-in. The consumer checks the origin itself.

    Any other address is refused like one that is not yours; the router alone would make an error of it.
    """
    return AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, re_path("", _refuse)]))  # type: ignore[arg-type]


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Close a socket before it opens: the server answers 403."""
    await receive()
    await send({"type": "websocket.close"})
