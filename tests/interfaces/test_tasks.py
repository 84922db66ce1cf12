"""Which Celery workers are workers of ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.thread import TaskPool as Threads
from kombu import Queue

from llmapp import tasks


def pool(module: str) -> type:
    """Stand for a pool of Celery's that needs a package which is not here."""
    return type("TaskPool", (), {"__module__": module})


GEVENT, EVENTLET = pool("celery.concurrency.gevent"), pool("celery.concurrency.eventlet")

WORKERS: list[tuple[str | None, list[str], type, bool, bool]] = [
    # -Q, CELERY_TASK_QUEUES, the pool: whether it takes runs, whether it is refused
    ("llmapp", [], Threads, True, False),
    ("llmapp", [], Prefork, True, False),
    ("celery,llmapp", [], Threads, True, False),
    (None, [], Threads, False, False),
    ("letters", [], Threads, False, False),
    (None, ["letters", "llmapp"], Threads, True, False),
    ("letters", ["letters", "llmapp"], Threads, False, False),
    ("llmapp", [], GEVENT, True, True),
    ("llmapp", [], EVENTLET, True, True),
    # The site's own worker may be what it likes.
    (None, [], GEVENT, False, False),
]


@pytest.mark.parametrize("listens, queues, pool, takes_runs, refused", WORKERS)
def test_workers(
    monkeypatch: pytest.MonkeyPatch,
    listens: str | None,
    queues: list[str],
    pool: type,
    takes_runs: bool,
    refused: bool,
) -> None:
    app = Celery("theirs", set_as_current=False, broker="memory://")
    app.conf.task_queues = [Queue(name) for name in queues] or None
    app.conf.task_routes = {"llmapp.*": {"queue": "llmapp"}}
    # As the worker does with its -Q.
    app.amqp.queues.select(listens.split(",") if listens else None)
    monkeypatch.setattr(tasks, "current_app", app)
    assert tasks._takes_runs() is takes_runs
    if refused:
        with pytest.raises(SystemExit, match=r"E005.*-P threads"):
            tasks.refuse_green_threads(instance=SimpleNamespace(pool_cls=pool))
    else:
        tasks.refuse_green_threads(instance=SimpleNamespace(pool_cls=pool))
    tasks.survive_a_closed_channel(instance=SimpleNamespace(app=app))
    # What other workers do is the site's business.
    assert app.conf.broker_channel_error_retry is takes_runs
