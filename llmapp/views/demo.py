"""Signing in to the demo by a link: once, within ten minutes, and only where `serve --demo` runs."""

from __future__ import annotations

import os
from typing import Any

from django.contrib.auth import get_user_model, login
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache

SALT = "llmapp.demo.sign-in"
#: Seconds that a link is good for.
MAX_AGE = 600


def token_for(user: Any) -> str:
    """Return a signed token that is void as soon as `user` has signed in."""
    return signing.dumps([str(user.pk), _last_login(user)], salt=SALT)


@never_cache
def sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """Sign the link's user in and go to the chat; a link that is used up or too old gets a page that says so."""
    if os.environ.get("LLMAPP_DEMO") != "1":
        raise Http404
    if (user := _redeem(token)) is None:
        return render(request, "llmapp/demo_link_expired.html", status=410)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("llmapp:chat")


def _redeem(token: str) -> Any | None:
    try:
        pk, last_login = signing.loads(token, salt=SALT, max_age=MAX_AGE)
    except (signing.BadSignature, ValueError):
        return None
    users = get_user_model()._default_manager.filter(pk=pk, is_active=True)
    user = users.first()
    if user is None or _last_login(user) != last_login:
        return None
    # Compare-and-set: of two clicks at the same moment one wins.
    won = users.filter(last_login=user.last_login).update(last_login=timezone.now())
    return user if won else None


def _last_login(user: Any) -> str:
    return user.last_login.isoformat() if user.last_login else ""
