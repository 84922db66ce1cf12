"""Conversations: list, make, read, rename, delete."""

from __future__ import annotations

import base64
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from llmapp.conf import app_settings
from llmapp.models import Conversation, Run
from llmapp.models.runs import ACTIVE_RUNS
from llmapp.runs import actions
from llmapp.runs.access import conversations_of, find_agent, find_conversation
from llmapp.runs.thread import in_order, messages_to

from . import shapes
from .auth import Identity
from .errors import ApiError, invalid_field
from .http import endpoint, read_body, read_number, read_text

PAGE = 30
LARGEST_PAGE = 100
MOST_MESSAGES = 500
TITLE_LENGTH = 200


def list_conversations(request: HttpRequest, identity: Identity) -> dict[str, Any]:
    """`?limit=` (30, at most 100) and `?cursor=` -> {"conversations": [...], "next": cursor or null}, newest first."""
    limit = read_number(request.GET.get("limit", str(PAGE)), "limit", least=1, most=LARGEST_PAGE)
    active = Run.objects.filter(ACTIVE_RUNS, parent=None)
    rows = conversations_of(identity.owner).select_related("agent").order_by("-updated_at", "-id")
    rows = rows.prefetch_related(Prefetch("runs", queryset=active, to_attr="active_runs"))
    if cursor := request.GET.get("cursor"):
        moment, id = _read_cursor(cursor)
        # The first condition is in the others: it is what SQLite looks up in the index.
        rows = rows.filter(Q(updated_at__lt=moment) | Q(id__lt=id), updated_at__lte=moment)
    found = list(rows[: limit + 1])
    page = found[:limit]
    return {
        "conversations": [shapes.conversation(row, next(iter(_active_runs(row)), None)) for row in page],
        "next": _cursor(page[-1]) if len(found) > limit else None,
    }


def create_conversation(request: HttpRequest, identity: Identity) -> HttpResponse:
    """{"agent"?, "title"?} -> 201 and the new conversation."""
    body = read_body(request)
    slug, title = read_text(body, "agent"), _title(body)
    agent = find_agent(identity.owner, slug) if slug is not None else None
    _check_rate(identity.owner)
    row = Conversation.objects.create(user=identity.owner, agent=agent, title=title or "")
    return JsonResponse(shapes.conversation(row, None), status=201)


def show_conversation(request: HttpRequest, identity: Identity, conversation: str) -> dict[str, Any]:
    row = find_conversation(identity.owner, conversation)
    return shapes.conversation(row, shapes.active_run(row))


def rename_conversation(request: HttpRequest, identity: Identity, conversation: str) -> dict[str, Any]:
    """{"title"} -> the conversation."""
    row = find_conversation(identity.owner, conversation)
    if (title := _title(read_body(request))) is None:
        raise invalid_field("title", _("a text is expected."))
    actions.rename(row, title)
    return shapes.conversation(row, shapes.active_run(row))


def delete_conversation(request: HttpRequest, identity: Identity, conversation: str) -> HttpResponse:
    """204. A run that is still active is stopped first."""
    actions.delete(find_conversation(identity.owner, conversation))
    return HttpResponse(status=204)


def list_messages(request: HttpRequest, identity: Identity, conversation: str) -> dict[str, Any]:
    """{"messages": [...]}: the path that is shown, from its first message to its last, as raw text.

    `?limit=` (at most 500): only the newest so many. `?before=` a message's id: only those before it.
    """
    row = find_conversation(identity.owner, conversation)
    leaf, limit = row.leaf_id, request.GET.get("limit")
    if (id := request.GET.get("before")) is not None:
        leaf = _parent(row, id)
    most = None if limit is None else read_number(limit, "limit", least=1, most=MOST_MESSAGES)
    rows = messages_to(leaf, messages=most).values_list(*shapes.MESSAGE, named=True)
    return {"messages": [shapes.message(message) for message in in_order(rows, leaf)]}


conversations = endpoint(GET=list_conversations, POST=create_conversation)
conversation = endpoint(GET=show_conversation, PATCH=rename_conversation, DELETE=delete_conversation)
messages = endpoint(GET=list_messages)


# --- details --------------------------------------------------------------------------------


def _active_runs(row: Conversation) -> list[Run]:
    runs: list[Run] = getattr(row, "active_runs", [])
    return runs


def _parent(conversation: Conversation, id: str) -> uuid.UUID | None:
    message = actions.find_message(conversation, id) if id.isprintable() else None
    if message is None:
        raise invalid_field("before", _("the id of a message of this conversation is expected."))
    return message.parent_id


def _title(body: dict[str, Any]) -> str | None:
    title = read_text(body, "title")
    if title is None:
        return None
    if len(title) > TITLE_LENGTH or "\0" in title:
        raise invalid_field("title", _("at most %(limit)d characters are expected.") % {"limit": TITLE_LENGTH})
    return " ".join(title.split())


def _check_rate(user: Any) -> None:
    """Hold new conversations to the rate of sends: each is meant for at least one."""
    since = timezone.now() - timedelta(minutes=1)
    # What was made in this minute was changed in it too, and that is what there is an index for.
    rows = conversations_of(user).filter(created_at__gt=since, updated_at__gt=since)
    if rows.count() >= app_settings.SENDS_PER_MINUTE:
        message = _("Too many new conversations in a minute. Try again later.")
        raise ApiError(429, "too_many_conversations", message, {"Retry-After": "60"})


def _cursor(row: Conversation) -> str:
    return base64.urlsafe_b64encode(f"{row.updated_at.isoformat()} {row.id}".encode()).decode()


def _read_cursor(text: str) -> tuple[datetime, uuid.UUID]:
    try:
        moment, id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        if (read := parse_datetime(moment)) is None or read.tzinfo is None:
            raise ValueError
        return read, uuid.UUID(id)
    except ValueError:
        raise invalid_field("cursor", _("use the value of “next” as it is.")) from None
