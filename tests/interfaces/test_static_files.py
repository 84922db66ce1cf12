"""`with_websockets` serves the files of apps with DEBUG, as `runserver` does, and leaves them to the site without."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application

from llmapp.routing import with_websockets

SCRIPT = "/static/llmapp/js/widget.js"


async def status_of(path: str) -> int:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")], "query_string": b""}
    visit = ApplicationCommunicator(with_websockets(get_asgi_application()), scope)
    await visit.send_input({"type": "http.request", "body": b""})
    start = await visit.receive_output(5)
    while (await visit.receive_output(5)).get("more_body"):
        pass
    await visit.wait()
    return int(start["status"])


CASES: list[tuple[dict[str, Any], str, int]] = [
    ({"DEBUG": True}, SCRIPT, 200),
    ({"DEBUG": True}, "/static/nothing.js", 404),
    ({"DEBUG": True}, "/health/live", 200),
    ({"DEBUG": False}, SCRIPT, 404),
    ({"DEBUG": True, "STATIC_URL": "https://files.example.org/static/"}, SCRIPT, 404),
    ({"DEBUG": True, "STATIC_URL": None}, "/health/live", 200),
]


@pytest.mark.parametrize("given, path, status", CASES)
async def test_files_of_apps(settings: Any, given: dict[str, Any], path: str, status: int) -> None:
    # The demo site serves files by a middleware of its own.
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "servestatic" not in name]
    for name, value in given.items():
        setattr(settings, name, value)
    assert await status_of(path) == status


async def test_without_the_app_of_static_files_everything_is_the_site_s(settings: Any) -> None:
    settings.DEBUG = True
    settings.MIDDLEWARE = []
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if "staticfiles" not in name]
    assert await status_of(SCRIPT) == 404
