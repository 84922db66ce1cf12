"""What a key of a `configure` file may hold: each function returns the value to store, or raises `ValueError`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from llmapp.backends.base import RESERVED_SETTINGS
from llmapp.conf import app_settings
from llmapp.core.timeouts import Timeouts
from llmapp.models import AgentSettings

BACKENDS = ("openai_compatible", "litellm", "scripted")


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(_("must be a string"))
    if "\0" in value:
        raise ValueError(_("has a character that cannot be stored"))
    return value


def name(value: Any) -> str:
    if not text(value).strip() or value != value.strip() or not value.isprintable():
        raise ValueError(_("must be a name"))
    return str(value)


def name_or_none(value: Any) -> str:
    """Take "" too: nobody is named."""
    return name(value) if text(value) else ""


def one_of(*choices: str) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        if value not in choices:
            raise ValueError(_("must be one of {choices}").format(choices=", ".join(choices)))
        return str(value)

    return clean


def backend(value: Any) -> str:
    return one_of(*BACKENDS, *app_settings.BACKENDS)(value)


def whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise ValueError(_("must be a whole number above 0"))
    return value


#: Seconds.
LONGEST = 86_400


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(_("must be true or false"))
    return value


def seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST:
        raise ValueError(_("must be a number of seconds above 0, and at most a day"))
    return float(value)


def price(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        raise ValueError(_('must be a price, such as "0.15"'))
    return amount


def base_url(value: Any) -> str:
    try:
        parts = urlsplit(text(value))
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_("is not a URL")) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", value):
        raise ValueError(_("must be an http:// or https:// URL"))
    if parts.username is not None or parts.password is not None:
        raise ValueError(_("must not have a user name or a password; keys belong into api_keys"))
    if parts.query or parts.fragment:
        raise ValueError(_("must end with its path"))
    return str(value)


def timeouts(value: Any) -> dict[str, float]:
    known = [f.name for f in fields(Timeouts)]
    result = {}
    for key, item in _mapping(value).items():
        if key not in known:
            shown = key if key.isprintable() else json.dumps(key)
            raise ValueError(_("{name} is unknown; there are {known}").format(name=shown, known=", ".join(known)))
        try:
            result[key] = seconds(item)
        except ValueError as error:
            raise ValueError(f"{key} {error}") from None
    return result


def headers(value: Any) -> dict[str, str]:
    result = table(value)
    for key, item in result.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key):
            raise ValueError(_("{name} is not the name of a header").format(name=json.dumps(key)))
        if not isinstance(item, str) or not item.isprintable():
            raise ValueError(_("{name} must be a string of one line").format(name=key))
    return result


def table(value: Any) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(_("may hold strings, numbers, booleans, lists and tables only")) from None
    return _mapping(value)


def settings(value: Any) -> dict[str, Any]:
    result = table(value)
    for key in result:
        if key in RESERVED_SETTINGS:
            raise ValueError(_("{name} is not a setting of an agent").format(name=json.dumps(key)))
    return result


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(_("must be a table"))
    return value


def api_keys(value: Any) -> list[dict[str, str]]:
    """Return the pool as sets of secrets: a plain key is `{"api_key": ...}`."""
    if not isinstance(value, list):
        raise ValueError(_("must be a list"))
    pool = []
    for number, item in enumerate(value, start=1):
        secrets = {"api_key": item} if isinstance(item, str) else item
        if not isinstance(secrets, dict) or not secrets or not all(_is_secret(part) for part in secrets.values()):
            raise ValueError(_("entry {number} must be a key or a table of secrets").format(number=number))
        if secrets in pool:
            raise ValueError(_("entry {number} is there twice").format(number=number))
        pool.append(secrets)
    return pool


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def names(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(_("must be a list of names"))
    return [name(item) for item in value]


def access(value: Any) -> str | list[str]:
    if isinstance(value, list):
        if not value:
            raise ValueError(_("names no group"))
        return names(value)
    if value not in set(AgentSettings.Access) - {AgentSettings.Access.GROUPS}:
        raise ValueError(_('must be "staff", "authenticated", "public" or a list of groups'))
    return str(value)
