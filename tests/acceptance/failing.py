"""The demo site's application, with an address where a stream fails after its first line."""

from __future__ import annotations

from typing import Any

from project.asgi import application as site


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope.get("path") != "/fail":
        await site(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
    raise RuntimeError("it was meant to fail")
