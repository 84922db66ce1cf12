"""Databases and brokers for tests: files by default, servers with `LLMAPP_TEST_STACK=server`.

Each site that a test starts gets a database, a Redis database or a RabbitMQ virtual host of its own, so
that no site sees another one's tasks. A service that is missing is a failure, never a skip.

    LLMAPP_TEST_STACK       "embedded" (default) or "server"
    LLMAPP_TEST_BROKER      "redis" (default) or "rabbitmq", on the server stack
    LLMAPP_TEST_POSTGRES    postgres://postgres@127.0.0.1:5432/postgres
    LLMAPP_TEST_REDIS       redis://127.0.0.1:6379
    LLMAPP_TEST_RABBITMQ    amqp://guest:guest@127.0.0.1:5672
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

POSTGRES = os.environ.get("LLMAPP_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("LLMAPP_TEST_REDIS", "redis://127.0.0.1:6379")
RABBITMQ = os.environ.get("LLMAPP_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672")

#: Redis has 16 databases; the first is left alone.
REDIS_DATABASES = range(1, 16)


def on_servers() -> bool:
    return os.environ.get("LLMAPP_TEST_STACK", "embedded") == "server"


@contextmanager
def services() -> Iterator[dict[str, str]]:
    """Give the environment of a new site: a database and a broker that nobody else uses. {} for files."""
    if not on_servers():
        yield {}
        return
    with _database() as database_url, _redis() as redis_url:
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        if os.environ.get("LLMAPP_TEST_BROKER", "redis") == "redis":
            yield urls
        else:
            with _virtual_host() as amqp_url:
                yield {**urls, "CELERY_BROKER_URL": amqp_url}


@contextmanager
def _database() -> Iterator[str]:
    name = f"llmapp_site_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{POSTGRES.rpartition('/')[0]}/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _redis() -> Iterator[str]:
    """Take a Redis database that no other test has taken. The mark runs out by itself."""
    with redis.Redis.from_url(f"{REDIS}/0") as server:
        marks = {number: f"llmapp-test:{number}" for number in REDIS_DATABASES}
        number = next(n for n, mark in marks.items() if server.set(mark, os.getpid(), nx=True, ex=900))
        url = f"{REDIS}/{number}"
        with redis.Redis.from_url(url) as own:
            own.flushdb()
            try:
                yield url
            finally:
                own.flushdb()
                server.delete(marks[number])


@contextmanager
def _virtual_host() -> Iterator[str]:
    name = f"llmapp-{uuid.uuid4().hex[:12]}"
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield f"{RABBITMQ}/{name}"
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, capture_output=True, timeout=60)
