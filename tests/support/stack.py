"""Databases and brokers for tests: files by default, servers with `LLMAPP_TEST_STACK=server`.

Each site that a test starts gets a database, and a Redis database or a RabbitMQ virtual host of its own, so
that no site sees another one's tasks. A service that is missing is a failure, never a skip.

On servers a site has two web and two worker processes. With Redis there is a channel layer beside the
broker; with RabbitMQ there is none anywhere.

    LLMAPP_TEST_STACK       "embedded" (default) or "server"
    LLMAPP_TEST_BROKER      "redis" (default) or "rabbitmq", on the server stack
    LLMAPP_TEST_POSTGRES    postgres://postgres@127.0.0.1:5432/postgres
    LLMAPP_TEST_REDIS       redis://127.0.0.1:6379
    LLMAPP_TEST_RABBITMQ    amqp://guest:guest@127.0.0.1:5672
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import redis

POSTGRES = os.environ.get("LLMAPP_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("LLMAPP_TEST_REDIS", "redis://127.0.0.1:6379")
RABBITMQ = os.environ.get("LLMAPP_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672")

#: Redis has 16 databases; the first is left alone.
REDIS_DATABASES = range(1, 16)


def on_servers() -> bool:
    return os.environ.get("LLMAPP_TEST_STACK", "embedded") == "server"


def broker() -> str:
    """Return which broker the sites of the server stack have: "redis" or "rabbitmq"."""
    return os.environ.get("LLMAPP_TEST_BROKER", "redis")


def of_each() -> int:
    """Return how many web processes, and how many workers, a site has if its test does not say otherwise."""
    return 2 if on_servers() else 1


@contextmanager
def services() -> Iterator[dict[str, str]]:
    """Give the environment of a new site: a database and a broker that nobody else uses. {} for files."""
    if not on_servers():
        yield {}
        return
    with servers(broker()) as urls:
        yield urls


@contextmanager
def servers(*wanted: str) -> Iterator[dict[str, str]]:
    """Give the environment of a new site on PostgreSQL and the servers that are named: "redis", "rabbitmq"."""
    with ExitStack() as held:
        urls = {"DATABASE_URL": held.enter_context(_database())}
        if "redis" in wanted:
            urls["REDIS_URL"] = held.enter_context(_redis())
        if "rabbitmq" in wanted:
            urls["CELERY_BROKER_URL"] = held.enter_context(_virtual_host())
        yield urls


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


class OwnRedis:
    """A Redis that a test may pause, kill and start again: nobody else uses it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OwnRedis:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self._port), "--save", "", "--bind", "127.0.0.1"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < until, "redis-server does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It holds its connections, takes new ones, and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


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
