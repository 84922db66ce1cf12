"""Conversations that have grown: rows as runs leave them, without the runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run


def grown(
    user: Any, agent: AgentSettings, messages: int, text: str = "Number {n}.", conversation: Conversation | None = None
) -> Conversation:
    """Make a conversation of so many messages, or add them to one: questions and their answers, in turn."""
    made = conversation or Conversation.objects.create(user=user, agent=agent, title=f"{messages} messages")
    rows: list[Message] = []
    runs: list[Run] = []
    yesterday, leaf = timezone.now() - timedelta(days=1), made.leaf
    for n in range(messages // 2):
        at = yesterday + timedelta(seconds=n)
        said = text.format(n=n)
        question = Message(conversation=made, parent=leaf, role="user", text=said)
        run = Run(
            user=user,
            conversation=made,
            agent=agent,
            agent_slug=agent.slug,
            message=question,
            status=RunStatus.COMPLETED,
            model_name=agent.model.name,
            input_tokens=100,
            output_tokens=100,
            cost="0.001",
            created_at=at,
            started_at=at,
            ended_at=at,
            queue_until=at,
        )
        leaf = Message(conversation=made, parent=question, role="assistant", text=said, html=f"<p>{said}</p>", run=run)
        rows += [question, leaf]
        runs.append(run)
    with transaction.atomic():
        # They name each other.
        Run.objects.bulk_create(runs, batch_size=500)
        Message.objects.bulk_create(rows, batch_size=500)
    made.leaf = leaf
    made.save()
    return made
