"""The structured log: one record for each change of a run, each attempt, each failure.

A record's `action` says what happened, and its other fields have the names of `FIELDS`, whoever writes it
(docs/logging.md has the table). What changed in the database is told after the commit: a transaction that
is tried again tells it once, and one that fails tells nothing. What people and models wrote goes to
`llmapp.content` alone, and only where `LLMAPP["LOG_CONTENT"]` says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction

from llmapp.conf import app_settings
from llmapp.core.messages import ChatMessage
from llmapp.core.usage import spell
from llmapp.models import Run

runs = logging.getLogger("llmapp.runs")
calls = logging.getLogger("llmapp.calls")
cost = logging.getLogger("llmapp.cost")
content = logging.getLogger("llmapp.content")

TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")

FIELDS = frozenset(
    {"action", "run", "conversation", "agent", "model", "provider", "credential", "attempt", "call", "number", "turn"}
    | {"kind", "status", "http_status", "reason", "next", "waited", "seconds", "first_token", "execution", "worker"}
    | {"cost", "role", "text", *TOKENS}
)


def write(logger: logging.Logger, level: int, action: str, sentence: str, /, **fields: Any) -> None:
    """Write a record now. What is not known is left out; ids and amounts are text."""
    known = {name: _plain(value) for name, value in fields.items() if value not in (None, "")}
    assert known.keys() <= FIELDS, known.keys() - FIELDS
    logger.log(level, "%s", sentence, extra={"action": action, **known})


def write_on_commit(logger: logging.Logger, level: int, action: str, sentence: str, /, **fields: Any) -> None:
    """Write a record once the transaction is committed; at once where there is none."""
    transaction.on_commit(partial(write, logger, level, action, sentence, **fields), robust=True)


def run_changed(run: Run, action: str, text: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write that the status of a run changed."""
    of_run = {"run": run.pk, "conversation": run.conversation_id, "agent": run.agent_slug, "status": str(run.status)}
    write_on_commit(runs, level, action, f"run {run.pk} {text}", **of_run, **fields)


def run_cost(run: Run) -> None:
    """Write what a run that ended used in all, if it asked a model."""
    if run.attempts_used:
        used = {name: getattr(run, name) for name in TOKENS}
        of_run = {"run": run.pk, "conversation": run.conversation_id, "agent": run.agent_slug}
        write_on_commit(
            cost, logging.INFO, "run_cost", f"run {run.pk} cost {_amount(run.cost)}",
            **of_run, model=run.model_name, cost=run.cost, **used,
        )  # fmt: skip


def attempt_cost(used: Mapping[str, int | None], amount: Decimal | None, **of_attempt: Any) -> None:
    """Write what an attempt used, failed or not. One of which nobody knows anything has no record."""
    if amount is not None or any(count is not None for count in used.values()):
        attempt = of_attempt["attempt"]
        write_on_commit(
            cost, logging.INFO, "attempt_cost", f"attempt {attempt} cost {_amount(amount)}",
            **of_attempt, cost=amount, **used,
        )  # fmt: skip


def asked(messages: Iterable[ChatMessage], **of_attempt: Any) -> None:
    """Write what a model is asked, where that is wanted."""
    if app_settings.LOG_CONTENT:
        text = json.dumps([{"role": str(m.role), "content": m.content} for m in messages], ensure_ascii=False)
        write(content, logging.INFO, "asked", "asked a model", **of_attempt, text=text)


def said(run: Run, role: str, text: str) -> None:
    """Write what a person or a model said in a conversation, where that is wanted."""
    if app_settings.LOG_CONTENT:
        of_run = {"run": run.pk, "conversation": run.conversation_id, "agent": run.agent_slug}
        write_on_commit(content, logging.INFO, "said", f"{role} in run {run.pk}", **of_run, role=role, text=text)


def _amount(amount: Decimal | None) -> str:
    return "an unknown amount" if amount is None else f"${spell(amount)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return spell(value)
    if isinstance(value, float):
        return round(value, 3)
    return value if isinstance(value, int | str) else str(value)
