"""System checks: what would go wrong later is said at the start, with a hint that mends it.

    llmapp.E001  DEBUG=False without ENCRYPTION_KEYS
    llmapp.E002  an unknown key in settings.LLMAPP
    llmapp.E003  a value of the wrong type in settings.LLMAPP
    llmapp.E004  a database that is not supported
    llmapp.E005  a Celery pool that is not supported
    llmapp.E006  a malicious litellm
    llmapp.W001  SQLite that is not set up for several processes
    llmapp.W002  an old Daphne
    llmapp.W003  Celery accepts pickled messages

Nothing here imports litellm: that would cost each process 160 MB, and run what E006 warns of.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections

from .conf import AppSettings, app_settings

#: Versions that were published by thieves.
STOLEN_LITELLM = ("1.82.7", "1.82.8")
#: The file by which they ran in every process.
STOLEN_PTH = "litellm_init.pth"

#: Two vulnerabilities were mended in it.
OLDEST_DAPHNE = (4, 2, 2)


def _check(tag: str) -> Callable[[Callable[[], Iterator[CheckMessage]]], Callable[..., list[CheckMessage]]]:
    """Register a generator of messages."""

    def decorate(function: Callable[[], Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
        def check(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
            return list(function())

        check.__name__ = function.__name__
        register(check, tag)
        return check

    return decorate


@_check(Tags.security)
def check_encryption_keys() -> Iterator[CheckMessage]:
    if not settings.DEBUG and not app_settings.ENCRYPTION_KEYS:
        yield Error(
            'LLMAPP["ENCRYPTION_KEYS"] is empty: the keys of providers cannot be stored.',
            hint="Make one with cryptography.fernet.Fernet.generate_key(), and keep it outside of the code.",
            id="llmapp.E001",
        )


@_check("llmapp")
def check_setting_names() -> Iterator[CheckMessage]:
    for name in sorted(set(_configured()) - AppSettings.known()):
        yield Error(
            f'LLMAPP["{name}"] is unknown.',
            hint="There are " + ", ".join(sorted(AppSettings.known())) + ".",
            id="llmapp.E002",
        )


@_check("llmapp")
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


@_check("llmapp")
def check_database() -> Iterator[CheckMessage]:
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "sqlite":
        yield from _check_sqlite(connection.settings_dict["OPTIONS"])
    elif connection.vendor != "postgresql":
        yield Error(
            f"llmapp does not run on {connection.display_name}.",
            hint="Runs need partial unique indexes and row locks as PostgreSQL has them. Use it, or SQLite.",
            id="llmapp.E004",
        )


def _check_sqlite(options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    missing = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
        missing.append('"init_command": "PRAGMA journal_mode=WAL"')
    if missing:
        yield Warning(
            "SQLite is not set up for several processes: runs will fail with 'database is locked'.",
            hint=f'Put {" and ".join(missing)} into DATABASES["default"]["OPTIONS"].',
            id="llmapp.W001",
        )


@_check("llmapp")
def check_celery() -> Iterator[CheckMessage]:
    pool = str(getattr(settings, "CELERY_WORKER_POOL", ""))
    for name in ("gevent", "eventlet"):
        # On the command line it is not in the settings; by then the process has been patched.
        if name not in pool and not (name == "gevent" and getattr(sys.modules.get("gevent.monkey"), "saved", None)):
            continue
        yield Error(
            f"llmapp does not run in Celery's {name} pool.",
            hint='Use "threads" (many runs in a process) or "prefork" (a process for each run).',
            id="llmapp.E005",
        )
    accepted = getattr(settings, "CELERY_ACCEPT_CONTENT", ["json"])
    if any(content in accepted for content in ("pickle", "application/x-python-serialize")):
        yield Warning(
            "Celery accepts pickled messages: whoever can write to the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="llmapp.W003",
        )


@_check(Tags.security)
def check_litellm() -> Iterator[CheckMessage]:
    version = _version("litellm")
    if version in STOLEN_LITELLM:
        yield Error(
            f"litellm {version} is malicious: it sends the secrets of this machine to thieves.",
            hint="Uninstall it, change every secret that this machine could read, and install another version.",
            id="llmapp.E006",
        )
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        if (path := Path(folder) / STOLEN_PTH).exists():
            yield Error(
                f"{path} was left behind by a malicious litellm and runs in every process.",
                hint="Delete it, and change every secret that this machine could read.",
                id="llmapp.E006",
            )


@_check(Tags.security)
def check_daphne() -> Iterator[CheckMessage]:
    version = _version("daphne")
    if version is not None and _as_numbers(version) < OLDEST_DAPHNE:
        yield Warning(
            f"Daphne {version} has known vulnerabilities.",
            hint="Install " + ".".join(str(number) for number in OLDEST_DAPHNE) + " or later.",
            id="llmapp.W002",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
