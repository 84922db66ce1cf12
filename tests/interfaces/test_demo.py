"""What `serve --demo` makes, and the link that signs its user in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import signing
from django.test import Client
from django.urls import reverse

from llmapp.backends.scripted_demo import CODE
from llmapp.management import demo
from llmapp.models import AgentSettings, AgentVersion, Credential, LanguageModel, Provider, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def _served_as_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMAPP_DEMO", "1")


def test_without_keys_there_is_the_scripted_agent() -> None:
    demo.make()
    agent = AgentSettings.objects.get()
    assert (agent.slug, agent.title, agent.model.provider.backend) == ("demo", "Demo", "scripted")
    user = get_user_model().objects.get()
    assert user.get_username() == "admin"
    assert not user.has_usable_password()
    assert user.is_superuser


@pytest.mark.parametrize("variable", demo.PROVIDERS)
def test_with_a_key_the_first_agent_is_a_real_one(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "sk-from-the-shell")
    demo.make()
    first, last = AgentSettings.objects.all()
    assert last.slug == "demo"
    assert first.model.provider.credentials.get().secrets() == {"api_key": "sk-from-the-shell"}
    assert first.model.input_price is not None


def test_a_key_that_comes_later_still_makes_the_first_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    demo.make()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-late")
    demo.make()
    assert [agent.slug for agent in AgentSettings.objects.all()] == ["gpt", "demo"]


def test_made_again_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in demo.PROVIDERS:
        monkeypatch.setenv(variable, "sk")
    demo.make()
    before = [list(table.objects.values()) for table in (Provider, Credential, LanguageModel, AgentVersion)]
    demo.make()
    assert before == [list(table.objects.values()) for table in (Provider, Credential, LanguageModel, AgentVersion)]


def test_what_somebody_changed_stays_but_keys_follow_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    demo.make()
    AgentSettings.objects.filter(slug="gpt").update(instructions="Rhyme.")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    demo.make()
    assert AgentSettings.objects.get(slug="gpt").instructions == "Rhyme."
    assert Credential.objects.get().secrets() == {"api_key": "sk-right"}


def test_a_key_does_not_go_to_a_provider_that_was_pointed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    Provider.objects.create(name="openai", base_url="https://elsewhere.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    demo.make()
    assert not Credential.objects.exists()


@pytest.mark.usefixtures("_served_as_demo")
def test_the_link_signs_in_once() -> None:
    path, client = demo.sign_in_path(), Client()
    answer = client.get(path)
    assert (answer.status_code, answer["Location"]) == (302, "/chat/")
    assert client.session["_auth_user_id"]
    again = Client().get(path)
    assert again.status_code == 410
    assert "no-store" in again["Cache-Control"]


@pytest.mark.usefixtures("_served_as_demo")
def test_a_new_start_makes_a_link_that_works_again() -> None:
    Client().get(demo.sign_in_path())
    assert Client().get(demo.sign_in_path()).status_code == 302


@pytest.mark.usefixtures("_served_as_demo")
def test_a_link_is_good_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = signing.time.time
    monkeypatch.setattr(signing.time, "time", lambda: real() - 601)
    path = demo.sign_in_path()
    monkeypatch.undo()
    monkeypatch.setenv("LLMAPP_DEMO", "1")
    assert Client().get(path).status_code == 410


@pytest.mark.usefixtures("_served_as_demo")
@pytest.mark.parametrize("spoil", [lambda token: token[:-2] + "xx", lambda token: "x", lambda token: token.upper()])
def test_a_link_that_was_changed_signs_nobody_in(spoil: Any) -> None:
    path = demo.sign_in_path()
    token = path.strip("/").split("/")[-1]
    assert Client().get(path.replace(token, spoil(token))).status_code == 410


@pytest.mark.parametrize("value", [None, "0", "true"])
def test_without_demo_there_is_no_such_page(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("LLMAPP_DEMO", raising=False)
    if value is not None:
        monkeypatch.setenv("LLMAPP_DEMO", value)
    assert Client().get(demo.sign_in_path()).status_code == 404


# --- what it says ---------------------------------------------------------------------------


def test_the_code_that_it_shows_works(admin_user: Any, rf: Any) -> None:
    """Pasted into a site, it starts an answer and shows it on the chat page."""
    demo.make()
    AgentSettings.objects.update(slug="support")
    names: dict[str, Any] = {}
    exec(CODE.removeprefix("```python").rpartition("```")[0], names)
    request = rf.get("/")
    request.user = admin_user
    response = names["ask_about"](request, 7)
    run = Run.objects.get()
    assert response.url == reverse("llmapp:conversation", args=[run.conversation_id])
    assert run.message.text == "What is the state of order 7?"
