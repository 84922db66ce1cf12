"""The one clock of leases and deadlines: the database's, so that no worker's own clock counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection

_NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "postgresql": "clock_timestamp()",
}


def db_now() -> datetime:
    """Return the database's time, aware, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql()}")
        (value,) = cursor.fetchone()
    return as_moment(value)


def now_sql() -> str:
    """Return the expression of the database's time. It goes into statements without parameters, or by `%%`."""
    return _NOW.get(connection.vendor, "CURRENT_TIMESTAMP")


def as_moment(value: Any) -> datetime:
    """Return what the database answered to `now_sql`, aware, in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
