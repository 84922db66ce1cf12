"""Holds the commit of a run's end from outside: what has to be written waits for a lock of ours."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg


@contextlib.contextmanager
def holding(env: Mapping[str, str], run: str) -> Iterator[None]:
    """Let nobody write for this run: on SQLite for none, for it has one writer; on PostgreSQL its row is locked."""
    if url := env.get("DATABASE_URL"):
        with psycopg.connect(url) as held:
            held.execute("SELECT 1 FROM llmapp_run WHERE id = %s FOR UPDATE", [uuid.UUID(run)])
            yield
            held.rollback()
        return
    writer = sqlite3.connect(Path(env["LLMAPP_HOME"]) / "db.sqlite3", timeout=20, isolation_level=None)
    with contextlib.closing(writer):
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")
