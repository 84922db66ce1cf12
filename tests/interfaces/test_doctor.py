"""`llmapp doctor`: a line for everything that a run needs, and an exit code that says whether all is well."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

import llmapp
from llmapp.management import doctor
from llmapp.models import LanguageModel, Provider, WebProcess
from llmapp.runs import installed, lease, presence, queue
from llmapp.runs.installed import versions
from tests.support import stack
from tests.support.certificates import Authority
from tests.support.loopback import closed_port
from tests.support.models import add_key
from tests.support.provider import Provider as Server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """The project's folder, without a `constraints.txt`: the versions here may be any that are supported."""
    settings.BASE_DIR = tmp_path
    return tmp_path


@pytest.fixture
def worker() -> Any:
    return lease.register(4, versions(), installed.setup())


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
    assert any(f"llmapp {llmapp.__version__}" in line for line in lines)


def test_a_provider_whose_keys_all_rest_says_until_when(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As long as another one can be used, all is well."""
    provider = Provider.objects.create(name="play", backend="scripted")
    key = add_key(provider, "sk-resting-0123456789")
    other = add_key(provider, "sk-other-0123456789")
    until = datetime(2126, 3, 1, 14, 5, tzinfo=UTC)
    type(key).objects.filter(pk=key.pk).update(benched_until=until, bench_kind="quota_exhausted")
    assert all(line.startswith("ok") for line in consult(capsys))
    other.delete()
    with pytest.raises(CommandError):
        consult(capsys)
    assert "no key can be used until 2126-03-01 14:05 UTC (quota_exhausted)" in capsys.readouterr().out


def test_keys_that_a_provider_refuses_are_named(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    provider = Provider.objects.create(name="play", backend="scripted")
    add_key(provider, "sk-good-0123456789")
    assert all(line.startswith("ok") for line in consult(capsys))
    dead = add_key(provider, "sk-dead-0123456abcd")
    dead.dead_since = timezone.now()
    dead.save()
    with pytest.raises(CommandError):
        consult(capsys)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "provider play" in line)
    assert line.startswith("FAIL")
    assert "it refuses these keys: …abcd; replace them" in line


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
    assert f"start it again: it runs llmapp 0.0.9, and this is {llmapp.__version__}" in line


OTHER_KEY = Fernet.generate_key().decode()


def of_keys(*more: str) -> dict[str, Any]:
    """Return the setup of a process that has other keys, beside or instead of ours."""
    with override_settings(LLMAPP={**django_settings.LLMAPP, "ENCRYPTION_KEYS": more}):
        return installed.setup()


@pytest.mark.parametrize(
    "versions_there, setup_there, mark, words",
    [
        ({"litellm": "9.9"}, {}, "warn", "other versions: litellm 9.9 (here"),
        ({"python": "2.7"}, {"settings": {}}, "warn", "other settings: AUTH_USER_MODEL"),
        ({}, {"migrations": {"newest": "0099_later", "known": "x"}}, "FAIL", "other migrations: up to 0099_later"),
        ({}, of_keys(OTHER_KEY), "FAIL", "other encryption keys"),
        ({}, {"keys": []}, "FAIL", "other encryption keys: none, here"),
        # of an earlier release, which says less
        ({}, None, "ok", ""),
    ],
)
@pytest.mark.parametrize("kind", ["worker", "web process"])
def test_a_process_that_differs_is_named(
    worker: Any,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    versions_there: dict[str, str],
    setup_there: dict[str, Any] | None,
    mark: str,
    words: str,
) -> None:
    process = worker if kind == "worker" else WebProcess.objects.get(pk=presence.beat(None))
    process.hostname = "elsewhere"
    process.versions = versions() | versions_there
    process.setup = {} if setup_there is None else installed.setup() | setup_there
    process.save()
    if mark == "FAIL":
        line = failing(capsys)
    else:
        (line,) = (line for line in consult(capsys) if "elsewhere" in line)
    assert line.startswith(mark)
    assert kind in line
    assert words in line
    assert not any(key in line for key in (OTHER_KEY, *django_settings.LLMAPP["ENCRYPTION_KEYS"]))


def test_a_worker_that_takes_no_runs_is_no_worker_to_count_on(capsys: pytest.CaptureFixture[str]) -> None:
    lease.register(4, versions(), installed.setup(), [{"code": "migrations_unknown", "names": ["0099_later"]}])
    line = failing(capsys)
    assert "takes no runs; its code does not know migrations of the database (0099_later)" in line


def test_versions_that_differ_from_the_constraints_are_named(
    worker: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "constraints.txt"
    path.write_text(f"# a comment\ndjango=={versions()['django']}\nnot-here-at-all==1.0\n")
    (line,) = (line for line in consult(capsys) if "constraints.txt" in line)
    assert line.startswith("ok")
    path.write_text(f"httpx==0.1  # old\ndjango=={versions()['django']}\n")
    (line,) = (line for line in consult(capsys) if "constraints.txt" in line)
    assert line.startswith("warn")
    assert f"httpx {versions()['httpx']} (constraints: 0.1)" in line
    assert "django" not in line


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
        lease.stopped(worker.pk)  # that one has the keys of before
        lease.register(4, versions(), installed.setup())
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
