"""Who may see and use what. Someone else's is not there: every look-up here raises `NotThere`."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from django.db.models import Q, QuerySet

from llmapp.models import AgentSettings, Conversation, Run

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


def agents_for(user: Any) -> QuerySet[AgentSettings]:
    """Return the agents that `user` may use, in the order in which they are offered."""
    agents = AgentSettings.objects.filter(enabled=True)
    if not user.is_active:
        return agents.none()
    if user.is_superuser:
        return agents
    allowed = Q(access=AgentSettings.Access.AUTHENTICATED)
    allowed |= Q(access=AgentSettings.Access.GROUPS, groups__in=user.groups.all())
    if user.is_staff:
        allowed |= Q(access=AgentSettings.Access.STAFF)
    return agents.filter(allowed).distinct()


def find_agent(user: Any, slug: str) -> AgentSettings:
    if (agent := agents_for(user).filter(slug=slug).first()) is None:
        raise NotThere
    return agent


def conversations_of(user: Any) -> QuerySet[Conversation]:
    return Conversation.objects.filter(user=user)


def find_conversation(user: Any, id: str | uuid.UUID) -> Conversation:
    """Return the user's conversation with this id: ours, or the client's own."""
    return _find(conversations_of(user), id)


def find_run(user: Any, id: str | uuid.UUID) -> Run:
    """Return the user's run with this id: ours, or the client's own."""
    return _find(Run.objects.filter(user=user).select_related("conversation", "continues"), id)


def _find(rows: QuerySet[Row], id: str | uuid.UUID) -> Row:
    # The client's own name wins, so that a UUID that it chose means the same in all of its calls.
    row = rows.filter(client_id=str(id)).first()
    if row is None and (key := as_uuid(id)) is not None:
        row = rows.filter(pk=key).first()
    if row is None:
        raise NotThere
    return row
