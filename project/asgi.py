"""The site as Daphne serves it: Django's pages, and llmapp's websockets behind the same sign-in."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# Before anything that imports models.
pages = get_asgi_application()

from llmapp.routing import with_websockets  # noqa: E402

application = with_websockets(pages)
