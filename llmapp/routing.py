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
    """Return the websockets behind Django's session and sign-in. The consumer checks the origin itself."""
    return AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
