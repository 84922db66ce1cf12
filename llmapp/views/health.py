"""Is the process alive, and could it serve a run?

Outsiders learn a status code only. Staff and holders of a token also read what is wrong.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from llmapp.api.auth import identify
from llmapp.api.bridge import in_thread, own_transactions
from llmapp.api.brokers import broker_watch
from llmapp.api.errors import said_elsewhere
from llmapp.api.workers import any_alive
from llmapp.runs import away
from llmapp.runs.hub import get_hub

logger = logging.getLogger("llmapp.health")

#: Seconds after which a check that does not answer has failed.
PATIENCE = 5.0


@own_transactions
async def live(request: HttpRequest) -> HttpResponse:
    """200 while the event loop turns. Touches no disk, no database and no session."""
    return HttpResponse(headers={"Cache-Control": "no-store"})


@own_transactions
async def ready(request: HttpRequest) -> HttpResponse:
    """200 when database and broker answer, the bell can be heard and a worker takes runs; else 503.

    Details: {"database": bool, "broker": bool, "bell": bool, "worker": bool}.
    """
    checks = {"database": False, "broker": False, "bell": False, "worker": False}
    looking = asyncio.create_task(_look(request, checks))
    # Not cancelled when it takes too long: that would wait for the thread that hangs.
    await asyncio.wait({looking}, timeout=PATIENCE)
    if not looking.done() and not checks["database"]:
        away.database.noticed("it does not answer")
    detailed = looking.done() and looking.result()
    response = JsonResponse(checks) if detailed else HttpResponse()
    response.status_code = 200 if all(checks.values()) else 503
    response.headers["Cache-Control"] = "no-store"
    return said_elsewhere(response)


async def _look(request: HttpRequest, checks: dict[str, bool]) -> bool:
    """Fill `checks` in, and return whether who asks may read them."""
    try:
        checks["database"] = await in_thread(_database_answers)
        detailed = await in_thread(_may_read_details, request)
        checks["worker"] = await in_thread(any_alive)
        checks["bell"] = await get_hub().bell_works()
        checks["broker"] = await broker_watch().answers()
    except Exception as error:
        # Whatever it was, the answer to the question is no.
        if not away.is_away(error):
            logger.warning("not ready", exc_info=True, extra={"action": "not_ready"})
        return False
    return detailed


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        answered = bool(cursor.fetchone())
    away.database.over()
    return answered


def _may_read_details(request: HttpRequest) -> bool:
    identity = identify(request)
    return identity is not None and bool(identity.token or identity.owner.is_staff)
