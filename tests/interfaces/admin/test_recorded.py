"""Each change in the admin is a version of the configuration, and `configure --restore` takes it back."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client

from llmapp import history, snapshot
from llmapp.differences import differences
from llmapp.models import AgentSettings, ConfigurationVersion, LanguageModel

from .conftest import CANARY, Site
from .test_agents import change as change_agent
from .test_agents import form as agent_form
from .test_providers import form as provider_form


@pytest.fixture
def start(site: Site) -> ConfigurationVersion:
    version = history.record(source=history.Source.FILE)
    assert version is not None
    return version


def last() -> ConfigurationVersion:
    return ConfigurationVersion.objects.latest("pk")


def what(before: ConfigurationVersion, after: ConfigurationVersion) -> list[tuple[str, str, list[str]]]:
    """Return table, name and changed keys; no keys where an entry is new or gone."""
    return [
        (found.table, found.name, found.keys if found.before and found.after else [])
        for found in differences(before.values, after.values)
    ]


def delete(browser: Client, table: str, pk: int) -> None:
    assert browser.post(f"/admin/llmapp/{table}/{pk}/delete/", {"post": "yes"}).status_code == 302


def test_a_change_of_an_agent(browser: Client, site: Site, start: ConfigurationVersion, boss: Any) -> None:
    browser.post(change_agent(site), agent_form(site, "big", instructions="Be brief.", name=""))
    assert what(start, last()) == [("agents", "helper", ["instructions"])]
    assert (last().changed_by, last().source, last().who) == (boss, "admin", "boss")


def test_a_new_provider_with_its_key(browser: Client, start: ConfigurationVersion) -> None:
    browser.post("/admin/llmapp/provider/add/", provider_form({"key": CANARY}))
    assert what(start, last()) == [("providers", "new", [])]
    new = next(entry for entry in last().values["providers"] if entry["name"] == "new")
    assert new["api_keys"] == [f"…{CANARY[-4:]}"]
    assert CANARY not in str(list(ConfigurationVersion.objects.values()))


def test_keys_that_are_dropped(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    key = {"id": site.provider.credentials.get().pk}
    page = f"/admin/llmapp/provider/{site.provider.pk}/change/"
    browser.post(page, provider_form(key, name="local", base_url="https://other.example.com/v1"))
    assert what(start, last()) == [("providers", "local", ["base_url", "api_keys"])]


def test_a_deletion(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    site.conversation.delete()
    delete(browser, "agentsettings", site.agent.pk)
    assert what(start, last()) == [("agents", "helper", [])]


def test_a_deletion_of_several(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    rows = [LanguageModel.objects.create(name=name, provider=site.provider, model="x") for name in ("x", "y")]
    data = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    browser.post("/admin/llmapp/languagemodel/", data)
    added, deleted = ConfigurationVersion.objects.filter(pk__gt=start.pk).order_by("pk")
    assert (added.source, deleted.source) == ("other", "admin")
    assert what(added, deleted) == [("models", "x", []), ("models", "y", [])]


def test_a_save_that_changes_nothing_is_no_version(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    browser.post(change_agent(site), agent_form(site, "big", name=""))
    assert LogEntry.objects.exists()
    assert last() == start


def test_what_there_was_before_the_first_change_is_kept(browser: Client, site: Site) -> None:
    before = snapshot.take()
    browser.post(change_agent(site), agent_form(site, "big", instructions="Be brief.", name=""))
    found, changed = ConfigurationVersion.objects.order_by("pk")
    assert (found.source, changed.source) == ("other", "admin")
    call_command("llmapp", "configure", "--restore", str(found.pk))
    assert snapshot.take() == before
    assert AgentSettings.objects.get().instructions == "Be kind."
    assert site.provider.credentials.get().secrets() == {"api_key": CANARY}
