"""What the JSON interface says about conversations, messages and runs."""

from __future__ import annotations

from typing import Any

from llmapp.core.usage import spell
from llmapp.models import Conversation, Run
from llmapp.models.runs import ACTIVE_RUNS

USAGE = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def run(run: Run) -> dict[str, Any]:
    """One run. `id` is the client's own where it gave one; `conversation` is ours.

    Tokens that nobody counted are null, and so is a cost that nobody knows. `cost` is in USD.
    """
    return {
        "id": run.public_id,
        "agent": run.agent_slug,
        "conversation": str(run.conversation_id),
        "status": run.status,
        "error": {"kind": run.error_kind, "message": run.error_message} if run.error_kind else None,
        "usage": {name: getattr(run, name) for name in USAGE},
        "cost": None if run.cost is None else spell(run.cost),
        "attempts": run.attempts_used,
        "continues": run.continues.public_id if run.continues else None,
    }


def conversation(conversation: Conversation, active: Run | None) -> dict[str, Any]:
    """One conversation. `thread_id` is what AG-UI calls it: the client's own name, where it gave one."""
    return {
        "id": str(conversation.id),
        "thread_id": conversation.thread_id,
        "title": conversation.title,
        "agent": conversation.agent.slug if conversation.agent else None,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "active_run": active.public_id if active else None,
    }


#: The values of a message that are told: a long conversation has many, and models would take thrice the time.
MESSAGE = (
    "id", "parent_id", "client_id", "role", "text", "created_at", "complete", "run_id", "run__client_id", "run__status"
)  # fmt: skip


def message(row: Any) -> dict[str, Any]:
    """One message as raw text, from a row of `MESSAGE`.

    `run` and `status` are those of the run that wrote it: null for a person's.
    """
    return {
        "id": row.client_id or str(row.id),
        "role": row.role,
        "content": row.text,
        "created_at": row.created_at.isoformat(),
        "complete": row.complete,
        "run": row.run__client_id or (row.run_id and str(row.run_id)),
        "status": row.run__status,
    }


def active_run(conversation: Conversation) -> Run | None:
    """Return the run that is not at an end yet. There is at most one; child runs are not counted."""
    return conversation.runs.filter(ACTIVE_RUNS, parent=None).first()
