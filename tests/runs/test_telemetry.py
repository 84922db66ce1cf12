"""Runs as spans: with the real SDK, told once, by whoever closed the row, into one trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import transaction
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from llmapp import submit
from llmapp.models import Attempt, Call, Credential, LanguageModel, Run, Turn
from llmapp.runs import actions, lease, telemetry
from llmapp.runs.clock import db_now

from .support import at_once, wait_until

Listen = Callable[..., InMemorySpanExporter]


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """Set the SDK up as a site does."""
    made: list[TracerProvider] = []

    def start(sampler: Sampler | None = None) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, resource=Resource.create({}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        made.append(provider)
        return exporter

    yield start
    for provider in made:
        provider.shutdown()


def tree(spans: tuple[ReadableSpan, ...]) -> list[str]:
    """Return the spans' names, each below and behind its parent, the first first."""
    children: dict[int | None, list[ReadableSpan]] = {}
    ids = {span.context.span_id for span in spans}
    assert len(ids) == len(spans), "a span was told twice"
    for span in spans:
        parent = span.parent.span_id if span.parent else None
        assert parent is None or parent in ids, f"{span.name} hangs in the air"
        children.setdefault(parent, []).append(span)

    def below(id: int | None, depth: int) -> Iterator[str]:
        for span in sorted(children.get(id, []), key=lambda span: (span.start_time, span.name)):
            yield "  " * depth + span.name
            yield from below(span.context.span_id, depth + 1)

    return list(below(None, 0))


def one(spans: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    (span,) = (span for span in spans if span.name == name)
    return span


def nanoseconds(moment: datetime | None) -> int:
    assert moment is not None
    return telemetry._nanoseconds(moment)


def test_a_run_is_one_trace(person: Any, scripted: Any, process: Any, listen: Listen) -> None:
    """Each span has its row's times, and what the conventions ask for."""
    told = listen()
    agent = scripted()
    agent.model.input_price, agent.model.output_price = 1, 2
    agent.model.save()
    run = submit(person, "Hi").run
    process.execute(run.pk)
    spans = told.get_finished_spans()
    assert tree(spans) == ["invoke_agent scripted", "  turn 1", "    call", "      chat actor"]
    assert {span.context.trace_id for span in spans} == {telemetry.trace_id(run.pk)}
    run.refresh_from_db()
    rows = [run, Turn.objects.get(), Call.objects.get(), Attempt.objects.get()]
    for name, row in zip(("invoke_agent scripted", "turn 1", "call", "chat actor"), rows, strict=True):
        started = row.created_at if isinstance(row, Run) else row.started_at
        span = one(spans, name)
        assert (span.start_time, span.end_time) == (nanoseconds(started), nanoseconds(row.ended_at))
        assert span.status.is_ok
    attempt = rows[-1]
    span = one(spans, "chat actor")
    assert span.kind is trace.SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "actor",
        "gen_ai.provider.name": "stage",
        "gen_ai.agent.name": "scripted",
        "gen_ai.conversation.id": str(run.conversation_id),
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": attempt.first_token,
        "gen_ai.usage.input_tokens": attempt.input_tokens,
        "gen_ai.usage.output_tokens": attempt.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "llmapp.run.id": str(run.pk),
        "llmapp.attempt.number": 1,
        "llmapp.model": "actor",
        "llmapp.cost": float(attempt.cost),
    }
    of_run = dict(one(spans, "invoke_agent scripted").attributes or {})
    assert (of_run["gen_ai.operation.name"], of_run["llmapp.run.status"]) == ("invoke_agent", "completed")
    assert of_run["gen_ai.usage.output_tokens"] == run.output_tokens


def test_failures_say_their_kind_and_nothing_else(person: Any, scripted: Any, process: Any, listen: Listen) -> None:
    """Neither what was asked and answered, nor the provider's words, nor a key."""
    told = listen()
    agent = scripted(
        [{"text": "canary-answer"}, {"fail": {"status": 401, "body": {"error": "canary-words sk-canary"}}}]
    )
    key = Credential(provider=agent.model.provider)
    key.set_secrets({"api_key": "sk-canary-0123456789"})
    key.save()
    run = submit(person, "canary-question").run
    process.execute(run.pk)
    assert "canary" in Attempt.objects.latest("pk").error_detail
    spans = told.get_finished_spans()
    run.refresh_from_db()
    failed = {span.name: (span.attributes or {}).get("error.type") for span in spans if not span.status.is_ok}
    assert failed == dict.fromkeys(["invoke_agent scripted", "turn 1", "call", "chat actor"], run.error_kind)
    assert all(span.status.description is None for span in spans)
    assert "canary" not in "".join(span.to_json() for span in spans)


def test_who_sweeps_up_behind_the_dead_tells_of_what_it_closes(person: Any, scripted: Any, listen: Listen) -> None:
    """Into the same trace, with the right parents; what goes on afterwards too."""
    told = listen()
    scripted()
    run = submit(person, "Hi").run
    for _ in range(3):
        worker = lease.register(1, {})
        assert lease.claim(run.pk, worker.pk) is not None
        turn = Turn.objects.create(run=run, number=Turn.objects.count() + 1, started_at=db_now())
        call = Call.objects.create(run=run, turn=turn, started_at=db_now())
        Attempt.objects.create(call=call, number=1, model_name="actor", started_at=db_now())
        lease.revoke(worker.pk, "worker_died")
    spans = told.get_finished_spans()
    turns = [line for n in (1, 2, 3) for line in (f"  turn {n}", "    call", "      chat actor")]
    assert tree(spans) == ["invoke_agent scripted", *turns]
    assert [(span.attributes or {}).get("llmapp.kind") for span in spans if span.name == "chat actor"] == [
        "cancelled",
        "cancelled",
        "server_error",
    ]
    assert one(spans, "turn 1").status.is_ok
    assert not one(spans, "turn 3").status.is_ok


