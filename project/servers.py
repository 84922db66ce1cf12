"""From the environment's URLs to Django's and Celery's settings: servers where they are named, else files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

#: Seconds to wait for a connection to a server. A submit must not hang when the broker is down.
CONNECT = 1.0

#: What kombu tries before it gives up on a publish; the sweeper hands the run over later.
BRIEFLY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}


def database(url: str, home: Path) -> dict[str, Any]:
    """Return Django's settings for a `postgres://` or `sqlite:////path` URL; without one, SQLite in `home`."""
    parts = urlsplit(url)
    if not url:
        return _sqlite(home / "db.sqlite3", home)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path[1:])).absolute(), home)
    if parts.scheme in ("postgres", "postgresql"):
        return _postgres(url)
    raise ImproperlyConfigured(f"DATABASE_URL: {parts.scheme!r} is not supported; use postgres:// or sqlite:////path.")


def _sqlite(path: Path, home: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Seconds that a writer waits for another one.
            "timeout": 20,
            # A transaction that reads first and writes later would fail at once, not wait.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728",
        },
        # A file, so that threads and processes share it.
        "TEST": {"NAME": home / "test.sqlite3"},
    }


def _postgres(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": parts.port or "",
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 10}, **dict(parse_qsl(parts.query))},
    }


def celery_broker(url: str, home: Path) -> dict[str, Any]:
    """Return Celery's settings for a broker URL; without one, for files in `home`."""
    if not url:
        return {
            "CELERY_BROKER_URL": "filesystem://",
            "CELERY_BROKER_TRANSPORT": "llmapp.broker:Transport",
            "CELERY_BROKER_TRANSPORT_OPTIONS": {"folder": str(home / "queue")},
            # Its replies would be more files to poll for.
            "CELERY_WORKER_ENABLE_REMOTE_CONTROL": False,
        }
    options: dict[str, Any] = dict(BRIEFLY)
    if urlsplit(url).scheme in ("redis", "rediss"):
        options["socket_connect_timeout"] = CONNECT
    return {"CELERY_BROKER_URL": url, "CELERY_BROKER_TRANSPORT_OPTIONS": options}


def channel_layers(redis_url: str) -> dict[str, Any]:
    """Return the layer that rings between processes; without Redis the database does it."""
    if not redis_url:
        return {}
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    return {"default": layer}
