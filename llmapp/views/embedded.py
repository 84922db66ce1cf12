"""The chat of one agent, for an iframe in another page of the same site."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from llmapp.api import visitors
from llmapp.api.auth import Identity, bearer, identify
from llmapp.api.bridge import in_thread, own_transactions
from llmapp.api.errors import unauthenticated
from llmapp.models import Conversation, Visitor
from llmapp.runs.access import NotThere, agents_for, find_conversation
from llmapp.runs.owner import is_visitor

from .away import or_away
from .chat import basics, finished, news, thread_of
from .thread import Thread


@own_transactions
async def embedded(request: HttpRequest, agent: str, conversation: uuid.UUID | None = None) -> HttpResponse:
    """Show a new chat with an agent, or one that it had; to who may not use it without an account, the way there.

    `?before=MESSAGE` and `?thread=VERSION` are those of the chat page.
    """
    response = finished(request, await _answer_or_away(request, agent, conversation))
    # Older browsers read this one, and a site's middleware would say DENY.
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


@or_away
async def _answer_or_away(request: HttpRequest, slug: str, id: uuid.UUID | None) -> HttpResponse:
    return await in_thread(_answer, request, slug, id)


def _answer(request: HttpRequest, slug: str, id: uuid.UUID | None) -> HttpResponse:
    known = request.GET.get("thread")
    if (identity := identify(request) or _visit(request, slug, begins=known is None)) is None:
        return _unknown(request, known)
    if not is_visitor(identity.owner):
        request.user = identity.owner
    try:
        conversation = _find(identity.owner, slug, id)
        thread = thread_of(request, conversation)
    except NotThere:
        # It was deleted, or is of somebody who used this browser before: the page forgets it and begins anew.
        return _page(request, identity.owner, slug, None, Thread.of(None), status=404)
    if known is not None:
        return news(request, thread, known)
    return _page(request, identity.owner, slug, conversation, thread)


def _visit(request: HttpRequest, slug: str, begins: bool) -> Identity | None:
    """Return the visitor of a public agent; one who comes for the first time is given a session when a page begins."""
    session = getattr(request, "session", None)
    if session is None or bearer(request.headers.get("Authorization", "")) is not None:
        return None
    if not agents_for(Visitor()).filter(slug=slug).exists():
        return None
    if begins:
        visitors.welcome(session)
    return identify(request, visitors=True)


def _unknown(request: HttpRequest, known: str | None) -> HttpResponse:
    if bearer(request.headers.get("Authorization", "")) is not None:
        return unauthenticated().response()
    if known is not None:
        # A page that is open asks, and understands this.
        return redirect_to_login(request.get_full_path())
    return render(request, "llmapp/embedded_sign_in.html", {"sign_in": _sign_in(request)})


def _page(
    request: HttpRequest, owner: Any, slug: str, conversation: Conversation | None, thread: Thread, status: int = 200
) -> HttpResponse:
    context = _context(request, owner, slug, conversation, thread)
    context["config"]["gone"] = status == 404
    return render(request, "llmapp/embedded.html", context, status=status)


def _find(owner: Any, slug: str, id: uuid.UUID | None) -> Conversation | None:
    """Return the conversation. Raises `NotThere` when it is not the owner's, or not with this agent."""
    if id is None:
        return None
    conversation = find_conversation(owner, id)
    if conversation.agent is None or conversation.agent.slug != slug:
        raise NotThere
    return conversation


def _context(
    request: HttpRequest, owner: Any, slug: str, conversation: Conversation | None, thread: Thread
) -> dict[str, Any]:
    agent = agents_for(owner).filter(slug=slug).first()
    context = basics(request, owner, conversation, thread, agent)
    context["config"] |= {"page": reverse("llmapp:embedded", args=[slug]), "embedded": slug}
    return context | {"base": "llmapp/embedded_base.html", "embedded": True, "agents": [agent] if agent else []}


def _sign_in(request: HttpRequest) -> str:
    """Return the address of the sign-in, which leads back to the page around us."""
    referer = request.headers.get("Referer", "")
    own = url_has_allowed_host_and_scheme(referer, {request.get_host()}, require_https=request.is_secure())
    outside = urlsplit(referer)._replace(scheme="", netloc="", fragment="").geturl() if own else ""
    if not url_has_allowed_host_and_scheme(outside, None):
        # Also "//elsewhere/", which is a path on this site and a host in a link.
        outside = reverse("llmapp:chat")
    return str(redirect_to_login(outside, resolve_url(settings.LOGIN_URL)).url)
