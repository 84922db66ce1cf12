"""`llmapp doctor`: a line for everything that a run needs, and an exit code that says whether all is well."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import override_settings

import llmapp
from llmapp.management import doctor
from llmapp.models import LanguageModel, Provider
from llmapp.runs import lease, queue
from llmapp.runs.installed import versions
from tests.support import stack
from tests.support.certificates import Authority
from tests.support.loopback import closed_port
from tests.support.provider import Provider as Server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker() -> Any:
    return lease.register(4, {"llmapp": llmapp.__version__, "litellm": "9.9"})


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def consult(capsys: pytest.CaptureFixture[str]) -> list[str]:
    call_command("llmapp", "doctor")
    return capsys.readouterr().out.splitlines()


def test_all_is_well(worker: Any, listener: int, capsys: pytest.CaptureFixture[str]) -> None:
    Provider.objects.create(name="play", backend="scripted")
    Provider.objects.create(name="near", base_url=f"http://127.0.0.1:{listener}/v1")
    lines = consult(capsys)
    assert all(line.startswith("ok") for line in lines)
    for words in ("database", "broker", "worker", "bell", "provider play", "provider near"):
        assert any(words in line for line in lines), words
    assert any(line.endswith(f"llmapp {llmapp.__version__}") for line in lines)
    assert any(f"litellm 9.9 (here {versions()['litellm']})" in line for line in lines)


def test_what_waits_in_the_queue_is_counted(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = waiting(capsys)
    queue.enqueue(uuid.uuid4())
    assert waiting(capsys) == before + 1


def waiting(capsys: pytest.CaptureFixture[str]) -> int:
    (line,) = (line for line in consult(capsys) if line.split()[1] == "broker")
    found = re.search(r"(\d+) waiting$", line)
    assert found is not None, line
    return int(found[1])


def failing(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that is not well."""
    with pytest.raises(CommandError) as caught:
        call_command("llmapp", "doctor")
    assert caught.value.returncode == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL"))
    return line


@pytest.mark.skipif(not stack.on_servers(), reason="a channel layer is beside PostgreSQL only")
def test_the_channel_layer_is_looked_at(worker: Any, settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with stack.OwnRedis() as redis:
        backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [redis.url]}}}
        assert [line for line in consult(capsys) if "RedisPubSubChannelLayer" in line and line.startswith("ok")]
        redis.kill()
        assert "channel layer" in failing(capsys)


def test_no_worker(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(capsys).endswith(
        "no worker listens to the queue llmapp; start one: celery -A project worker -Q llmapp -P threads"
    )


def test_a_worker_of_another_release(capsys: pytest.CaptureFixture[str]) -> None:
    lease.register(4, {**versions(), "llmapp": "0.0.9"})
    line = failing(capsys)
    assert f"llmapp 0.0.9 (here {llmapp.__version__})" in line
    assert "start it again" in line


def test_a_worker_that_stopped_is_none(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lease.stopped(worker.pk)
    assert "worker" in failing(capsys)


def test_a_provider_that_cannot_be_reached(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    port = closed_port()
    Provider.objects.create(name="far", base_url=f"http://127.0.0.1:{port}/v1")
    line = failing(capsys)
    assert "provider far" in line
    assert f"nothing listens on port {port}" in line
    assert "check-model" not in line
    LanguageModel.objects.create(name="small", provider=Provider.objects.get(), model="m")
    assert failing(capsys).endswith("manage.py llmapp check-model small")


def test_a_certificate_is_judged_as_calls_do(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(tls=Authority().server("127.0.0.1")) as server:
        Provider.objects.create(name="secret", base_url=server.url)
        assert "Nobody whom this site trusts" in failing(capsys)


def test_a_provider_that_does_not_speak_tls(worker: Any, listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    Provider.objects.create(name="plain", base_url=f"https://127.0.0.1:{listener}/v1")
    assert [finding.subject for finding in doctor.examine() if not finding.well] == ["provider plain"]


def test_a_provider_that_is_switched_off_is_not_asked(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Provider.objects.create(name="off", base_url=f"http://127.0.0.1:{closed_port()}/v1", enabled=False)
    assert not any("off" in line for line in consult(capsys))


def test_a_key_that_cannot_be_read_any_more(worker: Any, listener: int, capsys: pytest.CaptureFixture[str]) -> None:
    provider = Provider.objects.create(name="near", base_url=f"http://127.0.0.1:{listener}/v1")
    credential = provider.credentials.model(provider=provider)
    credential.set_secrets({"api_key": "sk-canary-123456"})
    credential.save()
    with override_settings(LLMAPP={"ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}):
        line = failing(capsys)
    assert "provider near" in line
    assert "canary" not in line


def test_a_broker_that_is_down(
    worker: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from celery import current_app

    url = f"amqp://user:canary@127.0.0.1:{closed_port()}//"
    monkeypatch.setattr(current_app, "connection_for_write", lambda: current_app.connection(url, transport="pyamqp"))
    line = failing(capsys)
    assert "broker" in line
    assert "canary" not in line
