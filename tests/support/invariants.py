"""What has to be true of a site once its runs have ended, whatever was done to it meanwhile.

    broken(site.env, clients={run: text}, acknowledged=[message], requests=provider.requests)     # [] when all is well

It is judged from outside, by plain SQL on the site's own database, so that the site is not asked about itself. What a
provider received is told apart by what the user said: runs that are judged by it ask different questions.

1. A run's log begins with RUN_STARTED, is numbered from 1 without a hole, closes what it opened, and has one terminal
   event, its last, which says what the run's row says. No run is still active.
2. The text that a client holds, the text of the log and the message that is stored are the same, byte for byte.
3. No attempt starts after its run's end, no turn that has ended well is asked again, and nobody was asked without an
   attempt that says so.
4. Each message that was acknowledged is there, and has a run.
5. Nothing of an ended run is open: no turn, no call, no attempt, and 2 s later no socket to a provider.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from llmapp.core.transcript import Transcript
from project import servers

from .provider_answers import user_messages
from .provider_wire import Received

Row = dict[str, Any]

TERMINAL = ("RUN_FINISHED", "RUN_ERROR")
ACTIVE = ("queued", "in_progress")
#: What a finish says of its run's status; an error says it in so many words.
OUTCOMES = {"success": "completed", "cancelled": "cancelled", "interrupt": "requires_action"}
#: Seconds after a run's end in which the sockets to its providers have to be closed.
SOCKETS_WITHIN = 2.0
#: Seconds for which a full server is asked again.
PLACE_WITHIN = 20.0
#: Seconds by which the clocks of two processes may seem to differ: a request is sent after its row is written.
SLACK = 0.05


class Tables:
    """A site's database, opened from outside. `sql` has %s for its parameters, on SQLite too."""

    def __init__(self, env: Mapping[str, str]) -> None:
        home = Path(env.get("LLMAPP_HOME") or os.devnull)
        found = servers.database(env.get("DATABASE_URL", ""), home)
        self.on_sqlite = found["ENGINE"].endswith("sqlite3")
        self._connection: Any
        if self.on_sqlite:
            self._connection = sqlite3.connect(f"file:{found['NAME']}?mode=ro", uri=True, timeout=20)
            self._connection.row_factory = sqlite3.Row
        else:
            self._connection = _connected(env["DATABASE_URL"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, *params: Any) -> list[Row]:
        if not self.on_sqlite:
            return [dict(row) for row in self._connection.execute(sql, params)]
        plain = [value.hex if isinstance(value, uuid.UUID) else value for value in params]
        with closing(self._connection.execute(sql.replace("%s", "?"), plain)) as cursor:
            return [dict(row) for row in cursor]


@dataclass
class SeenRun:
    """A run, and all that was found of it."""

    row: Row
    log: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    #: What is stored of its answer: id of the message -> text.
    answers: dict[str, str] = field(default_factory=dict)
    turns: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    #: What providers received for it.
    requests: list[Received] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What clients call it."""
        return str(self.row["client_id"] or _uuid(self.row["id"]))

    @property
    def active(self) -> bool:
        return self.row["status"] in ACTIVE

    @property
    def ended(self) -> float:
        return _moment(self.row["ended_at"])

    @property
    def compacted(self) -> bool:
        return self.row["compacted_at"] is not None

    @property
    def text(self) -> str:
        return "".join(Transcript(event for _, _, event in self.log).texts.values())


def broken(
    env: Mapping[str, str],
    *,
    clients: Mapping[str, str] = {},
    acknowledged: Collection[str] = (),
    requests: Sequence[Received] = (),
    asleep_until: float = 0.0,
) -> list[str]:
    """Name each broken invariant in a sentence. `asleep_until`: when the last paused process went on (`time.time()`),
    for one that sleeps can close no socket.
    """
    # A socket may be closed until then.
    while (wait := _last_end(env, asleep_until) + SOCKETS_WITHIN - time.time()) > 0 and requests:
        time.sleep(wait)
    with Tables(env) as tables:
        runs = seen(tables, requests)
        messages = tables.rows("SELECT id, client_id, role FROM llmapp_message")
        asked = {_uuid(run.row["message_id"]) for run in runs}
    found = [f"run {run.name}: {what}" for run in runs for rule in RULES for what in rule(run)]
    found += _of_clients(runs, clients)
    found += _of_acknowledged(messages, asked, acknowledged)
    found += [f"run {run.name}: {what}" for run in runs for what in _of_sockets(run, asleep_until)]
    return found


def seen(tables: Tables, requests: Iterable[Received] = ()) -> list[SeenRun]:
    """Read all runs, the earliest first, each with what belongs to it."""
    rows = tables.rows("SELECT * FROM llmapp_run ORDER BY created_at, id")
    runs = {_uuid(row["id"]): SeenRun(row) for row in rows}
    for row in tables.rows("SELECT run_id, seq, status, data FROM llmapp_runevent ORDER BY run_id, seq"):
        runs[_uuid(row["run_id"])].log.append((row["seq"], row["status"], json.loads(row["data"])))
    for row in tables.rows("SELECT id, client_id, run_id, text FROM llmapp_message WHERE role = 'assistant'"):
        if row["run_id"] is not None:
            runs[_uuid(row["run_id"])].answers[str(row["client_id"] or _uuid(row["id"]))] = row["text"]
    for row in tables.rows("SELECT * FROM llmapp_turn ORDER BY run_id, number"):
        runs[_uuid(row["run_id"])].turns.append(row)
    calls = {row["id"]: row for row in tables.rows("SELECT * FROM llmapp_call ORDER BY id")}
    for row in calls.values():
        runs[_uuid(row["run_id"])].calls.append(row)
    for row in tables.rows("SELECT * FROM llmapp_attempt ORDER BY id"):
        runs[_uuid(calls[row["call_id"]]["run_id"])].attempts.append(row)
    _sort_requests(tables, runs, requests)
    return list(runs.values())


def _sort_requests(tables: Tables, runs: Mapping[uuid.UUID, SeenRun], requests: Iterable[Received]) -> None:
    """Give each request to the run that it was for: by what the user said, and of several such runs by the time."""
    texts = {_uuid(row["id"]): row["text"] for row in tables.rows("SELECT id, text FROM llmapp_message")}
    by_text: defaultdict[str, list[SeenRun]] = defaultdict(list)
    for run in runs.values():
        by_text[texts[_uuid(run.row["message_id"])]].append(run)
    for request in requests:
        of_this = (run for text in user_messages(request.body or {}) for run in by_text.get(text, []))
        if begun := [run for run in of_this if _moment(run.row["created_at"]) <= request.started_at + SLACK]:
            max(begun, key=lambda run: _moment(run.row["created_at"])).requests.append(request)


# --- the rules of one run ---------------------------------------------------------------------------


def _of_its_log(run: SeenRun) -> Iterator[str]:
    if run.active:
        yield f"is still {run.row['status']}"
        return
    seqs = [seq for seq, _, _ in run.log]
    if not run.compacted and seqs != list(range(1, len(seqs) + 1)):
        yield f"its log is numbered {seqs}"
    types = [event["type"] for _, _, event in run.log]
    if types[:1] != ["RUN_STARTED"] or types.count("RUN_STARTED") != 1:
        yield f"its log begins with {types[:1]} and has {types.count('RUN_STARTED')} RUN_STARTED"
    ends = [n for n, type in enumerate(types, start=1) if type in TERMINAL]
    if ends != [len(types)]:
        yield f"the terminal events of its {len(types)} entries are at {ends}"
        return
    yield from _of_its_end(run)


def _of_its_end(run: SeenRun) -> Iterator[str]:
    _, announced, end = run.log[-1]
    said = {announced, end["metadata"]["llmapp.status"]}
    said |= {OUTCOMES[end["outcome"]["type"]]} if end["type"] == "RUN_FINISHED" else set()
    if said != {run.row["status"]}:
        yield f"its row says {run.row['status']}, and its log {sorted(said)}"
    if (kind := end.get("code", "")) != run.row["error_kind"]:
        yield f"its row says {run.row['error_kind']!r}, and its log {kind!r}"
    if run.row["ended_at"] is None or run.row["worker_id"] is not None:
        yield "it has ended, and its row is that of an active run"
    if not run.compacted:
        whole = Transcript(event for _, _, event in run.log)
        if left := [*whole.open_texts, *whole.open_reasoning, *whole.open_steps]:
            yield f"its log leaves {left} open"


def _of_its_text(run: SeenRun) -> Iterator[str]:
    if run.active or run.compacted:
        return
    texts = {id: text for id, text in Transcript(event for _, _, event in run.log).texts.items() if text}
    if texts != run.answers:
        yield f"its log says {texts!r}, and what is stored is {run.answers!r}"


def _of_its_attempts(run: SeenRun) -> Iterator[str]:
    for attempt in [] if run.active else run.attempts:
        if _moment(attempt["started_at"]) > run.ended:
            yield f"attempt {attempt['id']} starts after its end"
    if len(run.requests) > len(run.attempts):
        yield f"{len(run.requests)} requests were received, and {len(run.attempts)} attempts were written down"
    turn_of = {call["id"]: call["turn_id"] for call in run.calls}
    for turn in run.turns:
        if not turn["finish_reason"]:
            continue
        # After the last turn nobody is asked, after another one not for the same.
        last = turn["finish_reason"] != "tool_calls"
        for attempt in run.attempts:
            again = last or turn_of[attempt["call_id"]] == turn["id"]
            if again and _moment(attempt["started_at"]) > _moment(turn["ended_at"]):
                yield f"attempt {attempt['id']} asks again for turn {turn['number']}, which had ended"


def _of_what_is_open(run: SeenRun) -> Iterator[str]:
    if run.active:
        return
    for name, rows in (("turn", run.turns), ("call", run.calls), ("attempt", run.attempts)):
        if open_ones := [row["id"] for row in rows if row["ended_at"] is None]:
            yield f"it has ended, and its {name} {open_ones} is open"


RULES: tuple[Callable[[SeenRun], Iterator[str]], ...] = (
    _of_its_log,
    _of_its_text,
    _of_its_attempts,
    _of_what_is_open,
)


# --- the rules of what is outside --------------------------------------------------------------------


def _of_clients(runs: Iterable[SeenRun], clients: Mapping[str, str]) -> Iterator[str]:
    known = {run.name: run for run in runs}
    for name, text in clients.items():
        if name not in known:
            yield f"run {name}: a client followed it, and it is not there"
        elif not known[name].compacted and text != known[name].text:
            yield f"run {name}: its client holds {text!r}, and its log says {known[name].text!r}"


def _of_acknowledged(messages: Iterable[Row], asked: set[uuid.UUID], acknowledged: Iterable[str]) -> Iterator[str]:
    known = {str(row["client_id"] or _uuid(row["id"])): row for row in messages if row["role"] == "user"}
    for id in acknowledged:
        if id not in known:
            yield f"message {id} was acknowledged, and is not there"
        elif _uuid(known[id]["id"]) not in asked:
            yield f"message {id} was acknowledged, and has no run"


def _of_sockets(run: SeenRun, asleep_until: float) -> Iterator[str]:
    if run.active:
        return
    limit = max(run.ended, asleep_until) + SOCKETS_WITHIN
    for request in run.requests:
        closed = request.closed_at or request.ended_at
        if closed is None or closed > limit:
            late = "still open" if closed is None else f"closed {closed - run.ended:.1f} s later"
            yield f"it has ended, and its socket to a provider was {late}"


def _last_end(env: Mapping[str, str], asleep_until: float) -> float:
    with Tables(env) as tables:
        (row,) = tables.rows("SELECT max(ended_at) AS last FROM llmapp_run")
    return max(asleep_until, _moment(row["last"]) if row["last"] else 0.0)


def _connected(url: str) -> psycopg.Connection[Row]:
    """Connect. A server that has no place for us has one soon: a judge has time."""
    until = time.monotonic() + PLACE_WITHIN
    while True:
        try:
            return psycopg.connect(url, autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError as error:
            if "too many clients" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.5)


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))


def _moment(value: Any) -> float:
    """Return a database's time as `time.time()`: SQLite keeps text, in UTC."""
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
