"""`migrate llmapp zero`: afterwards the database is that of a site which never had us. And the way back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import stack
from tests.support.site import ROOT, command

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: A site with everything that could leave a trace: an agent and its versions, runs of a person and of a visitor, their
#: logs, a token, a group and a person with our permissions, lines in the admin's log, a session.
USE = """
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from llmapp import submit, tokens
from llmapp.models import AgentSettings, Run, Visitor
ours = Permission.objects.filter(content_type__app_label="llmapp")
assert ours.filter(codename="view_conversation_content").exists()
ada = User.objects.create_superuser("ada", password="x")
ada.user_permissions.set(ours)
staff = Group.objects.create(name="staff")
staff.permissions.set(Permission.objects.all())
agent = AgentSettings.objects.get(slug="quick")
LogEntry.objects.create(user=ada, content_type=ContentType.objects.get_for_model(agent), object_id=agent.pk,
                        object_repr=str(agent), action_flag=CHANGE)
LogEntry.objects.create(user=ada, content_type=ContentType.objects.get_for_model(ada), object_id=ada.pk,
                        object_repr=str(ada), action_flag=CHANGE)
tokens.issue(ada)
submit(ada, "Hi", agent="quick")
AgentSettings.objects.filter(slug="quick").update(access="public")
submit(Visitor(), "Hi", agent="quick")
client = Client(HTTP_HOST="localhost")
client.force_login(ada)
assert client.get("/chat/").status_code == 200
assert client.get("/admin/llmapp/").status_code == 200
"""

#: The same people on a site that never had us.
USE_WITHOUT = """
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
ada = User.objects.create_superuser("ada", password="x")
staff = Group.objects.create(name="staff")
staff.permissions.set(Permission.objects.all())
LogEntry.objects.create(user=ada, content_type=ContentType.objects.get_for_model(ada), object_id=ada.pk,
                        object_repr=str(ada), action_flag=CHANGE)
"""

TOML = """
[[providers]]
name = "scripted"
backend = "scripted"
api_keys = ["sk-removal"]
options = { script = [{ text = "A quick answer." }] }

[[models]]
name = "quick"
provider = "scripted"
model = "quick"

[[agents]]
slug = "quick"
model = "quick"
"""

#: Everything that a database says about itself, and every row, by what it means: numbers and times left out.
LOOK = """
import json
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
def rows(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return sorted(map(list, cursor.fetchall()))
if connection.vendor == "sqlite":
    schema = rows("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
else:
    public = "(SELECT oid FROM pg_namespace WHERE nspname = 'public')"
    schema = [
        rows(f"SELECT relkind::text, relname::text FROM pg_class WHERE relnamespace = {public}"),
        rows("SELECT table_name::text, column_name::text, data_type::text, coalesce(column_default, '')"
             " FROM information_schema.columns WHERE table_schema = 'public'"),
        rows(f"SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = {public}"),
        rows("SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'"),
        rows(f"SELECT proname::text FROM pg_proc WHERE pronamespace = {public}"),
        rows("SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal"),
        rows(f"SELECT typname::text FROM pg_type WHERE typnamespace = {public}"),
        rows("SELECT extname::text FROM pg_extension"),
        rows("SELECT count(*) FROM pg_largeobject_metadata"),
    ]
named = ("content_type__app_label", "codename")
print("LOOK" + json.dumps({
    "schema": schema,
    "migrations": sorted(MigrationRecorder(connection).applied_migrations()),
    "content types": sorted(ContentType.objects.values_list("app_label", "model")),
    "permissions": sorted(Permission.objects.values_list(*named)),
    "of groups": {g.name: sorted(g.permissions.values_list(*named)) for g in Group.objects.all()},
    "of people": {u.username: sorted(u.user_permissions.values_list(*named)) for u in User.objects.all()},
    "log": sorted(LogEntry.objects.values_list("object_repr", "content_type__model")),
    "in sessions": sorted({key for s in Session.objects.all() for key in s.get_decoded()} - set(AUTH_KEYS)),
}))
""".replace("set(AUTH_KEYS)", '{"_auth_user_id", "_auth_user_backend", "_auth_user_hash"}')


class Database:
    """A database, and the commands of a site on it."""

    def __init__(self, home: Path, urls: dict[str, str], settings: str) -> None:
        self._env = {**os.environ, **urls, "LLMAPP_HOME": str(home), "DJANGO_SETTINGS_MODULE": settings}

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [*command()[:2], *arguments], env=self._env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        return self.manage("shell", "-v", "0", "-c", code)

    def look(self) -> dict[str, Any]:
        said = self.shell(LOOK)
        found: dict[str, Any] = json.loads(said[said.index("LOOK") + 4 :])
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Database]:
    with stack.services() as urls:
        yield Database(tmp_path / "home", urls, "project.settings")


@pytest.fixture
def without(tmp_path: Path) -> Iterator[Database]:
    """Make the same site as if nobody had ever heard of us."""
    with stack.services() as urls:
        made = Database(tmp_path / "without", urls, "tests.acceptance.without_llmapp")
        made.manage("migrate", "--no-input")
        made.shell(USE_WITHOUT)
        yield made


def test_nothing_is_left_behind_and_the_way_back_is_open(site: Database, without: Database, tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(TOML)
    site.manage("migrate", "--no-input")
    site.manage("llmapp", "configure", str(tmp_path / "agents.toml"))
    before = site.look()
    site.shell(USE)
    assert "llmapp" in json.dumps(site.look()["of groups"])
    site.manage("migrate", "llmapp", "zero")
    left, wanted = site.look(), without.look()
    assert "llmapp" not in json.dumps(left)
    for subject in wanted:
        assert left[subject] == wanted[subject], subject
    # A second time, and a migration of others: nothing comes back.
    site.manage("migrate", "llmapp", "zero")
    site.manage("migrate", "auth")
    assert site.look() == left
    site.manage("migrate", "--no-input")
    site.manage("llmapp", "configure", str(tmp_path / "agents.toml"))
    again = site.look()
    for subject in ("schema", "migrations", "content types", "permissions"):
        assert again[subject] == before[subject], subject


def test_one_step_back_keeps_what_people_were_given(site: Database) -> None:
    """Only who leaves altogether is forgotten."""
    site.manage("migrate", "--no-input")
    site.shell(
        "from django.contrib.auth.models import Group, Permission\n"
        "Group.objects.create(name='staff').permissions.set(Permission.objects.filter(codename='view_run'))"
    )
    site.manage("migrate", "llmapp", "0001")
    assert site.look()["of groups"] == {"staff": [["llmapp", "view_run"]]}
