"""What this process runs on: written into its row, and compared by `doctor` and the admin (`core.agreement`).

Of a setting a fingerprint is written and never its value, made with the SECRET_KEY: a value that is short could else be
found by trying. Of a key it is a number that it cannot be computed from.
"""

from __future__ import annotations

import json
import pkgutil
import platform
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import django
from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils.crypto import salted_hmac

import llmapp
from llmapp.conf import app_settings
from llmapp.core.agreement import SECRET_KEY

#: What is a secret, or described elsewhere.
NOT_COMPARED = frozenset({"ENCRYPTION_KEYS"})
#: Of the site's own settings, those that runs depend on.
OF_THE_SITE = ("TIME_ZONE", "USE_TZ", "LANGUAGE_CODE", "AUTH_USER_MODEL", "SESSION_ENGINE")


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on."""
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "llmapp": llmapp.__version__,
        **{name: version(name) for name in ("litellm", "httpx")},
    }


def setup() -> dict[str, Any]:
    """Return what else has to be the same in all processes."""
    known = known_migrations()
    return {
        "migrations": {"newest": max(known, default=""), "known": _print_of_names(known)},
        "settings": settings_prints(),
        "keys": key_ids(),
    }


def key_ids() -> list[str]:
    """Return an id for each encryption key, in order. A key has 256 bits of chance: nobody finds it by its id."""
    return [sha256(f"llmapp key {key}".encode()).hexdigest()[:8] for key in app_settings.ENCRYPTION_KEYS]


def settings_prints() -> dict[str, str]:
    """Return a fingerprint of each setting that matters for runs, by its name."""
    configured = getattr(settings, "LLMAPP", {})
    ours = {f'LLMAPP["{name}"]': value for name, value in configured.items() if name not in NOT_COMPARED}
    site = {name: getattr(settings, name, None) for name in OF_THE_SITE}
    values = {**ours, **site, "database": _database(), "broker": _broker(), "channel layer": _layer()}
    # Of the key itself there is only what it makes of nothing: where that differs, all of them do.
    values[SECRET_KEY] = ""
    return {name: _print_of(name, value) for name, value in values.items()}


def _database() -> list[str]:
    # Where it is may be said in several ways (a pooler, a name, an address), so that is left out.
    return [connection.vendor, str(connection.settings_dict["NAME"])]


def _broker() -> list[str]:
    """Return which brokers, without their accounts."""
    urls = current_app.conf.broker_read_url or current_app.conf.broker_url or ""
    urls = [urls] if isinstance(urls, str) else list(urls)
    parts = [urlsplit(url) for several in urls for url in several.split(";")]
    return [f"{part.scheme}://{part.hostname}:{part.port}{part.path}" for part in parts]


def _layer() -> str:
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    return str(layers.get("default", {}).get("BACKEND", ""))


def _print_of(name: str, value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return salted_hmac(f"llmapp setting {name}", text, algorithm="sha256").hexdigest()[:12]


def _print_of_names(names: Iterable[str]) -> str:
    # No secret: they are in the package.
    return sha256(json.dumps(sorted(names)).encode()).hexdigest()[:12]


def known_migrations() -> dict[str, list[str]]:
    """Return the names of this code's own migrations, each with those that it replaces."""
    module, _is_set = MigrationLoader.migrations_module("llmapp")
    return _known_in(module) if module else {}


@cache
def _known_in(module: str) -> dict[str, list[str]]:
    package = import_module(module)
    names = [found.name for found in pkgutil.iter_modules(package.__path__) if found.name[0] not in "_~"]
    migrations = {name: import_module(f"{module}.{name}").Migration for name in names}
    return {name: [old for _app, old in migration.replaces] for name, migration in migrations.items()}
