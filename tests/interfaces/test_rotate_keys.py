"""`llmapp rotate-keys`: every key with the first of the ring; readable at any moment, whatever interrupts it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.core.management import CommandError, call_command
from django.test import override_settings

from llmapp import encryption
from llmapp.management import rotate_keys
from llmapp.models import Credential, Provider

OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))

ROOT = Path(__file__).resolve().parent.parent.parent

#: So many that it is still busy when it is killed.
MANY = 4000


def ring(*keys: str) -> Any:
    return override_settings(LLMAPP={"ENCRYPTION_KEYS": list(keys)})


def keys(provider: str, number: int, encrypted_with: str = OLD) -> list[Credential]:
    where, _ = Provider.objects.get_or_create(name=provider)
    rows = [Credential(provider=where, position=at) for at in range(number)]
    with ring(encrypted_with):
        for at, row in enumerate(rows):
            row.set_secrets({"api_key": f"sk-canary-key-{at:04}"})
            row.save()
    return rows


def with_new_only() -> int:
    """Count the keys that can be read when the old encryption key is gone."""
    with ring(NEW):
        return sum(encryption.is_current(bytes(row.secret)) for row in Credential.objects.all())


def rotate(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with ring(NEW, OLD):
        call_command("llmapp", "rotate-keys")
    return capsys.readouterr().out.splitlines()


@pytest.mark.django_db
def test_every_key_is_encrypted_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    rows = keys("local", 2) + keys("other", 1)
    with ring(OLD):
        secrets = [row.secrets() for row in rows]
    assert rotate(capsys) == ["3 keys are encrypted anew."]
    with ring(NEW):
        assert [row.secrets() for row in Credential.objects.order_by("pk")] == secrets


@pytest.mark.django_db
@pytest.mark.parametrize(
    "old, new, said",
    [
        (0, 0, ["0 keys are encrypted anew."]),
        (1, 0, ["1 key is encrypted anew."]),
        (0, 1, ["0 keys are encrypted anew.", "1 key was so already."]),
        (2, 3, ["2 keys are encrypted anew.", "3 keys were so already."]),
    ],
)
def test_it_says_how_many(capsys: pytest.CaptureFixture[str], old: int, new: int, said: list[str]) -> None:
    keys("local", old)
    keys("local", new, NEW)
    assert rotate(capsys) == said


@pytest.mark.django_db
def test_keys_that_nobody_can_read_are_named_and_the_others_done(capsys: pytest.CaptureFixture[str]) -> None:
    keys("local", 2)
    lost = keys("lost", 2, LOST)
    before = [bytes(row.secret) for row in lost]
    with pytest.raises(CommandError) as caught:
        rotate(capsys)
    assert caught.value.returncode == 1
    assert str(caught.value) == "No encryption key of the ring reads: lost …0000, lost …0001."
    assert capsys.readouterr().out == "2 keys are encrypted anew.\n"
    assert [bytes(row.secret) for row in Credential.objects.filter(provider__name="lost")] == before


@pytest.mark.django_db
@pytest.mark.parametrize("encryption_keys, word", [([], "ENCRYPTION_KEYS"), (["no key"], "Fernet")])
def test_a_ring_that_is_none_is_one_line(encryption_keys: list[str], word: str) -> None:
    keys("local", 1)
    with ring(*encryption_keys), pytest.raises(CommandError, match=word) as caught:
        call_command("llmapp", "rotate-keys")
    assert "\n" not in str(caught.value)


@pytest.mark.django_db
def test_a_key_that_is_typed_meanwhile_wins() -> None:
    (stale,) = keys("local", 1)
    fresh = Credential.objects.get()
    with ring(OLD):
        fresh.set_secrets({"api_key": "sk-typed-just-now"})
        fresh.save()
    with ring(NEW, OLD):
        assert rotate_keys.rotate(stale) is rotate_keys.Outcome.ROTATED
        assert Credential.objects.get().secrets() == {"api_key": "sk-typed-just-now"}
    assert with_new_only() == 1


@pytest.mark.django_db
def test_a_key_that_is_deleted_meanwhile_stays_so() -> None:
    (stale,) = keys("local", 1)
    Credential.objects.all().delete()
    with ring(NEW, OLD):
        assert rotate_keys.rotate(stale) is rotate_keys.Outcome.GONE


@pytest.mark.django_db
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_interrupted_anywhere_every_key_can_be_read_and_the_rest_is_done_later(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    keys("local", 4)
    left = iter(range(done))
    rotated = encryption.rotated

    def interrupted(token: bytes) -> bytes:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rotated(token)

    monkeypatch.setattr(encryption, "rotated", interrupted)
    with pytest.raises(CommandError) as caught:
        rotate(capsys)
    monkeypatch.undo()
    assert caught.value.returncode == 130
    assert with_new_only() == done
    with ring(OLD, NEW):
        assert len([row.secrets() for row in Credential.objects.all()]) == 4
    rotate(capsys)
    assert with_new_only() == 4


class Home:
    """A site of its own on SQLite, with many keys that are encrypted with the old encryption key."""

    def __init__(self, path: Path) -> None:
        servers = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "PYTEST_XDIST_WORKER")
        self._environment = {name: value for name, value in os.environ.items() if name not in servers}
        self._environment |= {"LLMAPP_HOME": str(path), "PYTHONPATH": str(ROOT)}
        (path / "secrets").mkdir(mode=0o700)
        (path / "secrets" / "encryption_keys").write_text(f"{NEW} {OLD}")
        self._run("migrate", "-v", "0").wait(60)
        self._database = next(path.glob("*.sqlite3"))
        with self.database() as connection:
            connection.execute(
                "INSERT INTO llmapp_provider"
                " (id, name, backend, base_url, timeouts, headers, options, key_strategy, enabled, version)"
                " VALUES (1, 'local', 'scripted', '', '{}', '{}', '{}', 'fill_first', 1, 1)"
            )
            secrets = ((at, Fernet(OLD).encrypt(b'{"api_key": "k"}')) for at in range(MANY))
            connection.executemany(
                "INSERT INTO llmapp_credential"
                " (provider_id, position, secret, hint, enabled, bench_kind, failures_in_a_row)"
                " VALUES (1, ?, ?, '', 1, '', 0)",
                secrets,
            )

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self._environment)

    def rotate(self) -> subprocess.Popen[bytes]:
        return self._run("llmapp", "rotate-keys")

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._database, timeout=10)) as connection, connection:
            yield connection

    def tokens(self) -> list[bytes]:
        with self.database() as connection:
            return [secret for (secret,) in connection.execute("SELECT secret FROM llmapp_credential ORDER BY id")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def readable(tokens: list[bytes], key: str) -> int:
    def is_readable(token: bytes) -> bool:
        try:
            Fernet(key).decrypt(token)
        except InvalidToken:
            return False
        return True

    return sum(map(is_readable, tokens))


def test_killed_in_the_middle_every_key_can_be_read_and_the_rest_is_done_later(home: Home) -> None:
    before = home.tokens()
    process, deadline = home.rotate(), time.monotonic() + 30
    while home.tokens()[0] == before[0] and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait(10)
    tokens = home.tokens()
    done = readable(tokens, NEW)
    assert 0 < done < MANY
    assert readable(tokens, OLD) == MANY - done
    assert home.rotate().wait(60) == 0
    assert readable(home.tokens(), NEW) == MANY
