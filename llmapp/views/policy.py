"""What the chat page may load and run: its own files, and nothing else."""

from __future__ import annotations

from django.http import HttpRequest


def content_security_policy(request: HttpRequest) -> str:
    """Return the value of the header.

    Browsers differ on whether `'self'` covers websockets, so they are named. Only the policy `llmapp`
    (`js/html.js`) may turn text into HTML.
    """
    host = request.get_host()
    socket = "wss" if request.is_secure() else "ws"
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self' {socket}://{host}",
            "img-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
            "trusted-types llmapp",
        ]
    )
