"""Runs, turns, calls and attempts as OpenTelemetry spans, where the site has configured its SDK.

A span is made of its row, once that is closed and committed, by the process that closed it: its worker, or
whoever swept up behind it. Rows of one run are closed by several processes, so the ids of the trace and of its spans
derive from the rows: parents fit together whoever tells of them. The whole trace is sampled, or nothing of it.

`opentelemetry` is not even imported unless the site has done so: who has not, has configured nothing.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db import models, transaction

import llmapp
from llmapp.core import gen_ai
from llmapp.models import Attempt, Call, Run, Turn

logger = logging.getLogger("llmapp.runs")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def closed(rows: type[models.Model], *ids: Any) -> None:
    """Tell of rows that are closed in this transaction, once it is committed. Nothing, where nobody listens."""
    if ids and _tracer() is not None:
        transaction.on_commit(partial(_export, rows, ids), robust=True)


def link(run: Run) -> None:
    """Let the span of the request that submitted a run, if it has one, lead to the run's trace."""
    if (tracer := _tracer()) is not None:
        transaction.on_commit(partial(_link, tracer, run), robust=True)


def trace_id(run_id: uuid.UUID) -> int:
    """Return the id of a run's trace. Not the run's own, which its client may have chosen: samplers want chance."""
    return int.from_bytes(_digest(f"run {run_id}")[:16])


def span_id(run_id: uuid.UUID, what: str = "run", key: Any = "") -> int:
    return int.from_bytes(_digest(f"{what} {key} of {run_id}")[:8])


def _digest(text: str) -> bytes:
    return hashlib.sha256(f"llmapp {text}".encode()).digest()


# --- from rows to spans ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One span, ready to be told."""

    run: Run
    name: str
    id: int
    parent: int | None
    started: datetime
    ended: datetime
    kind: str
    attributes: Mapping[str, Any]
    events: Mapping[str, datetime] = field(default_factory=dict)
    #: It asks another program.
    is_client: bool = False


def _of_run(run: Run) -> Told:
    assert run.ended_at is not None
    queued = (run.started_at or run.ended_at) - run.created_at
    attributes = {
        **_root(run),
        gen_ai.REQUEST_MODEL: run.model_name,
        gen_ai.STATUS: str(run.status),
        gen_ai.EXECUTIONS: run.executions,
        gen_ai.ATTEMPTS: run.attempts_used,
        gen_ai.QUEUED: queued.total_seconds(),
        gen_ai.COST: None if run.cost is None else float(run.cost),
        **gen_ai.usage(vars(run)),
    }
    events = {gen_ai.CLAIMED: run.started_at} if run.started_at else {}
    id = span_id(run.pk)
    return Told(run, _name(run), id, None, run.created_at, run.ended_at, run.error_kind, attributes, events)


def _name(run: Run) -> str:
    return f"{gen_ai.INVOKE_AGENT} {run.agent_slug}"


def _root(run: Run) -> dict[str, Any]:
    """Return what is known of a run from its start: a sampler sees no more, whoever asks it."""
    who = {gen_ai.AGENT: run.agent_slug, gen_ai.CONVERSATION: str(run.conversation_id)}
    return {gen_ai.OPERATION: gen_ai.INVOKE_AGENT, **who, gen_ai.RUN: str(run.pk)}


def _of_turn(turn: Turn) -> Told:
    run, ended = turn.run, turn.ended_at
    assert ended is not None
    attributes = {gen_ai.RUN: str(run.pk), gen_ai.TURN: turn.number, gen_ai.FINISH: turn.finish_reason}
    id = span_id(run.pk, "turn", turn.pk)
    name = f"turn {turn.number}"
    return Told(run, name, id, span_id(run.pk), turn.started_at, ended, turn.error_kind, attributes)


def _of_call(call: Call) -> Told:
    run, ended = call.run, call.ended_at
    assert ended is not None
    id = span_id(run.pk, "call", call.pk)
    # Those of earlier versions have no turn.
    parent = span_id(run.pk, "turn", call.turn_id) if call.turn_id else span_id(run.pk)
    return Told(run, "call", id, parent, call.started_at, ended, call.error_kind, {gen_ai.RUN: str(run.pk)})


