"""Every page of the admin: who may see it, what it must not show, and that long lists stay fast."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from llmapp import history
from llmapp.models import AgentSettings, ConfigurationVersion, Conversation, LanguageModel, Provider, Run

from .conftest import CANARY, SECRET, Site, add_key, add_run, body, queries

#: Page -> the permissions that open it. {x} is the id of one of everything.
PAGES = {
    "/admin/llmapp/provider/": ["view_provider"],
    "/admin/llmapp/provider/add/": ["add_provider"],
    "/admin/llmapp/provider/{provider}/change/": ["view_provider"],
    "/admin/llmapp/provider/{provider}/history/": ["view_provider"],
    "/admin/llmapp/provider/{provider}/delete/": ["delete_provider", "delete_credential"],
    "/admin/llmapp/languagemodel/": ["view_languagemodel"],
    "/admin/llmapp/languagemodel/add/": ["add_languagemodel"],
    "/admin/llmapp/languagemodel/{model}/change/": ["view_languagemodel"],
    "/admin/llmapp/agentsettings/": ["view_agentsettings"],
    "/admin/llmapp/agentsettings/add/": ["add_agentsettings"],
    "/admin/llmapp/agentsettings/{agent}/change/": ["view_agentsettings"],
    "/admin/llmapp/agentsettings/{agent}/versions/": ["view_agentsettings"],
    "/admin/llmapp/conversation/": ["view_conversation"],
    "/admin/llmapp/conversation/{conversation}/change/": ["view_conversation"],
    "/admin/llmapp/conversation/{conversation}/content/": ["view_conversation", "view_conversation_content"],
    "/admin/llmapp/conversation/{conversation}/delete/": ["delete_conversation"],
    "/admin/llmapp/run/": ["view_run"],
    "/admin/llmapp/run/{run}/change/": ["view_run"],
    "/admin/llmapp/run/{run}/log/": ["view_run", "view_conversation_content"],
    "/admin/llmapp/worker/": ["view_worker"],
    "/admin/llmapp/worker/{worker}/change/": ["view_worker"],
    "/admin/llmapp/webprocess/": ["view_webprocess"],
    "/admin/llmapp/webprocess/{web}/change/": ["view_webprocess"],
    "/admin/llmapp/apitoken/": ["view_apitoken"],
    "/admin/llmapp/apitoken/{token}/change/": ["view_apitoken"],
    "/admin/llmapp/configurationversion/": ["view_provider", "view_languagemodel", "view_agentsettings"],
    "/admin/llmapp/configurationversion/{version}/change/": [
        "view_provider",
        "view_languagemodel",
        "view_agentsettings",
    ],
    "/admin/llmapp/overview/": ["view_run"],
    "/admin/llmapp/overview/?days=1": ["view_run"],
    "/admin/llmapp/overview/?days=30": ["view_run"],
}
READING = [path for path, needed in PAGES.items() if "view_conversation_content" in needed]


def path_of(page: str, site: Site) -> str:
    ids = {name: getattr(row, "pk", "") for name, row in vars(site).items()}
    if "{version}" in page:
        history.record(source=history.Source.FILE)
        ids["version"] = ConfigurationVersion.objects.get().pk
    return page.format(**ids)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_for_whoever_may_see_it(staff: Callable[..., Client], site: Site, page: str) -> None:
    assert staff(*PAGES[page]).get(path_of(page, site)).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_each_permission_is_needed(staff: Callable[..., Client], site: Site, page: str) -> None:
    needed = PAGES[page]
    for number, missing in enumerate(needed):
        if missing == "delete_credential":
            continue  # then the page opens, and says that this is missing
        client = staff(*(name for name in needed if name != missing), name=f"clerk{number}")
        assert client.get(path_of(page, site)).status_code in (403, 404), missing


@pytest.mark.parametrize("page", PAGES)
def test_nobody_else_gets_in(site: Site, page: str) -> None:
    assert Client().get(path_of(page, site)).status_code == 302


@pytest.mark.parametrize("page", [*PAGES, "/admin/", "/admin/llmapp/"])
def test_no_key_and_no_style_or_script_in_the_page(browser: Client, site: Site, page: str) -> None:
    """The policy forbids inline styles and scripts: what there is would do nothing."""
    html = body(browser.get(path_of(page, site)))
    assert CANARY not in html
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)(?![^>]*type=.application/json)", html)


@pytest.mark.parametrize("page", [*(page for page in PAGES if page not in READING), "/admin/"])
def test_what_people_wrote_is_only_where_readings_are_noted(browser: Client, site: Site, page: str) -> None:
    assert SECRET not in body(browser.get(path_of(page, site)))


@pytest.mark.parametrize("page", [page for page in PAGES if "?" not in page])
@pytest.mark.parametrize("kind", ["conversation", "run", "worker", "apitoken", "overview"])
def test_what_the_app_writes_has_no_form(browser: Client, site: Site, page: str, kind: str) -> None:
    if f"/{kind}/" in page and "delete" not in page:
        assert "_save" not in body(browser.get(path_of(page, site)))
        assert browser.get(f"/admin/llmapp/{kind}/add/").status_code in (403, 404)


def test_the_overview_is_in_the_index_for_those_who_may_see_it(staff: Callable[..., Client]) -> None:
    assert "/admin/llmapp/overview/" in body(staff("view_run", name="a").get("/admin/"))
    assert "/admin/llmapp/overview/" not in body(staff("view_provider", name="b").get("/admin/"))


# --- long lists ------------------------------------------------------------------------------


def more(site: Site) -> None:
    """Add some of everything."""
    for number in range(4):
        provider = Provider.objects.create(name=f"p{number}", base_url="https://x.example/v1")
        add_key(provider, f"another-key-{number}")
        model = LanguageModel.objects.create(name=f"m{number}", provider=provider, model="x")
        agent = AgentSettings.objects.create(slug=f"a{number}", model=model, fallbacks=["big"])
        conversation = Conversation.objects.create(user=site.conversation.user, agent=agent)
        add_run(conversation, agent, status="completed")


LISTS = [page for page in PAGES if page.count("/") == 4]


@pytest.mark.parametrize("page", [*LISTS, "/admin/llmapp/run/{run}/change/"])
def test_a_longer_list_takes_no_more_queries(browser: Client, site: Site, page: str) -> None:
    path = path_of(page, site)
    browser.get(path)  # what is looked up once for a process
    before = queries(browser, path)
    more(site)
    assert queries(browser, path) == before


def test_the_versions_of_an_agent_take_no_more_queries(browser: Client, site: Site) -> None:
    from llmapp import versions

    path = f"/admin/llmapp/agentsettings/{site.agent.pk}/versions/"
    browser.get(path)
    before = queries(browser, path)
    for text in ["a", "b", "c"]:
        site.agent.instructions = text
        site.agent.save()
        versions.record(site.agent, site.conversation.user)
    assert queries(browser, path) == before


# --- finding ---------------------------------------------------------------------------------

#: What is typed or chosen in the list of runs -> whether the failed run of `site` and a completed one are found.
FOUND = [
    ("", (True, True)),
    ("?status__exact=failed", (True, False)),
    ("?error_kind__exact=overloaded", (True, False)),
    ("?agent_slug=helper", (True, True)),
    ("?agent_slug=gone", (False, False)),
    ("?model_name=big", (False, True)),
    ("?day={today}", (True, True)),
    ("?day=2001-01-01", (False, False)),
    ("?day=nonsense", (True, True)),
    ("?q={failed}", (True, False)),
    ("?q={failed_upper}", (True, False)),
    ("?q=their-own-id", (False, True)),
    ("?q=ada", (True, True)),
    ("?q=nobody", (False, False)),
    ("?q=00000000-0000-4000-8000-000000000000", (False, False)),
    ("?q=%00", (True, True)),
]


@pytest.mark.parametrize("query, found", FOUND)
def test_runs_are_found(browser: Client, site: Site, query: str, found: tuple[bool, bool]) -> None:
    from django.utils import timezone

    done = add_run(site.conversation, site.agent, "completed", model_name="big", client_id="their-own-id")
    asked = query.format(
        today=timezone.localdate().isoformat(), failed=site.run.pk, failed_upper=str(site.run.pk).upper()
    )
    response = browser.get(f"/admin/llmapp/run/{asked}")
    assert response.status_code == 200
    rows: Any = response.context["cl"].result_list
    ids = {run.pk for run in rows}
    assert (site.run.pk in ids, done.pk in ids) == found
    assert Run.objects.count() == 2
