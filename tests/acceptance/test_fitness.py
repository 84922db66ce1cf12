"""Two workers, of which one has other keys, and a database that is ahead of both: who does not fit takes no run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from tests.support.provider import Provider
from tests.support.site import ROOT, Site

from .conftest import TOML

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

LATER = "0099_later"


@pytest.fixture(scope="module")
def own(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("fitness") / "home"
    with Site(home, TOML.format(url=provider.url), web=1, workers=1) as made:
        made.become("ada")
        yield made


@pytest.fixture(autouse=True)
def _quick(provider: Provider) -> None:
    provider.default = {"tokens_per_second": 0}


@contextlib.contextmanager
def worker(site: Site, log: Path, **env: str) -> Iterator[int]:
    """Start one more worker of the site, with another environment, and give its pid."""
    command = [sys.executable, "-m", "celery", "-A", "project", "worker", "-Q", "llmapp", "-P", "threads", "-c", "4"]
    with log.open("w") as out:
        started = subprocess.Popen(
            [*command, "-n", "odd@%h", "-l", "info"],
            env={**site.env, **env},
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield started.pid
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                raise


def execute(site: Site, sql: str) -> None:
    """Change the site's database from outside."""
    if url := site.env.get("DATABASE_URL"):
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(sql)
    else:
        with contextlib.closing(sqlite3.connect(site.home / "db.sqlite3", timeout=20)) as file, file:
            file.execute(sql)


def now(site: Site) -> tuple[int, dict[str, Any]]:
    answer = site.http.get("/health/ready")
    return answer.status_code, answer.json()["now"]


def doctor(site: Site) -> list[str]:
    command = [sys.executable, str(ROOT / "manage.py"), "llmapp", "doctor"]
    return subprocess.run(command, env=site.env, capture_output=True, text=True, timeout=60).stdout.splitlines()


def test_a_worker_with_other_keys_takes_no_runs(own: Site, tmp_path: Path) -> None:
    """What it gets of the queue goes to the one that has them, and nothing fails."""
    key, log = Fernet.generate_key().decode(), tmp_path / "odd.log"
    with worker(own, log, LLMAPP_ENCRYPTION_KEYS=key) as pid:
        own.wait_for(lambda: now(own)[1]["workers_unfit"], 30)
        status, figures = now(own)
        assert (status, figures["workers_taking_runs"]) == (200, 1)
        for _ in range(3):
            # As many as one person may have at a time.
            runs = [own.submit("openai_compatible", f"{number}") for number in range(3)]
            assert {own.wait_until_ended(run, 40)["status"] for run in runs} == {"completed"}
        (line,) = (line for line in doctor(own) if f":{pid}," in line)
        assert line.startswith("FAIL")
        assert "takes no runs" in line
    said = log.read_text()
    assert said.count("takes no runs") == 1
    assert " claimed" not in said
    assert key not in said + line


def test_nobody_takes_runs_while_the_database_is_ahead(own: Site) -> None:
    """They say so, and begin again by themselves when it is mended."""
    values = f"VALUES ('llmapp', '{LATER}', '{datetime.now(UTC).isoformat()}')"
    execute(own, f"INSERT INTO django_migrations (app, name, applied) {values}")
    try:
        own.wait_for(lambda: now(own)[0] == 503, 20)
        assert now(own)[1]["workers_unfit"] == 1
        run = own.submit("openai_compatible", "Is anybody there?")
        assert [line for line in doctor(own) if LATER in line and line.startswith("FAIL")]
        assert own.run(run)["status"] == "queued"
    finally:
        execute(own, f"DELETE FROM django_migrations WHERE name = '{LATER}'")
    assert own.wait_until_ended(run, 20)["status"] == "completed"
    assert now(own)[0] == 200
    said = [line for line in own.lines if "this worker takes" in line]
    assert [("no runs" in line, "again" in line) for line in said] == [(True, False), (False, True)]


def test_web_processes_are_seen(own: Site) -> None:
    """With what they run on: the same as the worker."""
    (pid,) = own.webs()
    own.wait_for(lambda: now(own)[1]["web_processes"] == 1, 20)
    (line,) = (line for line in doctor(own) if f":{pid}," in line)
    assert not line.startswith("FAIL")
    os.kill(pid, signal.SIGTERM)
    own.wait_for(lambda: own.webs() not in ([], [pid]), 20)
    own.wait_for(lambda: not [line for line in doctor(own) if f":{pid}," in line], 20)
    assert json.dumps(now(own)[1])
