"""Who is asking: the owner of an API token, the user of a session, or a visitor without an account.

A token in `Authorization: Bearer` always wins over a cookie; a token that is not valid is refused and
never falls back to the cookie. Inactive users are nobody. A visitor is somebody only where a door says that it takes
visitors.

Streams and sockets outlive the moment of their sign-in, so an `Identity` remembers how it was
established and can be checked again with `confirm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase

from llmapp import tokens
from llmapp.runs.owner import is_visitor
from llmapp.views.away import or_away

from . import address
from . import visitors as visits
from .bridge import in_thread, own_transactions
from .errors import unauthenticated


class SignedOut(Exception):
    """The session or token of an identity has ended."""


class Inactive(SignedOut):
    """The user of an identity was deactivated, or the agent that a visitor talks to is no longer public."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user or a visitor, and how we know: by `token`, or by the session `session_key`.

    Both are empty where a site's own middleware signed the user in.
    """

    owner: Any
    token: str = ""
    session_key: str = ""


def identify(request: HttpRequest, visitors: bool = False) -> Identity | None:
    """Return who makes this request, or None. Reads the database: call it in a thread."""
    if (token := bearer(request.headers.get("Authorization", ""))) is not None:
        return _by_token(token)
    session = getattr(request, "session", None)
    found = _by_session(getattr(request, "user", None), session)
    return found or (_by_visit(session, address.of_request(request)) if visitors else None)


def identify_scope(scope: Mapping[str, Any]) -> Identity | None:
    """Return who opens this socket, a visitor too, or None. Reads the database: call it in a thread."""
    if (token := bearer(header(scope, b"authorization"))) is not None:
        return _by_token(token)
    session = scope.get("session")
    return _by_session(scope.get("user"), session) or _by_visit(session, address.of_scope(scope))


async def authenticate(request: HttpRequest) -> Identity | None:
    """Return who makes this request, or None; for asynchronous views."""
    return await in_thread(identify, request)


def page(view: Callable[..., Any]) -> Callable[..., Any]:
    """Ask for a sign-in before an asynchronous view; `request.user` is then the session's or the token's user.

    Who shows a token that is not valid gets 401; everybody else is sent to `LOGIN_URL`.
    """

    @own_transactions
    @or_away
    @wraps(view)
    async def signed_in(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if (identity := await authenticate(request)) is not None:
            request.user = identity.owner
            response: HttpResponseBase = await view(request, *args, **kwargs)
            return response
        if bearer(request.headers.get("Authorization", "")) is not None:
            return unauthenticated().response()
        return redirect_to_login(request.get_full_path())

    return signed_in


def confirm(identity: Identity) -> Any:
    """Return the owner as they are now. Raises `SignedOut`, or `Inactive`, when they may no longer act."""
    return _confirm_visitor(identity) if is_visitor(identity.owner) else _confirm_user(identity)


def _confirm_visitor(identity: Identity) -> Any:
    if (visitor := visits.of(_session(identity.session_key))) is None or visitor.pk != identity.owner.pk:
        raise SignedOut
    return identity.owner


def _confirm_user(identity: Identity) -> Any:
    manager = auth.get_user_model()._default_manager
    if identity.token:
        user = tokens.find(identity.token)
    elif identity.session_key:
        user = _session_user(identity.session_key)
    else:
        user = manager.filter(pk=identity.owner.pk).first()
    if user is not None and user.pk == identity.owner.pk and user.is_active:
        return user
    if manager.filter(pk=identity.owner.pk, is_active=False).exists():
        raise Inactive
    raise SignedOut


def bearer(value: str) -> str | None:
    """Return the token of an `Authorization` header; None when it is of another kind."""
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """Return a header of an ASGI scope, or an empty text."""
    pairs: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())
    return next((value.decode("latin-1") for key, value in pairs if key == name), "")


def _by_token(token: str) -> Identity | None:
    user = tokens.find(token) if token else None
    return Identity(user, token=token) if user is not None and user.is_active else None


def _by_session(user: Any, session: Any) -> Identity | None:
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    return Identity(user, session_key=getattr(session, "session_key", None) or "")


def _by_visit(session: Any, mark: str) -> Identity | None:
    visitor = visits.of(session, mark)
    return None if visitor is None else Identity(visitor, session_key=getattr(session, "session_key", None) or "")


def _session(key: str) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def _session_user(key: str) -> Any:
    """Return the user whom this session signs in now, or None: it ended, or the password changed."""
    request = HttpRequest()
    request.session = _session(key)
    user = auth.get_user(request)
    return user if user.is_authenticated else None
