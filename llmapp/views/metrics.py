"""The figures of the whole site, as Prometheus reads them. They need the extra `llmapp[prometheus]`.

Everything is asked of the database, so any web process answers for all of them, and none keeps a counter: what is
counted over time is counted over the last minutes. Names, units and meanings are in docs/monitoring.md.
"""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse

from llmapp.api.auth import identify
from llmapp.api.bridge import in_thread, own_transactions
from llmapp.api.errors import unauthenticated
from llmapp.runs import away

from .away import away_page
from .health import is_staff, may_read

try:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
except ImportError:
    CONTENT_TYPE_LATEST = ""

MISSING = "There are no metrics here: pip install 'llmapp[prometheus]'\n"


@own_transactions
async def metrics(request: HttpRequest) -> HttpResponse:
    """Answer staff and holders of a token, what is spent to staff only.

    401 or 403 to others, 404 without the extra, 503 without the database.
    """
    try:
        return await in_thread(_answer, request)
    except DatabaseError as error:
        if not away.is_away(error):
            raise
        return away_page()


def _answer(request: HttpRequest) -> HttpResponse:
    identity = identify(request)
    if identity is None:
        return unauthenticated().response()
    if not may_read(identity):
        return HttpResponse(status=403)
    if not CONTENT_TYPE_LATEST:
        return HttpResponse(MISSING, status=404, content_type="text/plain; charset=utf-8")
    exposition = _exposition(spending=is_staff(identity))
    return HttpResponse(exposition, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def _exposition(*, spending: bool) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    from llmapp.figures import Figures

    registry: Any = CollectorRegistry()
    registry.register(Figures(spending=spending))
    exposition: bytes = generate_latest(registry)
    return exposition
