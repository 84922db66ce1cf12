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
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

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


class OwnPostgres:
    """A PostgreSQL that a test may restart and crash: nobody else uses it. Made in a second, in a temporary folder.

    `synchronous_commit=off` means what it says here: what was not waited for stays in memory for seconds, and an
    immediate stop loses it. Nothing waits for the disk itself, which survives the crash of a process.
    """

    SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "127.0.0.1",
        "shared_buffers": "16MB",
        "max_connections": "100",
        "fsync": "off",
        "wal_writer_delay": "10s",
        "wal_writer_flush_after": "64MB",
    }

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"postgres://postgres@127.0.0.1:{self._port}/site"
        self._folder = tempfile.mkdtemp(prefix="llmapp-postgres-")

    def __enter__(self) -> OwnPostgres:
        if os.geteuid() == 0:
            # It refuses to run as root.
            shutil.chown(self._folder, "postgres")
        self._do("initdb", "-D", f"{self._folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        self.start()
        with self.superuser("postgres") as server:
            server.execute("CREATE DATABASE site")
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def superuser(self, database: str = "site") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url.replace("/site", f"/{database}"), autocommit=True)

    def start(self) -> None:
        settings = {**self.SETTINGS, "port": str(self._port), "unix_socket_directories": self._folder}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._pg_ctl("-o", options, "-l", f"{self._folder}/log", "start")

    def stop(self, mode: str) -> None:
        """Stop it: "fast" ends all connections, "immediate" is a crash."""
        self._pg_ctl("-m", mode, "stop")

    def _pg_ctl(self, *arguments: str) -> None:
        self._do("pg_ctl", "-D", f"{self._folder}/data", "-w", "-t", "30", *arguments)

    def _do(self, program: str, *arguments: str) -> None:
        (path, *_older) = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)
        account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        # Not pipes: the server would hold them as long as it lives.
        subprocess.run(
            [path, *arguments], check=True, timeout=60, cwd=self._folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account,
        )  # fmt: skip


@contextmanager
def own_rabbitmq(consumer_timeout: float) -> Iterator[str]:
    """Run a RabbitMQ of one's own that closes channels after so many seconds, and give its URL."""
    with ExitStack() as free:
        sockets = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        port, distribution = (one.getsockname()[1] for one in sockets)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        # It looks once a minute, unless it is told otherwise.
        milliseconds = int(consumer_timeout * 1000)
        rabbit = f"{{channel_tick_interval, 500}}, {{consumer_timeout, {milliseconds}}}"
        (folder / "advanced.config").write_text(f"[{{rabbit, [{rabbit}]}}].\n")
        (folder / "plugins").write_text("[].")
        environment = os.environ | {
            "HOME": name,
            "RABBITMQ_NODENAME": f"llmapp-{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }
        # Not the script on the path: that one becomes another user, and knows one server only.
        command = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
        quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env=environment, start_new_session=True, **quietly) as process:
            try:
                _wait_for_port(port, 90)
                yield f"amqp://guest:guest@127.0.0.1:{port}//"
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_port(port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, f"nobody listens to {port}"
            time.sleep(0.1)


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
