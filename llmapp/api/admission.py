"""Who may open a socket on which conversation."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmapp.models import Conversation
from llmapp.runs.access import NotThere, conversations_of, find_conversation
from llmapp.runs.owner import own

from . import origin
from .auth import Identity, Inactive, confirm, identify_scope

#: Runs that news may be late of: they come one after the other.
NEWEST = 5


class NotAdmitted(Exception):
    """The socket is refused before it opens. Nobody is told why."""


class ConversationGone(Exception):
    """The conversation of an open socket was deleted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A socket's owner, its conversation, and how the newest runs there stood when it opened."""

    identity: Identity
    conversation: Conversation
    #: By their keys. News of them may still be on the way.
    newest: dict[uuid.UUID, str]


def admit(scope: Mapping[str, Any]) -> Admission:
    """Check origin, sign-in and right, in this order. Raises `NotAdmitted`. Reads the database."""
    identity = identify_scope(scope)
    id = scope["url_route"]["kwargs"]["conversation"]
    if not origin.allowed(scope, by_token=identity is not None and bool(identity.token)):
        raise NotAdmitted
    if identity is None or not id.isprintable():
        raise NotAdmitted
    try:
        conversation = find_conversation(identity.owner, id)
    except NotThere:
        raise NotAdmitted from None
    newest = conversation.runs.filter(parent=None).order_by("-created_at").values_list("pk", "status")
    return Admission(identity, conversation, dict(newest[:NEWEST]))


def confirm_still(admission: Admission) -> Any:
    """Return the owner as they are now. Raises `SignedOut` (`Inactive`) or `ConversationGone`."""
    owner, id = confirm(admission.identity), admission.conversation.pk
    if not conversations_of(owner).filter(pk=id).exists():
        theirs = Conversation.objects.filter(pk=id, **own(owner)).exists()
        raise Inactive if theirs else ConversationGone
    return owner
