"""From URLs to settings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.exceptions import ImproperlyConfigured

from project import servers
from tests.support.loopback import closed_port

HOME = Path("/home/of/llmapp")

POSTGRES: list[tuple[str, dict[str, Any]]] = [
    ("postgres://ada:secret@db:5433/agents", {"USER": "ada", "PASSWORD": "secret", "HOST": "db", "PORT": 5433}),
    ("postgresql://ada@db/agents", {"USER": "ada", "PASSWORD": "", "HOST": "db", "PORT": ""}),
    ("postgres://a%40b:p%2Fw@db/agents", {"USER": "a@b", "PASSWORD": "p/w"}),
    ("postgres:///agents", {"HOST": "", "USER": ""}),
]


@pytest.mark.parametrize("url, expected", POSTGRES)
def test_postgres(url: str, expected: dict[str, Any]) -> None:
    database = servers.database(url, HOME)
    assert (database["ENGINE"], database["NAME"]) == ("django.db.backends.postgresql", "agents")
    assert {key: database[key] for key in expected} == expected
    assert database["OPTIONS"]["pool"]


def test_options_of_the_connection_come_from_the_query() -> None:
    assert servers.database("postgres://db/agents?sslmode=require", HOME)["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize("url, path", [("", HOME / "db.sqlite3"), ("sqlite:////a/b.sqlite3", Path("/a/b.sqlite3"))])
def test_sqlite(url: str, path: Path) -> None:
    database = servers.database(url, HOME)
    assert database["NAME"] == path
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


@pytest.mark.parametrize("url", ["mysql://db/agents", "oracle://x", "nonsense"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        servers.database(url, HOME)


def test_without_a_broker_there_is_a_queue_of_files_in_the_home() -> None:
    settings = servers.celery_broker("", HOME)
    assert settings["CELERY_BROKER_TRANSPORT"] == "llmapp.broker:Transport"
    assert settings["CELERY_BROKER_TRANSPORT_OPTIONS"]["folder"] == str(HOME / "queue")


@pytest.mark.parametrize("url, layered", [("", False), ("redis://localhost/0", True)])
def test_redis_rings_between_processes(url: str, layered: bool) -> None:
    assert bool(servers.channel_layers(url)) is layered


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "amqp://127.0.0.1:{port}//"])
def test_a_broker_that_is_down_is_noticed_at_once(url: str) -> None:
    app = Celery("probe", set_as_current=False)
    settings = servers.celery_broker(url.format(port=closed_port()), HOME)
    app.conf.update({key.removeprefix("CELERY_").lower(): value for key, value in settings.items()})
    app.conf.broker_connection_timeout = servers.CONNECT
    started = time.monotonic()
    with pytest.raises(Exception, match="refused"):
        app.send_task("llmapp.execute", retry=False, ignore_result=True)
    assert time.monotonic() - started < 1.5
