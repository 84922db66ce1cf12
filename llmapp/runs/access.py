"""Who may see and use what. Someone else's is not there: every look-up here raises `NotThere`.

An owner is a user, or a `Visitor`: see `runs.owner`.
"""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from django.db.models import QuerySet

from llmapp.models import AgentSettings, Conversation, Run

from .owner import allowed_agents, open_to

Row = TypeVar("Row", Conversation, Run)


class NotThere(Exception):
    """It does not exist, or it belongs to somebody else. Nobody is told which."""


def as_uuid(text: str | uuid.UUID) -> uuid.UUID | None:
    """Read a UUID in its usual spelling; anything else is a client's own id, and gives None."""
    if isinstance(text, uuid.UUID):
        return text
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None


def agents_for(owner: Any) -> QuerySet[AgentSettings]:
    """Return the agents that the owner may use, in the order in which they are offered."""
    return AgentSettings.objects.filter(allowed_agents(owner), enabled=True).distinct()


def find_agent(owner: Any, slug: str) -> AgentSettings:
    if (agent := agents_for(owner).filter(slug=slug).first()) is None:
        raise NotThere
    return agent


def conversations_of(owner: Any) -> QuerySet[Conversation]:
    return Conversation.objects.filter(open_to(owner))


def runs_of(owner: Any) -> QuerySet[Run]:
    return Run.objects.filter(open_to(owner)).select_related("conversation", "continues")


def find_conversation(owner: Any, id: str | uuid.UUID) -> Conversation:
    """Return the owner's conversation with this id: ours, or the client's own."""
    return _find(conversations_of(owner), id)


def find_run(owner: Any, id: str | uuid.UUID) -> Run:
    """Return the owner's run with this id: ours, or the client's own."""
    return _find(runs_of(owner), id)


def _find(rows: QuerySet[Row], id: str | uuid.UUID) -> Row:
    # The client's own name wins, so that a UUID that it chose means the same in all of its calls.
    row = rows.filter(client_id=str(id)).first()
    if row is None and (key := as_uuid(id)) is not None:
        row = rows.filter(pk=key).first()
    if row is None:
        raise NotThere
    return row
