"""System checks that ask the database: only when they are told to, and never in anybody's way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import run_checks
from django.db import connection
from django.test import override_settings

from llmapp.models import AgentSettings, Credential, LanguageModel, Provider
from tests.support.loopback import closed_port

from .test_checks_of_sites import celery

__all__ = ["celery"]

REDIS = {"CELERY_BROKER_URL": "redis://127.0.0.1:1", "CELERY_BROKER_TRANSPORT": None}
RABBITMQ = {"CELERY_BROKER_URL": "amqp://127.0.0.1:1", "CELERY_BROKER_TRANSPORT": None}
RUN = "llmapp.execute"


def found() -> dict[str, str]:
    messages = [message for message in run_checks(databases=["default"]) if str(message.id).startswith("llmapp.")]
    return {str(message.id): f"{message.msg} {message.hint}" for message in messages}


def agent(slug: str, timeout: float, enabled: bool = True) -> None:
    provider, _ = Provider.objects.get_or_create(name="local")
    model, _ = LanguageModel.objects.get_or_create(name="m", provider=provider, model="m")
    AgentSettings.objects.create(slug=slug, model=model, timeout=timeout, enabled=enabled)


def visible(seconds: Any) -> dict[str, Any]:
    return {"CELERY_BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": seconds}}


TIMES: list[tuple[float, dict[str, Any], str | None]] = [
    # the longest timeout of an agent, settings, the id. A run may take 10 s beyond its timeout.
    (600, {}, None),
    (86_400, {}, None),
    # Redis: an hour
    (3590, REDIS, None),
    (3591, REDIS, "llmapp.W015"),
    (3591, REDIS | {"CELERY_BROKER_URL": "sentinel://a:1;sentinel://b:1"}, "llmapp.W015"),
    (3591, REDIS | visible(3601), None),
    (600, REDIS | visible(60), "llmapp.W015"),
    (600, REDIS | visible("610"), None),
    (1791, REDIS | {"CELERY_BROKER_URL": "sqs://"}, "llmapp.W015"),
    # Nobody can run longer than a day.
    (200_000, REDIS | visible(86_410), None),
    # RabbitMQ closes a channel after half an hour, and the worker opens another one.
    (86_400, RABBITMQ, None),
    (1791, RABBITMQ | visible(60), None),
    # Celery's own limits, which only the pool prefork honours
    (600, {"CELERY_TASK_TIME_LIMIT": 610}, None),
    (600, {"CELERY_TASK_TIME_LIMIT": 609}, "llmapp.W016"),
    (600, REDIS | {"CELERY_TASK_TIME_LIMIT": 3599}, None),
    (600, REDIS | {"CELERY_TASK_TIME_LIMIT": 3600}, "llmapp.W015"),
    (600, REDIS | {"CELERY_TASK_TIME_LIMIT": 3600} | visible(3601), None),
    (600, REDIS | {"CELERY_TASK_TIME_LIMIT": 3600, "CELERY_WORKER_POOL": "threads"}, None),
    (600, {"CELERY_TASK_SOFT_TIME_LIMIT": 300}, "llmapp.W016"),
    (600, {"CELERY_TASK_TIME_LIMIT": 300, "CELERY_WORKER_POOL": "threads"}, None),
    (600, {"CELERY_TASK_TIME_LIMIT": 300, "CELERY_TASK_ANNOTATIONS": {RUN: {"time_limit": 610}}}, None),
    (600, {"CELERY_TASK_TIME_LIMIT": 300, "CELERY_TASK_ANNOTATIONS": {"*": {"time_limit": 610}}}, None),
    (600, {"CELERY_TASK_ANNOTATIONS": {"*": {"time_limit": 60}, RUN: {"rate_limit": "1/s"}}}, "llmapp.W016"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("timeout, values, id", TIMES)
def test_times(celery: Callable[..., Celery], timeout: float, values: dict[str, Any], id: str | None) -> None:
    celery(**values)
    assert found() == {}
    agent("quick", 5)
    agent("slow", timeout)
    agent("off", 86_400, enabled=False)
    said = found()
    assert list(said) == ([id] if id else [])
    assert all("slow" in text or "time_limit" in text for text in said.values())


@pytest.mark.django_db
def test_celery_means_by_annotations_what_we_take_them_for(celery: Callable[..., Celery]) -> None:
    """The hint of W016, tried on a task that is bound to an app."""
    from llmapp.checks.stored import time_limits

    app = celery(
        CELERY_TASK_TIME_LIMIT=300, CELERY_TASK_ANNOTATIONS={RUN: {"time_limit": 610}, "*": {"soft_time_limit": 5}}
    )
    task = app.task(agent, name=RUN)
    assert time_limits() == {"time_limit": task.time_limit, "soft_time_limit": task.soft_time_limit}
    assert time_limits() == {"time_limit": 610, "soft_time_limit": 5}


@pytest.mark.django_db
def test_keys_that_cannot_be_read() -> None:
    for number, name in enumerate(["near", "far"]):
        credential = Credential(provider=Provider.objects.create(name=name))
        with override_settings(LLMAPP={"ENCRYPTION_KEYS": [KEYS[number]]}):
            credential.set_secrets({"api_key": f"sk-canary-12345-{name}"})
        credential.save()
    with override_settings(LLMAPP={"ENCRYPTION_KEYS": KEYS}):
        assert found() == {}
    with override_settings(LLMAPP={"ENCRYPTION_KEYS": KEYS[:1]}):
        said = found()
    assert list(said) == ["llmapp.W017"]
    assert "far" in said["llmapp.W017"]
    assert "canary" not in said["llmapp.W017"]
    with override_settings(LLMAPP={}):
        assert list(found()) == ["llmapp.E001"]


KEYS = [Fernet.generate_key().decode() for _ in range(2)]


def test_nothing_is_asked_of_the_database_unless_it_is_named() -> None:
    """pytest-django refuses any query here."""
    assert [message for message in run_checks() if str(message.id).startswith("llmapp.")] == []


@pytest.mark.django_db
def test_a_column_that_is_not_there_yet() -> None:
    """Between two releases, before `migrate`: it is said, and the transaction around goes on."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE llmapp_agentsettings RENAME COLUMN timeout TO patience")
        assert list(found()) == ["llmapp.W018"]
        cursor.execute("ALTER TABLE llmapp_agentsettings RENAME COLUMN patience TO timeout")
    assert found() == {}


# --- as people call it -------------------------------------------------------------------------------


def manage(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env={**clean, "LLMAPP_HOME": str(home), **environment},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_before_and_after_migrate_nothing_is_in_the_way(tmp_path: Path) -> None:
    for arguments in (["check", "--database", "default"], ["migrate", "-v", "0"], ["check", "--database", "default"]):
        done = manage(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "no issues" in done.stdout


def test_a_database_that_is_away(tmp_path: Path) -> None:
    url = f"postgres://ada:canary@127.0.0.1:{closed_port()}/agents"
    assert manage(tmp_path, "check", DATABASE_URL=url).stderr == ""
    done = manage(tmp_path, "check", "--database", "default", DATABASE_URL=url)
    assert done.returncode == 0
    assert "llmapp.W018" in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


def test_a_broker_that_is_away_is_not_asked(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", CELERY_BROKER_URL=f"redis://127.0.0.1:{closed_port()}")
    assert "llmapp." not in done.stderr
    assert done.returncode == 0


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """Each process pays for what a check imports."""
    code = "import sys, django; django.setup(); from django.core.checks import run_checks; run_checks();"
    code += "print([name for name in ('litellm', 'httpx', 'aiohttp', 'redis', 'pygments') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LLMAPP_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "project.settings"},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
