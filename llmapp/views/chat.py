"""The chat page: the conversations of a person, and one of them open.

The server renders what has ended; a run that is still active is an empty place that the page fills from
the run's log, so a reload in the middle of an answer shows the same as before it.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from llmapp.api.auth import page
from llmapp.api.bridge import in_thread
from llmapp.models import Conversation
from llmapp.runs.access import NotThere, agents_for, as_uuid, conversations_of, find_conversation
from llmapp.runs.owner import is_visitor, message_length

from .policy import content_security_policy
from .strings import page_strings
from .thread import Thread

#: Conversations in the page as it arrives; the list asks the API for more.
FIRST_CONVERSATIONS = 40


@page
async def chat(request: HttpRequest, conversation: uuid.UUID | None = None) -> HttpResponse:
    """Show the newest messages of a conversation, or a new chat.

    With `?before=MESSAGE` those before it. With `?thread=VERSION` only messages, if they are others by now.
    """
    return finished(request, await in_thread(_answer, request, conversation))


def finished(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the response with the headers of a page that is one person's."""
    add_never_cache_headers(response)
    response.headers.setdefault("Content-Security-Policy", content_security_policy(request))
    return response


def _answer(request: HttpRequest, id: uuid.UUID | None) -> HttpResponse:
    try:
        conversation = None if id is None else find_conversation(request.user, id)
        thread = thread_of(request, conversation)
    except NotThere:
        raise Http404 from None
    if (known := request.GET.get("thread")) is not None:
        return news(request, thread, known)
    return render(request, "llmapp/chat.html", _context(request, conversation, thread))


def thread_of(request: HttpRequest, conversation: Conversation | None) -> Thread:
    """Return the part of a conversation that is asked for. Raises `NotThere`."""
    if conversation is None or (before := request.GET.get("before")) is None:
        return Thread.of(conversation)
    if (message := as_uuid(before)) is None:
        raise NotThere
    return Thread.before(conversation, message)


def news(request: HttpRequest, thread: Thread, known: str) -> HttpResponse:
    """Return the messages of a conversation; 204 when they are those of the version that is known."""
    if known == thread.version:
        return HttpResponse(status=204)
    return render(request, "llmapp/partials/thread.html", {"thread": thread})


def _context(request: HttpRequest, conversation: Conversation | None, thread: Thread) -> dict[str, Any]:
    agents = list(agents_for(request.user))
    agent = _agent(request, conversation, agents)
    rows = list(conversations_of(request.user)[: FIRST_CONVERSATIONS + 1])
    return {
        **basics(request, request.user, conversation, thread, agent),
        "path": request.get_full_path(),
        "conversations": rows[:FIRST_CONVERSATIONS],
        "more_conversations": len(rows) > FIRST_CONVERSATIONS,
        "agents": agents,
    }


def basics(
    request: HttpRequest, owner: Any, conversation: Conversation | None, thread: Thread, agent: Any
) -> dict[str, Any]:
    """Return what every page with a conversation on it needs."""
    return {
        "user": request.user,
        "conversation": conversation,
        "thread": thread,
        "agent": agent,
        "placeholder": _("Message {name}").format(name=agent.title) if agent else "",
        "config": _config(request, owner, conversation, agent),
        "strings": page_strings(),
    }


def _agent(request: HttpRequest, conversation: Conversation | None, agents: list[Any]) -> Any:
    """Choose who answers: the conversation's agent while it may be used, else the one asked for, else the first."""
    if conversation is not None:
        return next((agent for agent in agents if agent.pk == conversation.agent_id), None)
    wanted = request.GET.get("agent")
    return next((agent for agent in agents if agent.slug == wanted), agents[0] if agents else None)


def _config(request: HttpRequest, owner: Any, conversation: Conversation | None, agent: Any) -> dict[str, Any]:
    chat = reverse("llmapp:chat")
    return {
        "root": chat.removesuffix("chat/"),
        "chat": chat,
        "page": chat,
        "sockets": f"{get_script_prefix()}ws/conversations/",
        "conversation": str(conversation.pk) if conversation else None,
        "agent": agent.slug if agent else None,
        "csrf": get_token(request),
        "limit": message_length(owner),
        "visitor": is_visitor(owner),
        "firstConversations": FIRST_CONVERSATIONS,
    }
