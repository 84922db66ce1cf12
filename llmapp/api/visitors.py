"""Visitors without an account: known by their session, for as long as it lasts.

A session gets one when it opens a page that offers a public agent. Who signs in takes along what was said.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest

from llmapp.models import Visitor
from llmapp.runs import owner
from llmapp.runs.access import as_uuid

#: The session's key that holds a visitor's id.
KEY = "llmapp_visitor"


def of(session: Any, address: str = "") -> Visitor | None:
    """Return the session's visitor, who need not have said anything yet; None when it has none."""
    id = as_uuid(str(session.get(KEY, ""))) if session is not None else None
    if id is None:
        return None
    visitor = Visitor(pk=id)
    visitor.address = address
    return visitor


def welcome(session: Any) -> None:
    """Give a session a visitor, unless it has one."""
    if of(session) is None:
        session[KEY] = str(uuid.uuid4())


def take_along(request: HttpRequest | None, user: Any, **_facts: Any) -> None:
    """Hand a visitor's conversations over to the user who has just signed in: for the signal `user_logged_in`.

    Sockets that are open still belong to the visitor's session, which has ended: they are closed, and the page
    that is loaded next is the user's.
    """
    session: Any = getattr(request, "session", None)
    if (visitor := of(session)) is not None:
        owner.adopt(visitor, user)
        session.pop(KEY)
