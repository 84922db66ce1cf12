"""System checks: each fault is named, and a good site hears nothing."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from llmapp import checks
from llmapp.conf import AppSettings
from llmapp.runs import execution

# From Django 6.1 on all checks include those that ask the database what it can do.
pytestmark = pytest.mark.django_db

KEY = Fernet.generate_key().decode()


def found() -> dict[str, str]:
    """Return id -> text and hint of what our checks say."""
    messages = [message for message in run_checks() if str(message.id).startswith("llmapp.")]
    return {str(message.id): f"{message.msg} {message.hint or ''}" for message in messages}


def test_the_demo_site_has_no_fault() -> None:
    assert run_checks() == []


SETTINGS: list[tuple[dict[str, Any], str | None, str]] = [
    # settings.LLMAPP, the id, words of the text
    ({"ENCRYPTION_KEYS": [KEY]}, None, ""),
    ({}, "llmapp.E001", "ENCRYPTION_KEYS"),
    ({"ENCRYPTION_KEYS": []}, "llmapp.E001", "ENCRYPTION_KEYS"),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMOUT": 1}, "llmapp.E002", "QUEUE_TIMOUT"),
    ({"ENCRYPTION_KEYS": KEY}, "llmapp.E003", "ENCRYPTION_KEYS"),
    ({"ENCRYPTION_KEYS": ["short"]}, "llmapp.E003", "ENCRYPTION_KEYS"),
    ({"ENCRYPTION_KEYS": [1]}, "llmapp.E003", "ENCRYPTION_KEYS"),
    ({"ENCRYPTION_KEYS": [KEY], "BACKENDS": {"x": "a.b"}}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "BACKENDS": ["x"]}, "llmapp.E003", "BACKENDS"),
    ({"ENCRYPTION_KEYS": [KEY], "BACKENDS": {"x": 1}}, "llmapp.E003", "BACKENDS"),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMEOUT": 5}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMEOUT": 0.5}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMEOUT": "5"}, "llmapp.E003", "QUEUE_TIMEOUT"),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMEOUT": -5}, "llmapp.E003", "QUEUE_TIMEOUT"),
    ({"ENCRYPTION_KEYS": [KEY], "QUEUE_TIMEOUT": True}, "llmapp.E003", "QUEUE_TIMEOUT"),
    ({"ENCRYPTION_KEYS": [KEY], "SENDS_PER_MINUTE": 1.5}, "llmapp.E003", "SENDS_PER_MINUTE"),
    ({"ENCRYPTION_KEYS": [KEY], "LOG_CONTENT": 1}, "llmapp.E003", "LOG_CONTENT"),
    ({"ENCRYPTION_KEYS": [KEY], "LOG_CONTENT": True}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "LEASE_SECONDS": 3}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "LEASE_SECONDS": 2.9}, "llmapp.W019", '"LEASE_SECONDS" at least 3'),
    ({"ENCRYPTION_KEYS": [KEY], "HEARTBEAT_SECONDS": 5}, "llmapp.W019", '"LEASE_SECONDS" at least 15'),
    ({"ENCRYPTION_KEYS": [KEY], "SWEEP_SECONDS": 13}, "llmapp.W019", "SWEEP_SECONDS"),
    ({"ENCRYPTION_KEYS": [KEY], "GRACE_SECONDS": 4}, None, ""),
    ({"ENCRYPTION_KEYS": [KEY], "GRACE_SECONDS": 3}, "llmapp.W019", "at least 4"),
    # Said once, and not guessed at.
    ({"ENCRYPTION_KEYS": [KEY], "LEASE_SECONDS": "3"}, "llmapp.E003", "LEASE_SECONDS"),
]


def test_what_a_run_takes_to_end_is_what_the_check_takes_it_for() -> None:
    assert checks.settings.PATIENCE == execution.PATIENCE


@pytest.mark.parametrize("configured, id, words", SETTINGS)
def test_settings(configured: dict[str, Any], id: str | None, words: str) -> None:
    with override_settings(LLMAPP=configured):
        said = found()
    assert list(said) == ([id] if id else [])
    assert words in "".join(said.values())


def test_settings_that_are_no_dict() -> None:
    with override_settings(LLMAPP=["x"]):
        assert "llmapp.E003" in {message.id for message in checks.settings.check_setting_types()}


def test_while_debugging_keys_may_wait() -> None:
    with override_settings(DEBUG=True, LLMAPP={}):
        assert found() == {}


def test_the_defaults_have_the_types_that_they_ask_for() -> None:
    defaults = {name: vars(AppSettings)[name] for name in AppSettings.known()}
    with override_settings(LLMAPP={**defaults, "ENCRYPTION_KEYS": [KEY]}):
        assert found() == {}


def database(vendor: str, max_age: int | None = 0, **options: Any) -> dict[str, Any]:
    values = {"OPTIONS": options, "CONN_MAX_AGE": max_age}
    return {"default": SimpleNamespace(vendor=vendor, display_name=vendor, settings_dict=values)}


WAL = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
DATABASES: list[tuple[dict[str, Any], str | None, str]] = [
    (database("postgresql"), None, ""),
    (database("mysql"), "llmapp.E004", "PostgreSQL"),
    (database("oracle"), "llmapp.E004", "PostgreSQL"),
    (database("sqlite", transaction_mode="IMMEDIATE", init_command=WAL), None, ""),
    (database("sqlite"), "llmapp.W001", "WAL"),
    (database("sqlite", init_command=WAL), "llmapp.W001", "IMMEDIATE"),
    (database("sqlite", transaction_mode="DEFERRED", init_command=WAL), "llmapp.W001", "IMMEDIATE"),
    (database("sqlite", transaction_mode="IMMEDIATE"), "llmapp.W001", "WAL"),
    (database("sqlite", 60, transaction_mode="IMMEDIATE", init_command=WAL), None, ""),
    (database("postgresql", 60), "llmapp.W014", '"pool": True'),
    (database("postgresql", None), "llmapp.W014", "CONN_MAX_AGE"),
    (database("postgresql", 0, pool=True), None, ""),
]


@pytest.mark.parametrize("connections, id, words", DATABASES)
def test_databases(monkeypatch: pytest.MonkeyPatch, connections: dict[str, Any], id: str | None, words: str) -> None:
    monkeypatch.setattr(checks.databases, "connections", connections)
    messages = [*checks.databases.check_database(), *checks.databases.check_connections()]
    said = {message.id: f"{message.msg} {message.hint}" for message in messages}
    assert list(said) == ([id] if id else [])
    assert words in "".join(said.values())


VERSIONS: list[tuple[str, str | None, str | None]] = [
    ("litellm", "1.82.6", "llmapp.W013"),
    ("litellm", "1.82.7", "llmapp.E006"),
    ("litellm", "1.82.8", "llmapp.E006"),
    ("litellm", "1.81.0", "llmapp.W013"),
    ("litellm", "1.83.7", None),
    ("litellm", "1.100.0", None),
    ("litellm", None, None),
    ("daphne", "4.2.1", "llmapp.W002"),
    ("daphne", "4.1", "llmapp.W002"),
    ("daphne", "4.2.2", None),
    ("daphne", "4.10.0", None),
    ("daphne", None, None),
]


@pytest.mark.parametrize("package, version, id", VERSIONS)
def test_versions(monkeypatch: pytest.MonkeyPatch, package: str, version: str | None, id: str | None) -> None:
    real = checks.packages._version
    monkeypatch.setattr(checks.packages, "_version", lambda name: version if name == package else real(name))
    assert list(found()) == ([id] if id else [])


def test_what_a_stolen_litellm_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "litellm_init.pth").write_text("")
    monkeypatch.setattr(checks.packages.sysconfig, "get_path", lambda name: str(tmp_path))
    assert str(tmp_path) in found()["llmapp.E006"]


def test_each_check_is_documented() -> None:
    """In the package's own list and in the docs; and each id that a check gives is in both."""
    listed = re.findall(r"^    (llmapp\.[EW]\d{3})  ", checks.__doc__ or "", re.M)
    documented = re.findall(
        r"^\| `(llmapp\.[EW]\d{3})` ", Path(settings.BASE_DIR, "docs", "checks.md").read_text(), re.M
    )
    sources = "".join(path.read_text() for path in Path(str(checks.__file__)).parent.glob("*.py"))
    assert listed == documented
    assert set(listed) == set(re.findall(r'id="(llmapp\.[EW]\d{3})"', sources))
