"""Who may open a socket on which conversation, and how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmapp.conf import app_settings
from llmapp.models import Conversation, Run
from llmapp.runs.access import NotThere, find_conversation

from . import origin, shapes
from .auth import Identity, confirm, identify_scope

#: Open sockets of this process, by user.
_open: Counter[Any] = Counter()


class NotAdmitted(Exception):
    """The socket is refused before it opens. Nobody is told why."""


class ConversationGone(Exception):
    """The conversation of an open socket was deleted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A socket's user, its conversation, and the run that was active there when it opened."""

    identity: Identity
    conversation: Conversation
    active: Run | None


def admit(scope: Mapping[str, Any]) -> Admission:
    """Check origin, sign-in and right, in this order. Raises `NotAdmitted`. Reads the database."""
    identity = identify_scope(scope)
    id = scope["url_route"]["kwargs"]["conversation"]
    if not origin.allowed(scope, by_token=identity is not None and bool(identity.token)):
        raise NotAdmitted
    if identity is None or not id.isprintable():
        raise NotAdmitted
    try:
        conversation = find_conversation(identity.user, id)
    except NotThere:
        raise NotAdmitted from None
    return Admission(identity, conversation, shapes.active_run(conversation))


def confirm_still(admission: Admission) -> Any:
    """Return the user as they are now. Raises `SignedOut` (`Inactive`) or `ConversationGone`."""
    user = confirm(admission.identity)
    if not Conversation.objects.filter(pk=admission.conversation.pk, user=user).exists():
        raise ConversationGone
    return user


def take_seat(user: Any) -> None:
    """Count one more socket of `user`. Raises `NotAdmitted` when there are too many."""
    if _open[user.pk] >= app_settings.MAX_SOCKETS_PER_USER:
        raise NotAdmitted
    _open[user.pk] += 1


def leave_seat(user: Any) -> None:
    _open[user.pk] -= 1
    if not _open[user.pk]:
        del _open[user.pk]
