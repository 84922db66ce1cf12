"""A person, an agent that plays a script, and worker processes without Celery around them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from llmapp.models import AgentSettings, LanguageModel, Provider, Run
from llmapp.runs import health, queue, worker
from llmapp.runs.threads import DatabaseThreads
from tests.support.provider import Provider as LoopbackServer

from .loopback import Loopback

HELLO = [{"text": "Hello, **world**!"}]


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Take the place of the broker, and keep what is handed to it."""
    taken: list[uuid.UUID] = []

    def enqueue(run_id: uuid.UUID) -> bool:
        taken.append(run_id)
        return True

    monkeypatch.setattr(queue, "enqueue", enqueue)
    return taken


@pytest.fixture
def person(transactional_db: None, enqueued: list[uuid.UUID], django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("ada", is_staff=True)


@pytest.fixture
def scripted(transactional_db: None) -> Callable[..., AgentSettings]:
    """Make the agent `scripted`, which plays the steps that it is given."""

    def make(script: list[dict[str, Any]] | None = None, **fields: Any) -> AgentSettings:
        options = {"script": HELLO if script is None else script, "tokens_per_second": fields.pop("speed", 0)}
        timeouts = fields.pop("timeouts", {})
        provider = Provider.objects.create(name="stage", backend="scripted", options=options, timeouts=timeouts)
        model = LanguageModel.objects.create(name="actor", provider=provider, model="actor")
        return AgentSettings.objects.create(slug="scripted", model=model, **fields)

    return make


@pytest.fixture
def process(transactional_db: None) -> Iterator[worker.WorkerProcess]:
    made = worker.WorkerProcess(concurrency=10)
    yield made
    made.close()


@pytest.fixture
def in_background(process: worker.WorkerProcess) -> Iterator[Callable[[Run], threading.Thread]]:
    """Execute a run as a Celery thread would, and go on."""
    threads: list[threading.Thread] = []

    def start(run: Run) -> threading.Thread:
        thread = threading.Thread(target=process.execute, args=[run.pk])
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture
def at_loopback(transactional_db: None) -> Iterator[Loopback]:
    """A provider on loopback, and agents whose models it serves."""
    with LoopbackServer() as server:
        yield Loopback(server)


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off for no time at all."""
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run read anew how models have done: what is known may be a second old, and tests are faster."""
    monkeypatch.setattr(health, "OF_BREAKERS", 0.0)
    health._KNOWN.clear()


@pytest.fixture
async def threads() -> AsyncIterator[DatabaseThreads]:
    made = DatabaseThreads(1, "test")
    yield made
    made.close()
