"""Which pages may open a websocket. Browsers send cookies along with any page's, and no CSRF token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from .auth import header

DEFAULT_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def allowed(scope: Mapping[str, Any], by_token: bool) -> bool:
    """Say whether this connection comes from one of the site's own pages, or from a program with a token.

    The origin's host and port have to be those of the `Host` header, which has to be one of
    `ALLOWED_HOSTS`; or the origin is one of `CSRF_TRUSTED_ORIGINS`.
    """
    if not (text := header(scope, b"origin")):
        return by_token
    try:
        origin = urlsplit(text)
        if origin.scheme not in DEFAULT_PORTS or not origin.hostname:
            return False
        return _is_own(origin, _host(scope)) or _is_trusted(origin)
    except ValueError:
        return False


def _host(scope: Mapping[str, Any]) -> str:
    forwarded = header(scope, b"x-forwarded-host") if settings.USE_X_FORWARDED_HOST else ""
    return forwarded or header(scope, b"host")


def _is_own(origin: SplitResult, host: str) -> bool:
    default = DEFAULT_PORTS[origin.scheme]
    domain, port = split_domain_port(host.lower())
    own = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    if not domain or not validate_host(domain, own):
        return False
    return (_domain(origin), str(origin.port or default)) == (domain, port or default)


def _is_trusted(origin: SplitResult) -> bool:
    return any(_matches(origin, urlsplit(trusted)) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _matches(origin: SplitResult, trusted: SplitResult) -> bool:
    """Compare as Django does for CSRF: scheme and port exactly, the host with `*.` for any subdomain."""
    if (origin.scheme, _port(origin)) != (trusted.scheme, _port(trusted)):
        return False
    return is_same_domain(_domain(origin), (trusted.hostname or "").removeprefix("*"))


def _domain(origin: SplitResult) -> str:
    name = (origin.hostname or "").rstrip(".")
    return f"[{name}]" if ":" in name else name


def _port(origin: SplitResult) -> str:
    return str(origin.port or DEFAULT_PORTS.get(origin.scheme, ""))
