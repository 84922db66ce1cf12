"""The Celery door: runs, probes, and the life of a worker process."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from celery import shared_task, signals

from .runs import probe, probing, worker
from .runs.queue import QUEUE, TASK

logger = logging.getLogger("llmapp.runs")


@shared_task(name=TASK, queue=QUEUE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)  # type: ignore[untyped-decorator]
def execute(run_id: str) -> None:
    """Execute a run. Delivered twice it is harmless: a run is claimed once."""
    worker.process().execute(uuid.UUID(run_id))


@shared_task(name=probe.TASK, queue=QUEUE, ignore_result=True)  # type: ignore[untyped-decorator]
def examine(probe_id: str) -> None:
    """Test a provider or a model. Delivered twice it is harmless: a probe is claimed once."""
    probing.carry_out(uuid.UUID(probe_id))


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def start_in_child(**kwargs: Any) -> None:
    """Prefork and solo pools: each child is a worker of its own, with one run at a time."""
    worker.process(concurrency=1)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def start_in_main(sender: Any = None, **kwargs: Any) -> None:
    """Threads pool: this process holds all runs. It is there before the first run comes."""
    if (hub := getattr(sender, "hub", None)) is not None:
        # With RabbitMQ, Celery's loop may sleep for ten seconds before it sees a SIGTERM.
        hub.call_repeatedly(1.0, lambda: None)
    pool = getattr(sender, "pool", None)
    if pool is not None and type(pool).__module__.endswith(".thread"):
        worker.process(concurrency=pool.limit)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**kwargs: Any) -> None:
    """The first SIGTERM: claim nothing more, and hand back what does not end by itself."""
    if (process := worker.current()) is not None:
        process.drain()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: Any) -> None:
    worker.close()
