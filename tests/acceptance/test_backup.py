"""A backup by the commands of the docs, of a site in mid-answer; and what is there after a restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import TOML
from tests.acceptance.test_runs import check
from tests.support import stack
from tests.support.provider import Provider, answer_for
from tests.support.site import ROOT, Site, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


def documented(word: str) -> str:
    """Return the docs' one command with this word."""
    text = (ROOT / "docs" / "deployment.md").read_text().partition("\n## Backup\n")[2].partition("\n## ")[0]
    (found,) = re.findall(rf"^(?:.*`)?({word} [^`#\n]+?)(?:`.*| *#.*)?$", text, re.M)
    return str(found)


def shell(command: str, folder: Path, **environment: str) -> None:
    if shutil.which(program := command.split()[0]) is None:
        assert not os.environ.get("CI"), f"{program} is needed"
        pytest.skip(f"{program} is not here: the backup is NOT tested")
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def old(provider: Provider, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "old").mkdir()
    with Site(tmp_path / "old" / "var", TOML.format(url=provider.url)) as made:
        made.become("ada")
        yield made


def back_up(site: Site, folder: Path) -> None:
    """Take the database, while the site runs, and the secrets."""
    if stack.on_servers():
        shell(documented("pg_dump"), folder, DATABASE_URL=site.env["DATABASE_URL"])
    else:
        shell(documented("sqlite3"), folder)
    shutil.copytree(site.home / "secrets", folder / "secrets")


class Restored(Site):
    """A site on an empty database and an empty home, into which the backup is put before the start."""

    def __init__(self, home: Path, backup: Path) -> None:
        super().__init__(home)
        self._backup = backup
        home.mkdir(parents=True)
        shutil.copytree(backup / "secrets", home / "secrets")

    def put_into(self, urls: dict[str, str]) -> None:
        """Restore into these servers, or into the home."""
        if urls:
            shell(documented("pg_restore"), self._backup, DATABASE_URL=urls["DATABASE_URL"])
        else:
            shutil.copy(self._backup / "backup.sqlite3", self.home / "db.sqlite3")


def test_what_was_backed_up_is_there_again_and_answers_go_on(old: Site, provider: Provider, tmp_path: Path) -> None:
    provider.default = {"tokens_per_second": 0}
    old.send("openai_compatible", "Remember this", "kept")
    provider.default = {"tokens_per_second": 5}
    run = old.submit("openai_compatible", "In mid-answer")
    time.sleep(1.5)
    back_up(old, tmp_path / "old")
    token = old.http.headers["Authorization"]
    old.stop()
    provider.default = {"tokens_per_second": 0}
    with Restored(tmp_path / "new" / "var", tmp_path / "old") as new:
        new.http.headers["Authorization"] = token
        messages = new.http.get("/api/conversations/kept/messages").json()["messages"]
        assert [m["content"] for m in messages] == ["Remember this", answer_for("Remember this")]
        assert new.wait_until_ended(run, 60)["status"] == "completed"
        events = [event for _, event in new.events(run)]
        check(events)
        assert text_of(events) == answer_for("In mid-answer")
        assert text_of(new.send("openai_compatible", "And on", "kept")) == answer_for("And on")
    assert provider.requests[-1].headers["authorization"] == "Bearer sk-acceptance-direct"
