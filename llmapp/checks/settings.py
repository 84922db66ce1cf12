"""The setting LLMAPP: its names, its types, and the keys that it must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning

from llmapp.conf import AppSettings, app_settings
from llmapp.core.alarms import ALARMS

from .registry import check

#: Seconds that a run may take to end after it was told to: `runs.execution.PATIENCE`, which only workers load.
PATIENCE = 2.0


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


@check("llmapp")
def check_times() -> Iterator[CheckMessage]:
    """What is to hold when something fails, holds only if one time is longer than another."""
    if any(check_setting_types()):
        return  # E003 says so
    for shorter, times, longer, why in ORDER:
        if times * getattr(app_settings, shorter) > getattr(app_settings, longer):
            yield Warning(
                f'LLMAPP["{longer}"] is {getattr(app_settings, longer):g} s, and LLMAPP["{shorter}"] '
                f"{getattr(app_settings, shorter):g} s: {why}.",
                hint=f'Make "{longer}" at least {times * getattr(app_settings, shorter):g}, or "{shorter}" shorter.',
                id="llmapp.W019",
            )
    if (least := 2 * PATIENCE) > app_settings.GRACE_SECONDS:
        yield Warning(
            f'LLMAPP["GRACE_SECONDS"] is {app_settings.GRACE_SECONDS:g}: a worker that ends a run at its timeout takes '
            "up to that long, and would lose all of its runs meanwhile.",
            hint=f"Make it at least {least:g}.",
            id="llmapp.W019",
        )


#: Setting, how often it has to go into the other one, that one, and what happens else.
ORDER = [
    ("HEARTBEAT_SECONDS", 3, "LEASE_SECONDS", "a worker that is late for a moment loses its runs"),
    ("SWEEP_SECONDS", 1, "LEASE_SECONDS", "a dead worker's runs wait for longer than its lease"),
]


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "LLMAPP", {})
    return configured if isinstance(configured, Mapping) else {}


def _why_not(name: str, value: Any, wanted: Any) -> str | None:
    """Return what the value should have been; None when it is."""
    if name == "ENCRYPTION_KEYS":
        return None if _are_keys(value) else "a list of Fernet keys"
    if name == "BACKENDS":
        return None if _are_paths(value) else "a dict of names and dotted paths"
    if name == "ALARM_MAILS":
        return None if _are_alarms(value) else "a list of some of " + ", ".join(ALARMS)
    if name == "ERROR_RATE" and isinstance(value, int | float) and value > 1:
        return "a share between 0 and 1"
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


def _are_alarms(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(name in ALARMS for name in value)


def _are_paths(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)
