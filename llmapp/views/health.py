"""Is the process alive, and could it serve a run?

Outsiders learn a status code only. Staff and holders of a token also read what is wrong.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from llmapp.api.auth import identify
from llmapp.api.bridge import in_thread
from llmapp.api.workers import any_alive
from llmapp.runs.hub import get_hub

logger = logging.getLogger("llmapp.health")

#: Seconds after which a check that does not answer has failed.
PATIENCE = 5.0


async def live(request: HttpRequest) -> HttpResponse:
    """200 while the event loop turns. Touches no disk, no database and no session."""
    return HttpResponse(headers={"Cache-Control": "no-store"})


async def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, its bell can be heard and a worker is alive; else 503.

    Details: {"database": bool, "bell": bool, "worker": bool}.
    """
    checks = {"database": False, "bell": False, "worker": False}
    try:
        async with asyncio.timeout(PATIENCE):
            checks["database"] = await in_thread(_database_answers)
            checks["worker"] = await in_thread(any_alive)
            checks["bell"] = await get_hub().bell_works()
            detailed = await in_thread(_may_read_details, request)
    except Exception:
        # Whatever it was, the answer to the question is no.
        logger.warning("not ready", exc_info=True, extra={"action": "not_ready"})
        detailed = False
    response = JsonResponse(checks) if detailed else HttpResponse()
    response.status_code = 200 if all(checks.values()) else 503
    response.headers["Cache-Control"] = "no-store"
    return response


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone())


def _may_read_details(request: HttpRequest) -> bool:
    identity = identify(request)
    return identity is not None and bool(identity.token or identity.user.is_staff)
