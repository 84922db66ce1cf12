"""The log of runs: the only module that writes events.

Every entry has `(run, seq)`; seq starts at 1 and has no holes. Within a transaction, `append` adds
entries after the last one. Who calls it owns the run: the worker that holds its lease (`runs.writer`),
or, while nobody holds one, whoever has locked its row (`runs.actions`).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max

from llmapp.core import events as ev
from llmapp.core.events import Event
from llmapp.core.run_state import RunStatus
from llmapp.core.transcript import Transcript
from llmapp.models import Run, RunEvent, Worker

from .clock import db_now

logger = logging.getLogger("llmapp.runs")

#: Rows of one INSERT: five parameters each, far below what SQLite and Postgres allow.
CHUNK = 500
#: NOTIFY refuses payloads of 8,000 bytes; a run's id, its seq and what parts them are below 50.
NOTIFY_RUNS = 150
CHANNEL = "llmapp"
#: Of an entry, in the order of an INSERT.
COLUMNS = "run_id, seq, status, data, created_at"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event on its way into the log, as JSON. `status` is set where it changes the run's status."""

    data: str
    status: str = ""


#: An entry with its place: the run and the seq.
Row = tuple[uuid.UUID, int, Entry]


def entry(event: Event) -> Entry:
    """Write an event as JSON, and find the status that it announces."""
    return Entry(encode(event), _status_in(event))


def _status_in(event: Event) -> str:
    if event["type"] in ev.TERMINAL:
        return str(event["metadata"]["llmapp.status"])
    if event["type"] == ev.CUSTOM and event["name"] == "llmapp.run":
        return str(event["value"]["status"])
    return str(RunStatus.QUEUED) if event["type"] == ev.RUN_STARTED else ""


def encode(event: Event) -> str:
    """Write an event as JSON. Escaped to ASCII: neither a NUL nor half an emoji can reach the database."""
    return json.dumps(event, separators=(",", ":"))


def last_seq(run_id: uuid.UUID) -> int:
    """Return the number of the newest entry, 0 for an empty log."""
    return RunEvent.objects.filter(run_id=run_id).aggregate(last=Max("seq"))["last"] or 0


def append(run_id: uuid.UUID, events: Iterable[Event], *, after: int | None = None, now: datetime | None = None) -> int:
    """Add events after the last entry, in the caller's transaction. Returns the new last seq.

    The caller holds a lock on the run's row, or its lease. It may say which entry is the last (`after`) and
    what time it is, where it knows.
    """
    entries = [entry(event) for event in events]
    seq = last_seq(run_id) if after is None else after
    insert([(run_id, seq + n, item) for n, item in enumerate(entries, start=1)], now or db_now())
    ring({run_id: seq + 1})
    return seq + len(entries)


def insert(rows: Sequence[Row], now: datetime) -> None:
    """Insert entries with one statement a chunk. `bulk_create` costs four times as much."""
    as_key, created_at = Run._meta.pk.get_db_prep_value, connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            values = ", ".join(["(%s, %s, %s, %s, %s)"] * len(chunk))
            params: list[Any] = []
            for run_id, seq, item in chunk:
                params += (as_key(run_id, connection), seq, item.status, item.data, created_at)
            cursor.execute(f"INSERT INTO {_table()} ({COLUMNS}) VALUES {values}", params)


def insert_under_lease(rows: Sequence[Row], worker_id: uuid.UUID, first: Mapping[uuid.UUID, int]) -> bool:
    """Insert up to `CHUNK` entries while the worker's lease is held, and ring for `first`, up to `NOTIFY_RUNS`.

    One statement of PostgreSQL, and a transaction of its own: to begin, lock, insert, ring and commit one by one
    are six round trips, which a token would wait for. Returns False when the lease is gone; then nothing is written.
    """
    workers = connection.ops.quote_name(Worker._meta.db_table)
    bell = f", pg_notify('{CHANNEL}', %s::text)" if first else ""
    # One parameter for all rows: the statement is always the same text, which the driver has parsed already.
    sql = f"""
        WITH lease AS MATERIALIZED (
            SELECT clock_timestamp() AS now FROM {workers} WHERE id = %s AND revoked_at IS NULL FOR SHARE
        ), written AS (
            INSERT INTO {_table()} ({COLUMNS})
            SELECT row.run_id, row.seq, row.status, row.data, lease.now
            FROM lease, json_to_recordset(%s::json) AS row (run_id uuid, seq bigint, status text, data text)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM written){bell}
    """
    entries = [{"run_id": str(id), "seq": seq, "status": item.status, "data": item.data} for id, seq, item in rows]
    params: list[Any] = [worker_id, json.dumps(entries)]
    if first:
        params.append(_call(first.items()))
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.fetchone()[0])


def _table() -> str:
    return connection.ops.quote_name(RunEvent._meta.db_table)


def ring(first: Mapping[uuid.UUID, int]) -> None:
    """Tell readers on commit which runs have news, and from which seq on.

    SQLite's readers notice by themselves.
    """
    if connection.vendor != "postgresql":
        return
    calls = list(first.items())
    with connection.cursor() as cursor:
        for start in range(0, len(calls), NOTIFY_RUNS):
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, _call(calls[start : start + NOTIFY_RUNS])])


def _call(first: Iterable[tuple[uuid.UUID, int]]) -> str:
    return ",".join(f"{run_id}:{seq}" for run_id, seq in first)


def read(run_id: uuid.UUID, after: int = 0, limit: int = 500) -> list[tuple[int, str, str]]:
    """Return up to `limit` entries after seq `after`, as (seq, status, JSON text)."""
    rows = RunEvent.objects.filter(run_id=run_id, seq__gt=after).order_by("seq")
    return list(rows.values_list("seq", "status", "data")[:limit])


def transcript(run_id: uuid.UUID) -> Transcript:
    """Fold the whole log of a run. What cannot be read is left out: a run must be able to end all the same."""
    rows = RunEvent.objects.filter(run_id=run_id).order_by("seq").values_list("seq", "data")
    folded = Transcript()
    for seq, data in rows.iterator(chunk_size=1000):
        try:
            folded.apply(json.loads(data))
        except (LookupError, TypeError, ValueError, AttributeError):
            text = f"entry {seq} of the log of run {run_id} cannot be read"
            logger.warning("%s", text, extra={"action": "entry_unreadable", "run": str(run_id)})
    return folded
