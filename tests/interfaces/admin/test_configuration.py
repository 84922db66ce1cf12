"""The history of the configuration in the admin: who, when, what; and the way back, asked for once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client

from llmapp import history, snapshot
from llmapp.models import AgentSettings, ConfigurationVersion, LanguageModel

from .conftest import CANARY, Site, body, queries
from .test_agents import change, form
from .test_providers import form as provider_form

LIST = "/admin/llmapp/configurationversion/"
VIEW = [f"view_{name}" for name in ("provider", "languagemodel", "agentsettings")]
CHANGE = [f"{verb}_{name[5:]}" for verb in ("add", "change", "delete") for name in VIEW]


@pytest.fixture
def start(site: Site) -> ConfigurationVersion:
    version = history.record(source=history.Source.FILE, note="agents.toml")
    assert version is not None
    return version


@pytest.fixture
def brief(browser: Client, site: Site, start: ConfigurationVersion) -> ConfigurationVersion:
    """Let an administrator change an agent."""
    browser.post(change(site), form(site, "big", instructions="Be brief.\nBe kind.", name=""))
    return ConfigurationVersion.objects.latest("pk")


def restore_page(version: ConfigurationVersion) -> str:
    return f"{LIST}{version.pk}/restore/"


def confirm(client: Client, version: ConfigurationVersion) -> Any:
    """Look at the question, and say yes."""
    seen = client.get(restore_page(version)).context["seen"]
    return client.post(restore_page(version), {"seen": seen}, follow=True)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_the_list_says_who_when_where_and_what(browser: Client, brief: ConfigurationVersion) -> None:
    html = body(browser.get(LIST))
    rows = [row.partition("</tr>")[0] for row in html.partition("<tbody>")[2].split("<tr>")[1:]]
    assert [word in rows[0] for word in ("boss", "admin", "changed agent helper (instructions)")] == [True] * 3
    assert "file agents.toml" in rows[1]
    assert "created provider local, model big, model small, agent helper" in rows[1]


def test_a_long_history_takes_no_more_queries(browser: Client, site: Site, brief: ConfigurationVersion) -> None:
    few = queries(browser, LIST)
    for number in range(30):
        browser.post(change(site), form(site, "big", instructions=str(number), name=""))
    assert queries(browser, LIST) == few
    html = body(browser.get(LIST))
    assert html.count("changed agent helper (instructions)") == 25


def test_a_version_shows_what_it_changed_line_by_line(browser: Client, brief: ConfigurationVersion) -> None:
    html = body(browser.get(f"{LIST}{brief.pk}/change/"))
    assert 'llmapp-added"><span class="llmapp-sign">+</span>Be brief.' in html
    assert 'llmapp-same"><span class="llmapp-sign"> </span>Be kind.' in html
    assert "as it is now" in html
    assert "gpt-small" not in html


def test_a_version_that_created_and_removed(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    html = body(browser.get(f"{LIST}{start.pk}/change/"))
    assert [name in html for name in ("Provider local", "Model small", "Agent helper", "gpt-small", "created")] == [
        True
    ] * 5
    assert CANARY not in html
    assert f"…{CANARY[-4:]}" in html
    AgentSettings.objects.update(fallbacks=[])
    browser.post(f"/admin/llmapp/languagemodel/{site.other_model.pk}/delete/", {"post": "yes"})
    last = ConfigurationVersion.objects.latest("pk")
    html = body(browser.get(f"{LIST}{last.pk}/change/"))
    assert [word in html for word in ("Model big", "removed", "gpt-big")] == [True, True, False]


def test_the_question_shows_what_would_change_and_changes_nothing(
    browser: Client, start: ConfigurationVersion, brief: ConfigurationVersion
) -> None:
    before = snapshot.take()
    html = body(browser.get(restore_page(start)))
    assert 'llmapp-removed"><span class="llmapp-sign">-</span>Be brief.' in html
    assert "Restore this version" in html
    assert (snapshot.take(), ConfigurationVersion.objects.latest("pk")) == (before, brief)


def test_to_restore_takes_a_yes(browser: Client, boss: Any, start: ConfigurationVersion, brief: Any) -> None:
    response = confirm(browser, start)
    new = ConfigurationVersion.objects.latest("pk")
    assert said(response) == [f"Version {start.pk} is restored, as version {new.pk}."]
    assert snapshot.take() == start.values == new.values
    assert (new.changed_by, new.source, new.note) == (boss, "restore", str(start.pk))
    assert AgentSettings.objects.get().versions.first().values["instructions"] == "Be kind."  # type: ignore[union-attr]
    assert LogEntry.objects.latest("pk").get_change_message() == said(response)[0]


@pytest.mark.parametrize("seen", [{}, {"seen": "0123456789abcdef"}])
def test_a_yes_to_what_has_changed_meanwhile_is_asked_again(
    browser: Client, start: ConfigurationVersion, brief: ConfigurationVersion, seen: dict[str, str]
) -> None:
    response = browser.post(restore_page(start), seen)
    assert said(response)[-1] == "The configuration has changed since you looked. Look again."
    assert snapshot.take() == brief.values
    assert "Restore this version" in body(response)


def test_keys_that_would_be_dropped_are_said_before_and_after(
    browser: Client, site: Site, start: ConfigurationVersion
) -> None:
    key = {"id": site.provider.credentials.get().pk, "key": "sk-typed-again-0009"}
    page = f"/admin/llmapp/provider/{site.provider.pk}/change/"
    browser.post(page, provider_form(key, name="local", base_url="https://other.example.com/v1"))
    note = "provider local: its address has changed, so its keys are dropped"
    assert note in body(browser.get(restore_page(start)))
    assert site.provider.credentials.exists()
    assert note in said(confirm(browser, start))
    assert not site.provider.credentials.exists()


def test_a_version_that_names_what_is_gone_says_so_and_has_no_button(
    browser: Client, site: Site, brief: ConfigurationVersion
) -> None:
    group = Group.objects.create(name="friends")
    browser.post(change(site), form(site, "big", access="groups", groups=[group.pk], name=""))
    version = ConfigurationVersion.objects.latest("pk")
    browser.post(change(site), form(site, "big", access="staff", name=""))
    seen = browser.get(restore_page(version)).context["seen"]
    group.delete()
    page = body(browser.get(restore_page(version)))
    sentence = f"Version {version.pk} names what is gone: group friends."
    assert sentence in page
    assert "Restore this version" not in page
    before = snapshot.take()
    assert said(browser.post(restore_page(version), {"seen": seen}, follow=True)) == [sentence]
    assert snapshot.take() == before


def test_what_would_change_nothing_has_no_button(browser: Client, brief: ConfigurationVersion) -> None:
    page = body(browser.get(restore_page(brief)))
    assert "Nothing would change." in page
    assert "Restore this version" not in page


@pytest.mark.parametrize("missing", CHANGE)
def test_to_restore_takes_every_right(
    staff: Callable[..., Client], start: ConfigurationVersion, brief: ConfigurationVersion, missing: str
) -> None:
    client = staff(*VIEW, *(name for name in CHANGE if name != missing))
    assert restore_page(start) not in body(client.get(f"{LIST}{start.pk}/change/"))
    assert client.get(restore_page(start)).status_code == 403
    assert client.post(restore_page(start), {"seen": "x"}).status_code == 403
    assert snapshot.take() == brief.values


def test_whoever_has_every_right_may_restore(
    staff: Callable[..., Client], start: ConfigurationVersion, brief: ConfigurationVersion
) -> None:
    client = staff(*CHANGE)
    assert restore_page(start) in body(client.get(f"{LIST}{start.pk}/change/"))
    confirm(client, start)
    assert snapshot.take() == start.values


def test_nobody_adds_changes_or_deletes_a_version(browser: Client, start: ConfigurationVersion, brief: Any) -> None:
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}{start.pk}/delete/", {"post": "yes"}).status_code == 403
    browser.post(f"{LIST}{start.pk}/change/", {"note": "forged", "_save": "1"})
    start.refresh_from_db()
    assert start.note == "agents.toml"


def test_a_version_that_never_was(browser: Client, start: ConfigurationVersion) -> None:
    for page in ("change", "restore"):
        assert browser.get(f"{LIST}{start.pk + 99}/{page}/").status_code == 404


def test_a_version_of_an_earlier_release(browser: Client, site: Site, start: ConfigurationVersion) -> None:
    """It may lack keys and tables."""
    start.values = {"models": [{"id": site.model.pk, "name": "small", "provider": "local", "model": "older"}]}
    start.save()
    assert "Model small" in body(browser.get(f"{LIST}{start.pk}/change/"))
    assert browser.get(restore_page(start)).status_code == 200
    assert LanguageModel.objects.get(name="small").model == "gpt-small"
