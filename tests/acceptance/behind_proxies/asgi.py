"""The demo site's application, with comments on quiet streams every second instead of every 15."""

from __future__ import annotations

from project.asgi import application

# After Django has been set up.
from llmapp.api import sse  # isort: skip

__all__ = ["application"]

sse.COMMENT_EVERY = 1.0
