"""The Celery door: runs, probes, and the life of a worker process."""

from __future__ import annotations

import logging
import uuid
import warnings
from typing import Any

from celery import current_app, shared_task, signals

from . import prefork
from .checks.celery import GREEN
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


@signals.celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def refuse_green_threads(instance: Any = None, **kwargs: Any) -> None:
    """A pool of the command line is seen by no check, and what checks say is not shown by a worker."""
    pool = getattr(instance.pool_cls, "__module__", "")
    if pool in {f"celery.concurrency.{name}" for name in GREEN} and _takes_runs():
        # Celery swallows all that a signal raises, save this.
        raise SystemExit("llmapp.E005: runs cannot be carried out in this pool. Use -P threads, or -P prefork.")


@signals.celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def survive_a_closed_channel(instance: Any = None, **kwargs: Any) -> None:
    """RabbitMQ closes a channel on which a message waits for longer than its `consumer_timeout`, half an hour.

    A run may take longer. Celery would end the worker; told this it opens another channel, and the messages of the runs
    come again, which does no harm.
    """
    if _takes_runs():
        instance.app.conf.broker_channel_error_retry = True


@signals.celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def tie_children(instance: Any = None, **kwargs: Any) -> None:
    """Prefork pool: what its children will hear a stop by."""
    if getattr(instance.pool_cls, "__module__", "") == "celery.concurrency.prefork" and _takes_runs():
        prefork.prepare()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def start_in_child(**kwargs: Any) -> None:
    """Prefork and solo pools: each child is a worker of its own, with one run at a time."""
    if _takes_runs():
        prefork.follow(worker.process(concurrency=1).drain)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def start_in_main(sender: Any = None, **kwargs: Any) -> None:
    """Threads pool: this process holds all runs. It is there before the first run comes."""
    if (hub := getattr(sender, "hub", None)) is not None:
        # With RabbitMQ, Celery's loop may sleep for ten seconds before it sees a SIGTERM.
        hub.call_repeatedly(1.0, lambda: None)
    pool = getattr(sender, "pool", None)
    if pool is not None and type(pool).__module__.endswith(".thread") and _takes_runs():
        # Celery would raise its prefetch count again from the pool's threads, on the connection that its loop reads.
        sender.app.conf.worker_enable_prefetch_count_reduction = False
        _survive_a_lost_broker(sender)
        worker.process(concurrency=pool.limit, hears=lambda: sender.connection is not None)


def _survive_a_lost_broker(consumer: Any) -> None:
    """Keep the process alive, with all of its runs, when its broker goes away.

    Runs go on without it. Their messages can no longer be acknowledged or put back on the channel that they came
    from, and on Redis kombu (5.7) ends the worker by an `AttributeError` when that is tried.
    """
    lost = consumer.on_connection_error_after_connected

    def leave_messages_alone(error: Exception) -> None:
        # RabbitMQ's transport has no such list, and needs none of this.
        for channel in getattr(getattr(consumer.connection, "transport", None), "channels", None) or ():
            channel.do_restore = False
            channel.basic_ack = channel.basic_reject = _leave_alone
        with warnings.catch_warnings():
            # Celery's long one about tasks that go on: we want them to.
            warnings.simplefilter("ignore")
            lost(error)

    consumer.on_connection_error_after_connected = leave_messages_alone


def _leave_alone(*args: Any, **kwargs: Any) -> None:
    """Redis delivers the message once more, and the run that it names has been claimed by then."""


def _takes_runs() -> bool:
    """Say whether this worker listens to our queue. One that does not is nobody to wait for."""
    return QUEUE in current_app.amqp.queues.consume_from


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**kwargs: Any) -> None:
    """The first SIGTERM: claim nothing more, and hand back what does not end by itself."""
    prefork.let_go()
    if (process := worker.current()) is not None:
        process.drain()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: Any) -> None:
    worker.close()
