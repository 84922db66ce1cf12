"""API tokens: made, and found again by their hash. The token itself is never stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from llmapp.models import ApiToken

#: So that people and secret scanners know what it is.
PREFIX = "llmapp_"


def issue(user: Any, days: int | None = None) -> str:
    """Make a token for `user`, valid for `days` or until it is revoked, and return it: the only time it is seen."""
    token = PREFIX + secrets.token_urlsafe(32)
    expires_at = None if days is None else timezone.now() + timedelta(days=days)
    ApiToken.objects.create(user=user, digest=digest(token), hint=token[-4:], expires_at=expires_at)
    return token


def find(token: str) -> Any | None:
    """Return the active user that `token` stands for. None when it is unknown, revoked or expired."""
    valid = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    row = ApiToken.objects.filter(valid, digest=digest(token), revoked_at=None).select_related("user").first()
    return row.user if row is not None and row.user.is_active else None


def digest(token: str) -> str:
    # A token is 256 random bits: unlike a password it needs no slow hash.
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
