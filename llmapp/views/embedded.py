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

from llmapp.api.auth import bearer, identify
from llmapp.api.bridge import in_thread
from llmapp.api.errors import unauthenticated
from llmapp.models import Conversation
from llmapp.runs.access import NotThere, agents_for, find_conversation

from .chat import basics, finished
from .thread import Thread


async def embedded(request: HttpRequest, agent: str, conversation: uuid.UUID | None = None) -> HttpResponse:
    """Show a new chat with an agent, or one that it had; to who is not signed in, the way there."""
    response = finished(request, await in_thread(_answer, request, agent, conversation))
    # Older browsers read this one, and a site's middleware would say DENY.
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _answer(request: HttpRequest, slug: str, id: uuid.UUID | None) -> HttpResponse:
    if (identity := identify(request)) is None:
        if bearer(request.headers.get("Authorization", "")) is not None:
            return unauthenticated().response()
        return render(request, "llmapp/embedded_sign_in.html", {"sign_in": _sign_in(request)})
    request.user = identity.user
    try:
        return _page(request, slug, _find(request, slug, id))
    except NotThere:
        # It was deleted, or is of somebody who used this browser before: the page forgets it and begins anew.
        return _page(request, slug, None, status=404)


def _page(request: HttpRequest, slug: str, conversation: Conversation | None, status: int = 200) -> HttpResponse:
    context = _context(request, slug, conversation)
    context["config"]["gone"] = status == 404
    return render(request, "llmapp/embedded.html", context, status=status)


def _find(request: HttpRequest, slug: str, id: uuid.UUID | None) -> Conversation | None:
    """Return the conversation. Raises `NotThere` when it is not the user's, or not with this agent."""
    if id is None:
        return None
    conversation = find_conversation(request.user, id)
    if conversation.agent is None or conversation.agent.slug != slug:
        raise NotThere
    return conversation


def _context(request: HttpRequest, slug: str, conversation: Conversation | None) -> dict[str, Any]:
    agent = next((agent for agent in agents_for(request.user) if agent.slug == slug), None)
    context = basics(request, conversation, Thread.of(conversation), agent)
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
