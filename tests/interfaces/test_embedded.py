"""The page that a site shows in an iframe, and the tags that put it there."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView
from django.db import OperationalError
from django.template import Context, Template
from django.test import Client, override_settings

import llmapp
from llmapp.models import AgentSettings, Conversation
from llmapp.runs import away
from llmapp.views import embedded

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


def test_it_may_be_framed_by_its_own_site_only(page: Client, agent: AgentSettings) -> None:
    answer = page.get(f"/chat/embed/{agent.slug}/")
    assert answer.status_code == 200
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
    assert "no-store" in answer["Cache-Control"]


def test_it_has_no_list_and_does_not_take_the_focus(page: Client, agent: AgentSettings) -> None:
    content = page.get(f"/chat/embed/{agent.slug}/").content.decode()
    assert "data-sidebar" not in content
    assert "autofocus" not in content
    assert f'"page": "/chat/embed/{agent.slug}/"' in content


def test_an_agent_that_is_not_theirs_answers_nobody(page: Client, agent: AgentSettings) -> None:
    answer = page.get("/chat/embed/no-such-agent/")
    assert "No agent is available to you" in answer.content.decode()
    assert '"agent": null' in answer.content.decode()


@pytest.mark.parametrize("whose", ["nobody", "other", "another agent"])
def test_a_conversation_that_is_not_there_becomes_a_new_one(
    page: Client, person: Any, other: Any, agent: AgentSettings, whose: str
) -> None:
    """It was deleted, or somebody else used this browser before: no reason for an error in a corner of a page."""
    owner = {"other": other, "another agent": person}.get(whose)
    found = Conversation.objects.create(user=owner, agent=None if owner == person else agent) if owner else None
    answer = page.get(f"/chat/embed/{agent.slug}/{found.pk if found else uuid.uuid4()}/")
    assert answer.status_code == 404
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert '"conversation": null' in answer.content.decode()
    assert '"gone": true' in answer.content.decode()


@pytest.mark.parametrize(
    "referer, back",
    [
        ("http://testserver/shop/?q=a b", "/shop/%3Fq%3Da%2520b"),
        ("http://testserver//evil.example/", "/chat/"),
        ("https://evil.example/", "/chat/"),
        ("", "/chat/"),
    ],
)
def test_who_is_not_signed_in_is_led_there_and_back(agent: AgentSettings, referer: str, back: str) -> None:
    answer = Client().get(f"/chat/embed/{agent.slug}/", headers={"Referer": referer.replace(" ", "%20")})
    assert answer.status_code == 200
    link = re.search(r'href="([^"]+)" target="_top"', answer.content.decode())
    assert link
    assert link[1] == f"/accounts/login/?next={back}"


@pytest.mark.parametrize("tag", ["llmapp_chat", "llmapp_widget"])
def test_a_tag_brings_nothing_that_a_strict_policy_refuses(tag: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        made = Template(f'{{% load llmapp %}}{{% {tag} agent="support" title=title %}}').render(
            Context({"title": '"><script>alert(1)</script>'})
        )
    assert "/chat/embed/support/" in made
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=|<style|<script>", made)


@override_settings(ROOT_URLCONF="tests.interfaces.prefixed")
def test_a_tag_and_its_page_follow_the_prefix(page: Client, agent: AgentSettings) -> None:
    made = Template(f'{{% load llmapp %}}{{% llmapp_chat agent="{agent.slug}" %}}').render(Context())
    path = f"/de/assistant/chat/embed/{agent.slug}/"
    assert f'src="{path}"' in made
    content = page.get(path).content.decode()
    assert '"root": "/de/assistant/"' in content
    assert not re.search(r'(?:href|action)="/(?!de/|static/)', content)


def test_a_base_of_the_site_is_around_its_pages_and_not_in_there_twice(
    page: Client, agent: AgentSettings, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "llmapp").mkdir()
    base = '{% extends "llmapp/frame.html" %}{% block navigation %}<nav>Bicycles</nav>{% endblock %}'
    (tmp_path / "llmapp" / "base.html").write_text(base)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    assert "<nav>Bicycles</nav>" in page.get("/chat/").content.decode()
    assert "Bicycles" not in page.get(f"/chat/embed/{agent.slug}/").content.decode()


def test_the_templates_and_blocks_that_may_be_overridden_are_there() -> None:
    document = (ROOT / "docs" / "existing-site.md").read_text().partition("\n## Your look\n")[2].partition("\n## ")[0]
    templates = Path(llmapp.__file__).parent / "templates"
    text = "".join(path.read_text() for path in templates.rglob("*.html"))
    names = re.findall(r"^\| `(llmapp/\S+\.html)` \|", document, re.M)
    blocks = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| ((?:`\w+` ?)+)\|", document, re.M)))
    assert len(names) == 6
    assert len(blocks) == 13
    assert [name for name in names if not (templates / name).exists()] == []
    assert [block for block in blocks if f"{{% block {block} %}}" not in text] == []


def test_the_sign_in_asks_for_what_people_sign_in_with(rf: Any) -> None:
    class ByEmail(AuthenticationForm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fields["username"].label = "E-mail"

    view = LoginView.as_view(template_name="llmapp/sign_in.html", authentication_form=ByEmail)
    request = rf.get("/")
    request.session, request.user = {}, AnonymousUser()
    content = view(request).render().content.decode()
    assert "<label>E-mail" in content
    assert "User name" not in content


def test_while_the_database_is_away_it_says_so_in_its_frame(
    page: Client, agent: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(embedded, "identify", gone)
    monkeypatch.setattr(away, "is_away", lambda error: isinstance(error, OperationalError))
    answer = page.get(f"/chat/embed/{agent.slug}/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
