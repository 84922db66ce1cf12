"""From the environment's URLs to Django's and Celery's settings: servers where they are named, else files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

#: Seconds to wait for a connection to a server. A submit must not hang when the broker is down.
CONNECT = 1.0

#: What notices a PostgreSQL that went away without a word, in seconds unless said otherwise. `tcp_user_timeout`
#: (milliseconds) is for what was sent and never acknowledged, the keepalives are for a connection that only listens.
NOTICED = {"connect_timeout": 3, "tcp_user_timeout": 8000, "keepalives_idle": 4, "keepalives_interval": 2}

#: Connections of one process. Who needs one waits for `timeout` seconds. The pool goes on trying for
#: `reconnect_timeout` and then waits for the next who needs one: with its own 300, and ever longer pauses between
#: tries, it would come back minutes after the server. Each `max_idle` seconds one goes that nobody needed meanwhile:
#: the server has a hundred for all processes.
POOL = {"min_size": 1, "max_size": 8, "max_idle": 5, "timeout": 4, "reconnect_timeout": 4}

#: Seconds in which a broker has to answer.
ANSWERS = 5.0

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
        # A connection that died in the pool is not handed out: one round trip for each that is.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**NOTICED, "pool": dict(POOL), **dict(parse_qsl(parts.query))},
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
        # A worker's connection is looked at every so many seconds, and dropped when its answer is overdue.
        options |= {"socket_connect_timeout": CONNECT, "socket_timeout": ANSWERS, "health_check_interval": 3}
    elif urlsplit(url).scheme in ("amqp", "amqps", "pyamqp"):
        # Without a confirmation a message into a dead connection is lost, and passes for sent.
        options |= {"confirm_publish": True, "read_timeout": ANSWERS, "write_timeout": ANSWERS}
    return {"CELERY_BROKER_URL": url, "CELERY_BROKER_TRANSPORT_OPTIONS": options}


def channel_layers(redis_url: str) -> dict[str, Any]:
    """Return the layer that rings between processes; without Redis the database does it."""
    if not redis_url:
        return {}
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    return {"default": layer}
