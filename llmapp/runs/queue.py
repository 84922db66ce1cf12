"""The way to a worker: a task by name, so that no interface is imported. No broker is trusted."""

from __future__ import annotations

import logging
import uuid
from urllib.parse import urlsplit

from celery import current_app

from .away import Outage

logger = logging.getLogger("llmapp.runs")

TASK = "llmapp.execute"
QUEUE = "llmapp"

#: Seconds to wait for an answer to `reach`.
PATIENCE = 2.0


def broker_name() -> str:
    """Return which broker it is, and where, without its account; of several that stand in for each other the first."""
    urls = current_app.conf.broker_write_url or current_app.conf.broker_url or ""
    first = urls if isinstance(urls, str) else next(iter(urls), "")
    parts = urlsplit(first.partition(";")[0])
    return f"the broker {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


#: This process's broker.
broker = Outage(broker_name)


def enqueue(run_id: uuid.UUID) -> bool:
    """Hand a run to the broker; say whether it took it. What it loses, the sweeper hands over again."""
    try:
        # A second try at once, for a connection that died in the pool, and no more: a person waits for the answer to
        # the send, and the sweeper comes round.
        once = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        current_app.send_task(TASK, args=[str(run_id)], queue=QUEUE, retry=True, retry_policy=once, ignore_result=True)
    except Exception as error:
        # Each broker has its own exceptions, and all of them mean the same: not now.
        broker.noticed(error)
        logger.debug("the broker did not take run %s", run_id, extra={"action": "enqueue_failed", "run": str(run_id)})
        return False
    broker.over()
    return True


def reach() -> None:
    """Connect to the broker, or raise what keeps from it: its own exceptions."""
    try:
        with current_app.connection_for_write(connect_timeout=PATIENCE) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=PATIENCE)
    except Exception as error:
        broker.noticed(error)
        raise
    broker.over()
