"""Whose a conversation and its runs are: a user's, or those of a visitor without an account.

The one place that knows the difference. Everything else passes on an owner: a user, or a `Visitor`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from llmapp.conf import app_settings
from llmapp.models import AgentSettings, Conversation, Run, Visitor

#: A lock of the database that the sends of all visitors take last.
ALL_VISITORS = "visitors"


def is_visitor(owner: Any) -> bool:
    return isinstance(owner, Visitor)


def own(owner: Any) -> dict[str, Any]:
    """Return the fields that say whose a row is, to find it by or to make it with."""
    return {"visitor": owner} if is_visitor(owner) else {"user": owner}


def run_of(owner: Any) -> dict[str, Any]:
    """Return the fields of a new run that its owner decides."""
    return {**own(owner), "address": owner.address} if is_visitor(owner) else own(owner)


def allowed_agents(owner: Any) -> Q:
    """Return the condition for agents that this owner may use."""
    access = AgentSettings.Access
    if is_visitor(owner):
        return Q(access=access.PUBLIC)
    if not owner.is_active:
        return Q(pk=None)
    if owner.is_superuser:
        return Q()
    allowed = Q(access__in=[access.AUTHENTICATED, access.PUBLIC])
    allowed |= Q(access=access.GROUPS, groups__in=owner.groups.all())
    return allowed | Q(access=access.STAFF) if owner.is_staff else allowed


def open_to(owner: Any) -> Q:
    """Return the condition for conversations and runs that their owner may see now.

    A user keeps what an agent said when they may use it no more; to a visitor it is shut with the agent.
    """
    if is_visitor(owner):
        return Q(visitor=owner, agent__access=AgentSettings.Access.PUBLIC, agent__enabled=True)
    return Q(user=owner)


def message_length(owner: Any) -> int:
    """Return how many characters a message of theirs may have."""
    most: int = app_settings.MAX_MESSAGE_LENGTH
    return min(most, app_settings.VISITOR_MESSAGE_LENGTH) if is_visitor(owner) else most


def seats(owner: Any, streams: bool = False) -> dict[Hashable, int]:
    """Return how many sockets, or `streams`, may be open in a process, by what they are counted by.

    A visitor's are counted together. Streams of users are not counted.
    """
    if is_visitor(owner):
        return {
            ("visitor", owner.pk): app_settings.VISITOR_SOCKETS,
            ("address", owner.address): app_settings.ADDRESS_SOCKETS,
        }
    return {} if streams else {("user", owner.pk): app_settings.MAX_SOCKETS_PER_USER}


# --- one after the other --------------------------------------------------------------------


def hold(owner: Any) -> None:
    """Make the sends of one owner wait for each other, and those from one address; until the transaction ends.

    A visitor's row is made here, with the first message.
    """
    if is_visitor(owner):
        lock(f"address {owner.address}")
        owner.seen_at = timezone.now()
        # One statement that makes the row or finds it, and holds it in both cases.
        Visitor.objects.bulk_create([owner], update_conflicts=True, unique_fields=["id"], update_fields=["seen_at"])
    elif connection.vendor == "postgresql":
        get_user_model()._default_manager.select_for_update(no_key=True).get(pk=owner.pk)


def lock(name: str) -> None:
    """Wait until nobody else holds this name, and hold it until the transaction ends. On SQLite all writers wait."""
    if connection.vendor == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"llmapp {name}".encode()).digest()[:8], "big", signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])


# --- signing in -----------------------------------------------------------------------------


def adopt(visitor: Visitor, user: Any) -> None:
    """Make everything of a visitor's a user's, and forget the visitor."""
    with transaction.atomic():
        row = Visitor.objects.filter(pk=visitor.pk)
        if not row.select_for_update().exists():
            return  # it never said anything
        hold(user)  # so that no name is taken meanwhile
        _free_names(visitor, user)
        # In the order in which a deletion holds them.
        Run.objects.filter(visitor=visitor).update(user=user, visitor=None)
        Conversation.objects.filter(visitor=visitor).update(user=user, visitor=None)
        row.delete()


def _free_names(visitor: Visitor, user: Any) -> None:
    """Take the names away that the user's own rows have already."""
    for model, name in ((Run, "client_id"), (Run, "idempotency_key"), (Conversation, "client_id")):
        rows = model._default_manager.exclude(**{name: None})
        taken = rows.filter(user=user).values(name)
        rows.filter(visitor=visitor, **{f"{name}__in": taken}).update(**{name: None})
