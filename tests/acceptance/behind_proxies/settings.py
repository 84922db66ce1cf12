"""The demo site, which says on its streams every second that it is still there: no test waits for a minute."""

from __future__ import annotations

from project.settings import *  # noqa: F403

ASGI_APPLICATION = "tests.acceptance.behind_proxies.asgi.application"
