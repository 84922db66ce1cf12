"""Which database it is, and how it is set up. Nothing is asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections

from llmapp.whereabouts import asgi_application

from .registry import check


@check("llmapp")
def check_database() -> Iterator[CheckMessage]:
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "sqlite":
        yield from _check_sqlite(connection.settings_dict["OPTIONS"])
    elif connection.vendor != "postgresql":
        yield Error(
            f"llmapp does not run on {connection.display_name}.",
            hint="Runs need partial unique indexes and row locks as PostgreSQL has them. Use it, or SQLite.",
            id="llmapp.E004",
        )


def _check_sqlite(options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    missing = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
        missing.append('"init_command": "PRAGMA journal_mode=WAL"')
    if missing:
        yield Warning(
            "SQLite is not set up for several processes: runs will fail with 'database is locked'.",
            hint=f'Put {" and ".join(missing)} into DATABASES["default"]["OPTIONS"].',
            id="llmapp.W001",
        )


@check("llmapp")
def check_connections() -> Iterator[CheckMessage]:
    connection = connections[DEFAULT_DB_ALIAS]
    lasting = connection.settings_dict.get("CONN_MAX_AGE", 0)
    # Measured with Daphne: 160 requests, 20 at once, left 66 connections behind; without it 4, and soon none.
    if connection.vendor == "postgresql" and lasting != 0 and asgi_application():
        yield Warning(
            f"CONN_MAX_AGE is {lasting}: under ASGI each request may leave a connection to PostgreSQL behind.",
            hint='Set it to 0, and "pool": True in DATABASES["default"]["OPTIONS"] to keep connections all the same.',
            id="llmapp.W014",
        )
