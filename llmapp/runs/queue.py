"""The way to a worker: a task by name, so that no interface is imported. No broker is trusted."""

from __future__ import annotations

import logging
import uuid

from celery import current_app

logger = logging.getLogger("llmapp.runs")

TASK = "llmapp.execute"
QUEUE = "llmapp"


def enqueue(run_id: uuid.UUID) -> bool:
    """Hand a run to the broker; say whether it took it. What it loses, the sweeper hands over again."""
    try:
        # No retries here: a person waits for the answer to the send, and the sweeper comes round.
        current_app.send_task(TASK, args=[str(run_id)], queue=QUEUE, retry=False, ignore_result=True)
    except Exception:
        # Each broker has its own exceptions, and all of them mean the same: not now.
        logger.warning("the broker did not take run %s", run_id, exc_info=True, extra={"action": "enqueue_failed"})
        return False
    return True