def test_what_is_rolled_back_is_not_told(person: Any, scripted: Any, listen: Listen) -> None:
    told = listen()
    scripted()
    run = submit(person, "Hi").run
    with transaction.atomic():
        actions.request_stop(run)
        transaction.set_rollback(True)
    assert told.get_finished_spans() == ()
    actions.request_stop(run)
    assert tree(told.get_finished_spans()) == ["invoke_agent scripted"]


def test_a_row_that_two_close_is_told_once(person: Any, scripted: Any, process: Any, listen: Listen) -> None:
    """A stop and the death of the worker at once."""
    told = listen()
    scripted()
    run = submit(person, "Hi").run
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk) is not None
    Call.objects.create(run=run, started_at=db_now())
    at_once(lambda: lease.revoke(worker.pk, "worker_died"), lambda: actions.request_stop(run))
    run.refresh_from_db()
    if run.active:
        actions.request_stop(run)
    assert tree(told.get_finished_spans()) == ["invoke_agent scripted", "  call"]


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_a_trace_is_sampled_as_a_whole(person: Any, scripted: Any, process: Any, listen: Listen, rate: float) -> None:
    """Whoever tells of its parts: each asks the site's sampler about the run."""
    told = listen(ParentBased(TraceIdRatioBased(rate)))
    scripted()
    expected = 0
    for _ in range(6):
        run = submit(person, "Hi").run
        process.execute(run.pk)
        expected += (telemetry.trace_id(run.pk) & (1 << 64) - 1) < rate * (1 << 64)
    spans = told.get_finished_spans()
    assert len(spans) == 4 * expected
    assert len(tree(spans)) == 4 * expected


def test_ids_of_traces_are_spread_evenly() -> None:
    """Samplers look at the lower half, of which a UUID has two fixed bits."""
    from uuid import uuid4

    low = sum((telemetry.trace_id(uuid4()) & (1 << 64) - 1) < 1 << 62 for _ in range(2000))
    assert 400 < low < 600


def test_the_request_that_submitted_a_run_leads_to_its_trace(person: Any, scripted: Any, listen: Listen) -> None:
    """Its own trace stays what it is."""
    told = listen()
    scripted()
    with trace.get_tracer("site").start_as_current_span("POST /send"):
        run = submit(person, "Hi").run
        actions.request_stop(run)
    mine, request = told.get_finished_spans()
    (link,) = request.links
    assert (link.context.trace_id, link.context.span_id) == (mine.context.trace_id, mine.context.span_id)
    assert mine.parent is None
    assert mine.context.trace_id != request.context.trace_id


@pytest.mark.parametrize("who", ["nobody", "a provider without ids"])
def test_without_an_sdk_nothing_is_told_and_nothing_is_asked(
    person: Any, scripted: Any, monkeypatch: Any, caplog: Any, who: str
) -> None:
    class Other(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            return object()

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Other() if who != "nobody" else None)
    monkeypatch.setattr(telemetry, "_export", lambda *args: pytest.fail("there is nobody to tell"))
    scripted()
    for _ in range(2):
        actions.request_stop(submit(person, "Hi").run)
    warnings = [record for record in caplog.records if getattr(record, "action", "") == "tracing_unknown"]
    assert len(warnings) == (0 if who == "nobody" else 1)


class Sink(ThreadingHTTPServer):
    """A collector on loopback: keeps what it is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.received: list[Any] = []

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Collect(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_spans_arrive_at_a_collector(person: Any, scripted: Any, process: Any, monkeypatch: Any) -> None:
    """By OTLP over HTTP, as a site sends them."""
    sink = Sink()
    thread = threading.Thread(target=sink.serve_forever)
    thread.start()
    provider = TracerProvider(resource=Resource.create({"service.name": "site"}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{sink.server_port}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    try:
        scripted()
        run = submit(person, "Hi").run
        process.execute(run.pk)
        wait_until(lambda: len(sink.spans()) == 4)
        spans = {span.name: span for span in sink.spans()}
        assert spans.keys() == {"invoke_agent scripted", "turn 1", "call", "chat actor"}
        assert {span.trace_id.hex() for span in spans.values()} == {f"{telemetry.trace_id(run.pk):032x}"}
        assert spans["chat actor"].parent_span_id == spans["call"].span_id
        assert spans["invoke_agent scripted"].parent_span_id == b""
    finally:
        provider.shutdown()
        sink.shutdown()
        thread.join(5)
        sink.server_close()


def test_a_deleted_model_leaves_its_name(person: Any, scripted: Any, listen: Listen) -> None:
    told = listen()
    scripted()
    run = submit(person, "Hi").run
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk) is not None
    call = Call.objects.create(run=run, started_at=db_now())
    model = LanguageModel.objects.get()
    Attempt.objects.create(call=call, number=1, model=model, model_name="once", started_at=db_now())
    run.agent.delete()
    model.delete()
    lease.revoke(worker.pk, "worker_died")
    assert dict(one(told.get_finished_spans(), "chat once").attributes or {})["gen_ai.request.model"] == "once"
