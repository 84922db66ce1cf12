"""Is the process alive, and could it serve a run?

Outsiders learn a status code only. Staff and holders of a token also read what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from llmapp.api.auth import Identity, identify
from llmapp.api.bridge import in_thread, own_transactions
from llmapp.api.brokers import broker_watch
from llmapp.api.errors import said_elsewhere
from llmapp.api.workers import any_alive
from llmapp.runs import away, now
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

    Details: {"database": bool, "broker": bool, "bell": bool, "worker": bool}, and once the database has answered
    "now", with the figures of `runs.now.Now`, which change nothing of the status.
    """
    checks = {"database": False, "broker": False, "bell": False, "worker": False}
    looking = asyncio.create_task(_look(request, checks))
    # Not cancelled when it takes too long: that would wait for the thread that hangs.
    await asyncio.wait({looking}, timeout=PATIENCE)
    if not looking.done() and not checks["database"]:
        away.database.noticed("it does not answer")
    figures = looking.result() if looking.done() else None
    response = JsonResponse({**checks, **figures}) if figures is not None else HttpResponse()
    response.status_code = 200 if all(checks.values()) else 503
    response.headers["Cache-Control"] = "no-store"
    return said_elsewhere(response)


async def _look(request: HttpRequest, checks: dict[str, bool]) -> dict[str, Any] | None:
    """Fill `checks` in, and return what else is known; None: who asks may not read it."""
    try:
        checks["database"] = await in_thread(_database_answers)
        detailed = await in_thread(may_read_details, request)
        checks["worker"] = await in_thread(any_alive)
        checks["bell"] = await get_hub().bell_works()
        checks["broker"] = await broker_watch().answers()
    except Exception as error:
        # Whatever it was, the answer to the question is no.
        if not away.is_away(error):
            logger.warning("not ready", exc_info=True, extra={"action": "not_ready"})
        return None
    return await in_thread(_figures) if detailed else None


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        answered = bool(cursor.fetchone())
    away.database.over()
    return answered


def _figures() -> dict[str, Any]:
    try:
        figures, _closely = now.look()
    except DatabaseError:
        # What was asked has been answered; these come on top.
        return {}
    return {"now": figures.as_dict()}


def may_read_details(request: HttpRequest) -> bool:
    return may_read(identify(request))


def may_read(identity: Identity | None) -> bool:
    """Say whether this is staff, or somebody with a token."""
    return identity is not None and (bool(identity.token) or is_staff(identity))


def is_staff(identity: Identity) -> bool:
    """Say whether this is staff, also by a token."""
    return bool(identity.owner.is_staff)
