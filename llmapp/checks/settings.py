"""The setting LLMAPP: its names, its types, and the keys that it must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags

from llmapp.conf import AppSettings, app_settings

from .registry import check


@check(Tags.security)
def check_encryption_keys() -> Iterator[CheckMessage]:
    if not settings.DEBUG and not app_settings.ENCRYPTION_KEYS:
        yield Error(
            'LLMAPP["ENCRYPTION_KEYS"] is empty: the keys of providers cannot be stored.',
            hint="Make one with cryptography.fernet.Fernet.generate_key(), and keep it outside of the code.",
            id="llmapp.E001",
        )


@check("llmapp")
def check_setting_names() -> Iterator[CheckMessage]:
    for name in sorted(set(_configured()) - AppSettings.known()):
        yield Error(
            f'LLMAPP["{name}"] is unknown.',
            hint="There are " + ", ".join(sorted(AppSettings.known())) + ".",
            id="llmapp.E002",
        )


@check("llmapp")
def check_setting_types() -> Iterator[CheckMessage]:
    if not isinstance(getattr(settings, "LLMAPP", {}), Mapping):
        yield Error("settings.LLMAPP is not a dict.", id="llmapp.E003")
        return
    types = get_type_hints(AppSettings)
    for name, value in _configured().items():
        if name in types and (wanted := _why_not(name, value, types[name])):
            yield Error(f'LLMAPP["{name}"] must be {wanted}.', id="llmapp.E003")


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "LLMAPP", {})
    return configured if isinstance(configured, Mapping) else {}


def _why_not(name: str, value: Any, wanted: Any) -> str | None:
    """Return what the value should have been; None when it is."""
    if name == "ENCRYPTION_KEYS":
        return None if _are_keys(value) else "a list of Fernet keys"
    if name == "BACKENDS":
        return None if _are_paths(value) else "a dict of names and dotted paths"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match wanted:
        case type() if wanted is bool:
            return None if isinstance(value, bool) else "True or False"
        case type() if wanted is int:
            return None if number and isinstance(value, int) and value >= 0 else "a whole number that is not negative"
        case type() if wanted is float:
            return None if number and value >= 0 else "a number of seconds that is not negative"
    return None if isinstance(value, get_origin(wanted) or wanted) else str(wanted)


def _are_keys(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    try:
        for key in value:
            Fernet(key)
    except (TypeError, ValueError):
        return False
    return True


def _are_paths(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)
