"""Visitors in the administration: runs and conversations that no user owns."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from llmapp.models import AgentSettings, Conversation, Run, Visitor

from .conftest import Site, add_run, body, queries

LISTS = ["/admin/llmapp/conversation/", "/admin/llmapp/run/"]


@pytest.fixture
def run(site: Site) -> Run:
    """A run of a visitor, beside that of a user."""
    visitor = Visitor.objects.create()
    conversation = Conversation.objects.create(visitor=visitor, agent=site.agent)
    return add_run(conversation, site.agent, "completed", visitor=visitor)


def rows(html: str) -> int:
    return html.count('class="action-select"')


@pytest.mark.parametrize("path", LISTS)
def test_a_list_says_who_is_a_visitor(browser: Client, site: Site, run: Run, path: str) -> None:
    html = body(browser.get(path))
    assert f"visitor {str(run.visitor_id)[:8]}" in html
    assert "ada" in html


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query, number, visitors",
    [
        ("owner=visitor", 1, True),
        ("owner=user", 1, False),
        ("owner=nonsense", 2, True),
        ("q={visitor}", 1, True),
        ("q=ada", 1, False),
        ("q=00000000-0000-4000-8000-000000000000", 0, False),
        ("o=6", 2, True),
    ],
)
def test_a_list_finds_visitors(
    browser: Client, site: Site, run: Run, path: str, query: str, number: int, visitors: bool
) -> None:
    html = body(browser.get(f"{path}?{query.format(visitor=run.visitor_id)}"))
    table = html.partition('id="result_list"')[2]
    assert table.count("<tr>") - 1 == number or (number == 0 and not table)
    assert ("visitor " in table) is visitors


@pytest.mark.parametrize(
    "page", ["conversation/{c}/change/", "conversation/{c}/content/", "run/{r}/change/", "run/{r}/log/"]
)
def test_each_page_of_it_opens(browser: Client, run: Run, page: str) -> None:
    html = body(browser.get("/admin/llmapp/" + page.format(c=run.conversation_id, r=run.pk)))
    assert "None" not in html
    if "log" not in page:
        assert f"visitor {run.visitor_id}" in html


@pytest.mark.parametrize("path", LISTS)
def test_visitors_take_no_more_queries(browser: Client, site: Site, run: Run, path: str) -> None:
    before = queries(browser, path)
    for _number in range(3):
        visitor = Visitor.objects.create()
        add_run(Conversation.objects.create(visitor=visitor), site.agent, "completed", visitor=visitor)
    assert queries(browser, path) == before


def test_the_overview_counts_visitors_as_one(browser: Client, site: Site, run: Run) -> None:
    another = Visitor.objects.create()
    add_run(Conversation.objects.create(visitor=another), site.agent, "completed", visitor=another)
    html = body(browser.get("/admin/llmapp/overview/"))
    link = '<a href="/admin/llmapp/run/?owner=visitor">Visitors</a>'
    assert link in html
    assert html.partition(link)[2].partition("</tr>")[0].count(">2<") == 1


def test_an_agent_is_made_public_in_its_form_and_that_is_a_version(browser: Client, site: Site) -> None:
    path = f"/admin/llmapp/agentsettings/{site.agent.pk}/change/"
    html = body(browser.get(path))
    assert "Public: visitors without an account chat" in html
    form: dict[str, Any] = {
        name: getattr(site.agent, name)
        for name in ("slug", "name", "timeout", "attempts", "max_turns", "timeout_limit", "violation_limit", "position")
    }
    form |= {"model": site.agent.model.pk, "enabled": "on", "settings": "{}", "access": "public"}
    answer = browser.post(path, form)
    assert answer.status_code == 302, body(answer)
    assert AgentSettings.objects.get(pk=site.agent.pk).access == "public"
    assert site.agent.versions.first().values["access"] == "public"  # type: ignore[union-attr]