def _of_attempt(attempt: Attempt) -> Told:
    run, ended = attempt.call.run, attempt.ended_at
    assert ended is not None
    # What the provider calls it; ours, where it was deleted meanwhile.
    model = attempt.model.model if attempt.model else attempt.model_name
    attributes = {
        gen_ai.OPERATION: gen_ai.CHAT,
        gen_ai.REQUEST_MODEL: model,
        **_where(attempt.model),
        gen_ai.AGENT: run.agent_slug,
        gen_ai.CONVERSATION: str(run.conversation_id),
        gen_ai.RUN: str(run.pk),
        gen_ai.ATTEMPT: attempt.number,
        gen_ai.MODEL: attempt.model_name,
        gen_ai.FINISH_REASONS: [attempt.finish_reason] if attempt.finish_reason else [],
        gen_ai.FIRST_CHUNK: attempt.first_token,
        gen_ai.HTTP_STATUS: attempt.status_code,
        gen_ai.ACTION: attempt.action,
        gen_ai.WAITED: attempt.waited,
        gen_ai.COST: None if attempt.cost is None else float(attempt.cost),
        **gen_ai.usage(vars(attempt)),
    }
    events = {}
    if attempt.first_token is not None:
        events[gen_ai.FIRST_TOKEN] = attempt.started_at + timedelta(seconds=attempt.first_token)
    id, parent = span_id(run.pk, "attempt", attempt.pk), span_id(run.pk, "call", attempt.call_id)
    name, kind = f"{gen_ai.CHAT} {model}", attempt.error_kind
    return Told(run, name, id, parent, attempt.started_at, ended, kind, attributes, events, is_client=True)


def _where(model: Any) -> dict[str, Any]:
    if model is None:
        return {}
    provider = model.provider
    name = gen_ai.provider_name(provider.base_url, provider.backend, model.model, provider.name)
    return {gen_ai.PROVIDER: name, **gen_ai.server(provider.base_url)}


#: Model -> its span, and what is read with its row.
SPANS: dict[type[models.Model], tuple[Callable[[Any], Told], tuple[str, ...]]] = {
    Run: (_of_run, ()),
    Turn: (_of_turn, ("run",)),
    Call: (_of_call, ("run",)),
    Attempt: (_of_attempt, ("call__run", "model__provider")),
}


# --- to OpenTelemetry -----------------------------------------------------------------------


class _Ids(threading.local):
    """An id generator of the SDK that gives what is to be told next in this thread."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        return True


_ids = _Ids()
#: The last provider that was asked for a tracer, and its answer.
_known: tuple[Any, Any] = (None, None)


def _tracer() -> Any:
    """Return a tracer of the site's SDK that takes our ids; None where there is no SDK, or it was switched off."""
    global _known
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    if _known[0] is not provider:
        _known = provider, _made(api, provider)
    return _known[1]


def _made(api: Any, provider: Any) -> Any:
    tracer = provider.get_tracer("llmapp", llmapp.__version__)
    if hasattr(tracer, "id_generator") and hasattr(tracer, "sampler"):
        tracer.id_generator = _ids
        return tracer
    if not isinstance(tracer, api.NoOpTracer):
        text = "%s is not the SDK of OpenTelemetry: runs are not told to it"
        logger.warning(text, type(provider).__name__, extra={"action": "tracing_unknown"})
    return None


def _export(rows: type[models.Model], ids: tuple[Any, ...]) -> None:
    if (tracer := _tracer()) is None:
        return
    make, related = SPANS[rows]
    found = rows._default_manager.filter(pk__in=ids).order_by("pk").select_related(*related)
    # What was asked may be long, and what was said is nobody's business here.
    for row in found.defer("request", "error_detail") if rows is Attempt else found:
        _tell(tracer, make(row))


def _tell(tracer: Any, told: Told) -> None:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode

    _ids.trace, _ids.span = trace_id(told.run.pk), told.id
    span = tracer.start_span(
        told.name,
        # Not what this thread happens to be doing besides.
        context=Context() if told.parent is None else _inside(tracer, told.run, told.parent),
        kind=SpanKind.CLIENT if told.is_client else SpanKind.INTERNAL,
        attributes=gen_ai.known(told.attributes) | gen_ai.ending(told.kind),
        start_time=_nanoseconds(told.started),
    )
    for name, moment in told.events.items():
        span.add_event(name, timestamp=_nanoseconds(moment))
    if gen_ai.is_error(told.kind):
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(max(told.ended, told.started)))


def _inside(tracer: Any, run: Run, parent: int) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(_address(tracer, run, parent)), Context())


def _address(tracer: Any, run: Run, span: int) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if _is_sampled(tracer, run) else TraceFlags.DEFAULT)
    return SpanContext(trace_id(run.pk), span, is_remote=True, trace_flags=flags)


def _is_sampled(tracer: Any, run: Run) -> bool:
    """Say what the site's sampler decides, or will decide, about the run's own span."""
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    found = tracer.sampler.should_sample(Context(), trace_id(run.pk), _name(run), SpanKind.INTERNAL, _root(run), ())
    return bool(found.decision.is_sampled())


def _link(tracer: Any, run: Run) -> None:
    from opentelemetry.trace import get_current_span

    span = get_current_span()
    if span.is_recording():
        span.add_link(_address(tracer, run, span_id(run.pk)), {gen_ai.RUN: str(run.pk)})


def _nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000
