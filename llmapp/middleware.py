"""For all pages of a site, the admin too: a sentence with status 503 while the database is away or overrun.

    MIDDLEWARE = [..., "llmapp.middleware.DatabaseAway"]

llmapp's own pages do that by themselves.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from .runs import away
from .views.away import away_page


class DatabaseAway(MiddlewareMixin):
    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not away.passes(error):
            return None
        away.noticed(error)
        return away_page()
