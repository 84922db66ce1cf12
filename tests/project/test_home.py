"""Secrets are made once, are private, and are the same for all who ask at the same time."""

from __future__ import annotations

import multiprocessing
import secrets
import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project import home


def ask(folder: Path) -> str:
    return home.secret(folder, "key", lambda: secrets.token_hex(32))


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    assert ask(tmp_path) == ask(tmp_path)
    assert len(ask(tmp_path)) == 64


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    ask(tmp_path)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "secrets" / "key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["key"]


def test_processes_that_ask_at_once_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        answers = pool.map(ask, [tmp_path] * 40, chunksize=1)
    assert len(set(answers)) == 1


def test_a_home_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="cannot be written"):
        home.make(tmp_path / "file" / "home")
