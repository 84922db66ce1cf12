"""Agents and models: what a form accepts, what becomes of those who use a model, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from llmapp import versions
from llmapp.models import AgentSettings, AgentVersion, LanguageModel

from .conftest import Site, body

ADD = "/admin/llmapp/agentsettings/add/"


def form(site: Site, *fallbacks: str, **fields: Any) -> dict[str, Any]:
    """Return what a browser sends for an agent."""
    data = {
        "name": "Helper",
        "slug": "helper",
        "description": "",
        "enabled": "on",
        "position": "0",
        "model": site.model.pk,
        "instructions": "Be kind.",
        "settings": "",
        "access": "staff",
        "timeout": "600",
        "attempts": "12",
        "max_turns": "20",
        "timeout_limit": "3",
        "violation_limit": "1",
    }
    data |= {f"fallbacks_{at}": name for at, name in enumerate(fallbacks)}
    return {name: value for name, value in {**data, **fields}.items() if value is not None}


def change(site: Site) -> str:
    return f"/admin/llmapp/agentsettings/{site.agent.pk}/change/"


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    found: dict[str, list[str]] = response.context["adminform"].form.errors
    return found


# --- fields ----------------------------------------------------------------------------------


def test_fallbacks_are_an_order(browser: Client, site: Site) -> None:
    LanguageModel.objects.create(name="third", provider=site.provider, model="x")
    assert browser.post(change(site), form(site, "third", "", "big")).status_code == 302
    site.agent.refresh_from_db()
    assert site.agent.fallbacks == ["third", "big"]
    html = body(browser.get(change(site)))
    assert html.index('value="third" selected') < html.index('value="big" selected')


def test_fallbacks_can_be_emptied(browser: Client, site: Site) -> None:
    browser.post(change(site), form(site, ""))
    site.agent.refresh_from_db()
    assert site.agent.fallbacks == []


@pytest.mark.parametrize(
    "page, tables",
    [(ADD, ["settings"]), ("/admin/llmapp/provider/add/", ["headers", "options"])],
)
def test_a_table_of_something_new_is_empty(browser: Client, site: Site, page: str, tables: list[str]) -> None:
    shown = browser.get(page).context["adminform"].form
    assert [shown[name].value() for name in tables] == [""] * len(tables)


@pytest.mark.parametrize(
    "fallbacks, fields, where, said",
    [
        (["big", "big"], {}, "fallbacks", "big is there twice."),
        (["small"], {}, "fallbacks", "small is the agent's own model"),
        (["unheard-of"], {}, "fallbacks", "Select a valid choice"),
        ([], {"settings": "{"}, "settings", "Must be JSON"),
        ([], {"settings": "[]x"}, "settings", "Must be JSON"),
        ([], {"settings": "[1]"}, "settings", "Must be a table."),
        ([], {"settings": '{"model": "x"}'}, "settings", "is not a setting of an agent"),
        ([], {"access": "groups"}, "groups", "Choose the groups"),
        ([], {"access": "everybody"}, "access", "Select a valid choice"),
        ([], {"timeout": "0"}, "timeout", "greater than or equal to 1"),
        ([], {"attempts": "0"}, "attempts", "greater than or equal to 1"),
        ([], {"attempts": "-1"}, "attempts", "greater than or equal to"),
        ([], {"model": ""}, "model", "This field is required."),
        ([], {"slug": "two words"}, "slug", "valid"),
    ],
)
def test_what_an_agent_cannot_be_is_said_at_the_field(
    browser: Client, site: Site, fallbacks: list[str], fields: dict[str, str], where: str, said: str
) -> None:
    assert said in errors(browser.post(change(site), form(site, *fallbacks, **fields)))[where][0]
    assert AgentVersion.objects.count() == 1


def test_groups_are_kept_only_where_they_say_who_may(browser: Client, site: Site) -> None:
    group = Group.objects.create(name="sales")
    browser.post(change(site), form(site, "big", access="groups", groups=[group.pk]))
    assert list(site.agent.groups.all()) == [group]
    browser.post(change(site), form(site, "big", access="staff", groups=[group.pk]))
    assert list(site.agent.groups.all()) == []


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda site: site.other_model.delete(), "The fallback big names a model that is not there any more."),
        (lambda site: LanguageModel.objects.filter(name="big").update(enabled=False), "The model big is disabled"),
        (
            lambda site: AgentSettings.objects.update(summary_model="gone"),
            "The summary model gone is not there any more",
        ),
        (lambda site: type(site.provider).objects.update(enabled=False), "its provider local is disabled"),
    ],
)
def test_a_model_that_cannot_answer_is_warned_of(browser: Client, site: Site, spoil: Any, said: str) -> None:
    assert said not in body(browser.get(change(site)))
    spoil(site)
    assert said in body(browser.get(change(site)))


def test_a_fallback_that_is_gone_stays_until_somebody_takes_it_out(browser: Client, site: Site) -> None:
    """Saving another field must not change what was not touched."""
    site.other_model.delete()
    assert "big (deleted)" in body(browser.get(change(site)))
    browser.post(change(site), form(site, "big", description="new"))
    site.agent.refresh_from_db()
    assert (site.agent.fallbacks, site.agent.description) == (["big"], "new")


def test_a_summary_model_is_chosen(browser: Client, site: Site) -> None:
    """It is one of the models, or nobody in particular."""
    assert browser.post(change(site), form(site, "big", summary_model="big")).status_code == 302
    assert AgentSettings.objects.get().summary_model == "big"
    assert browser.post(change(site), form(site, "big", summary_model="")).status_code == 302
    assert AgentSettings.objects.get().summary_model == ""
    said = errors(browser.post(change(site), form(site, "big", summary_model="unheard-of")))
    assert "Select a valid choice" in said["summary_model"][0]


def test_a_summary_model_that_is_gone_stays_until_somebody_takes_it_out(browser: Client, site: Site) -> None:
    AgentSettings.objects.update(summary_model="gone")
    assert "gone (deleted)" in body(browser.get(change(site)))
    browser.post(change(site), form(site, "big", summary_model="gone", description="new"))
    agent = AgentSettings.objects.get()
    assert (agent.summary_model, agent.description) == ("gone", "new")


# --- versions --------------------------------------------------------------------------------


def numbers(site: Site) -> list[int]:
    return [version.number for version in site.agent.versions.all()]


def test_each_change_is_a_version_with_its_author(browser: Client, site: Site, boss: Any) -> None:
    group = Group.objects.create(name="sales")
    browser.post(change(site), form(site, "big", access="groups", groups=[group.pk], instructions="Be brief."))
    version = site.agent.versions.first()
    assert version is not None
    assert (version.number, version.changed_by) == (2, boss)
    assert (version.values["groups"], version.values["instructions"]) == (["sales"], "Be brief.")


def test_a_save_that_changes_nothing_is_no_version(browser: Client, site: Site) -> None:
    browser.post(change(site), form(site, "big", name=""))
    assert numbers(site) == [1]


def test_a_new_agent_begins_with_version_1(browser: Client, site: Site) -> None:
    assert browser.post(ADD, form(site, slug="second")).status_code == 302
    assert [v.number for v in AgentSettings.objects.get(slug="second").versions.all()] == [1]


def test_the_page_of_versions_shows_the_difference(browser: Client, site: Site) -> None:
    browser.post(change(site), form(site, "big", instructions="Be kind.\n<b>Be brief.</b>", name=""))
    html = body(browser.get(f"/admin/llmapp/agentsettings/{site.agent.pk}/versions/"))
    second = html[html.index('id="version-2"') : html.index('id="version-1"')]
    assert '<span class="llmapp-sign">+</span>&lt;b&gt;Be brief.&lt;/b&gt;' in second
    assert '<span class="llmapp-sign"> </span>Be kind.' in second
    assert "Timeout" not in second
    assert "as it is now" in second
    assert "Restore" not in second


def restore(client: Client, site: Site, number: int) -> Any:
    return client.post(f"/admin/llmapp/agentsettings/{site.agent.pk}/versions/{number}/restore/", follow=True)


def test_an_earlier_version_comes_back_as_a_new_one(browser: Client, site: Site, boss: Any) -> None:
    group = Group.objects.create(name="sales")
    browser.post(change(site), form(site, access="groups", groups=[group.pk], instructions="x", timeout="5"))
    assert "Version 1 is restored, as version 3." in body(restore(browser, site, 1))
    site.agent.refresh_from_db()
    assert versions.values_of(site.agent) == site.agent.versions.get(number=1).values
    assert (numbers(site), site.agent.versions.get(number=3).changed_by) == ([3, 2, 1], boss)


def test_to_restore_what_is_there_already_is_no_version(browser: Client, site: Site) -> None:
    assert "It is what version 1 says already." in body(restore(browser, site, 1))
    assert numbers(site) == [1]


@pytest.mark.parametrize(
    "values, said",
    [
        ({"model": "gone"}, "There is no model gone any more."),
        ({"fallbacks": ["gone", "big", "lost"]}, "There is no model gone, lost any more."),
        ({"summary_model": "gone"}, "There is no model gone any more."),
        ({"groups": ["gone"]}, "There is no group gone any more."),
        ({"timeout": 0}, "greater than or equal to 1"),
    ],
)
def test_a_version_that_names_what_is_gone_changes_nothing(
    browser: Client, site: Site, values: dict[str, Any], said: str
) -> None:
    old = versions.values_of(site.agent)
    AgentVersion.objects.create(agent=site.agent, number=2, values={**old, "instructions": "x", **values})
    assert said in body(restore(browser, site, 2))
    site.agent.refresh_from_db()
    assert versions.values_of(site.agent) == old
    assert numbers(site) == [2, 1]


def test_to_restore_takes_the_right_to_change_and_a_post(staff: Callable[..., Client], site: Site) -> None:
    client = staff("view_agentsettings")
    assert restore(client, site, 1).status_code == 403
    page = f"/admin/llmapp/agentsettings/{site.agent.pk}/versions/"
    assert client.get(f"{page}1/restore/").status_code == 405
    assert "Restore</button>" not in body(client.get(page))
    assert restore(staff("change_agentsettings", name="other"), site, 99).status_code == 404


# --- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name, said", [("small", "Helper"), ("big", "Agent helper falls back on big")])
@pytest.mark.parametrize("by_action", [False, True])
def test_a_model_that_agents_use_is_not_deleted(
    browser: Client, site: Site, name: str, said: str, by_action: bool
) -> None:
    id = LanguageModel.objects.get(name=name).pk
    if by_action:
        data = {"action": "delete_selected", "_selected_action": [id], "post": "yes"}
        response = browser.post("/admin/llmapp/languagemodel/", data)
    else:
        response = browser.post(f"/admin/llmapp/languagemodel/{id}/delete/", {"post": "yes"})
    assert response.status_code in (200, 403)
    assert LanguageModel.objects.filter(name=name).exists()
    page = browser.get(f"/admin/llmapp/languagemodel/{id}/delete/")
    assert said in body(page)
    assert f"/admin/llmapp/agentsettings/{site.agent.pk}/change/" in body(page)


def test_a_model_that_summarises_is_not_deleted(browser: Client, site: Site) -> None:
    AgentSettings.objects.update(fallbacks=[], summary_model="big")
    page = f"/admin/llmapp/languagemodel/{site.other_model.pk}/delete/"
    assert "Agent helper summarises with big" in body(browser.get(page))
    browser.post(page, {"post": "yes"})
    assert LanguageModel.objects.filter(name="big").exists()


def test_a_model_that_nobody_uses_is_deleted(browser: Client, site: Site) -> None:
    AgentSettings.objects.update(fallbacks=[])
    browser.post(f"/admin/llmapp/languagemodel/{site.other_model.pk}/delete/", {"post": "yes"})
    assert not LanguageModel.objects.filter(name="big").exists()


def model_form(site: Site, **fields: Any) -> dict[str, Any]:
    data = {"name": "big", "provider": site.provider.pk, "model": "gpt-big", "enabled": "on"}
    return {**data, "streaming": "auto", "system_role": "system", **fields}


def test_agents_follow_a_model_that_is_renamed(browser: Client, site: Site, boss: Any) -> None:
    AgentSettings.objects.update(summary_model="big")
    path = f"/admin/llmapp/languagemodel/{site.other_model.pk}/change/"
    assert browser.post(path, model_form(site, name="larger")).status_code == 302
    site.agent.refresh_from_db()
    version = site.agent.versions.first()
    assert (site.agent.fallbacks, site.agent.summary_model) == (["larger"], "larger")
    assert version is not None
    assert (version.values["fallbacks"], version.changed_by) == (["larger"], boss)


@pytest.mark.parametrize(
    "typed, price", [("0.15", Decimal("0.15")), ("0", Decimal(0)), ("", None), ("0.000001", Decimal("0.000001"))]
)
def test_prices_are_decimals_and_unknown_is_not_zero(browser: Client, site: Site, typed: str, price: Any) -> None:
    path = f"/admin/llmapp/languagemodel/{site.other_model.pk}/change/"
    assert browser.post(path, model_form(site, input_price=typed)).status_code == 302
    assert LanguageModel.objects.get(name="big").input_price == price


@pytest.mark.parametrize("typed", ["-1", "cheap", "0.0000001", "NaN"])
def test_what_is_no_price_is_said(browser: Client, site: Site, typed: str) -> None:
    path = f"/admin/llmapp/languagemodel/{site.other_model.pk}/change/"
    assert "input_price" in errors(browser.post(path, model_form(site, input_price=typed)))
