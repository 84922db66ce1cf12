"""What became of keys and models: shown where people look, and taken back by whoever may change them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from llmapp.core.health import Observation
from llmapp.core.learned import Learned
from llmapp.models import Credential, LanguageModel
from llmapp.runs import breakers, notebook

from .conftest import CANARY, Site, add_key, body

LIST = "/admin/llmapp/provider/"
OVERVIEW = "/admin/llmapp/overview/"


def page(row: Any) -> str:
    return f"/admin/llmapp/{row._meta.model_name}/{row.pk}/change/"


@pytest.fixture
def refused(site: Site) -> Credential:
    site.provider.credentials.update(dead_since=timezone.now(), bench_kind="auth")
    return site.provider.credentials.get()


# --- keys ---

STATES: list[tuple[dict[str, Any], str]] = [
    ({}, "usable"),
    ({"benched_until": timezone.now() + timedelta(days=1), "bench_kind": "quota_exhausted"}, "(quota_exhausted)"),
    ({"benched_until": timezone.now() - timedelta(days=1), "bench_kind": "quota_exhausted"}, "usable"),
    ({"dead_since": timezone.now(), "bench_kind": "auth"}, "replace it"),
    ({"failed_at": timezone.now(), "failures_in_a_row": 1, "bench_kind": "auth"}, "usable, but failed at"),
]


@pytest.mark.parametrize("values, said", STATES)
def test_the_page_of_a_provider_says_how_its_keys_stand(
    browser: Client, site: Site, values: dict[str, Any], said: str
) -> None:
    site.provider.credentials.update(**values)
    text = body(browser.get(page(site.provider)))
    assert said in text
    assert ("Use keys again" in text) is (not said.startswith("usable"))


def test_keys_are_used_again_at_the_press_of_a_button(browser: Client, site: Site, refused: Credential) -> None:
    response = browser.post(f"{LIST}{site.provider.pk}/use-keys-again/", follow=True)
    assert "1 key is used again." in body(response)
    refused.refresh_from_db()
    assert (refused.dead_since, refused.bench_kind) == (None, "")
    assert "used again" in LogEntry.objects.latest("action_time").change_message


def test_whoever_may_only_look_cannot_have_keys_used_again(
    staff: Callable[..., Client], site: Site, refused: Credential
) -> None:
    client = staff("view_provider", "view_credential")
    assert "Use keys again" not in body(client.get(page(site.provider)))
    assert client.post(f"{LIST}{site.provider.pk}/use-keys-again/").status_code == 403
    refused.refresh_from_db()
    assert refused.dead_since is not None


def test_looking_changes_nothing(browser: Client, site: Site, refused: Credential) -> None:
    assert browser.get(f"{LIST}{site.provider.pk}/use-keys-again/").status_code == 405


def test_a_provider_that_is_gone_is_not_found(browser: Client, site: Site) -> None:
    assert browser.post(f"{LIST}999999/use-keys-again/").status_code == 404


def test_a_refused_key_is_a_warning_where_people_look_first(browser: Client, site: Site, refused: Credential) -> None:
    add_key(site.provider, "sk-another-0123456789")
    assert "1 refused" in body(browser.get(LIST))
    overview = body(browser.get(OVERVIEW))
    assert "A provider refuses 1 key." in overview
    assert page(site.provider) in overview
    assert CANARY not in overview


def test_without_refused_keys_there_is_no_warning(browser: Client, site: Site) -> None:
    assert "refuse" not in body(browser.get(OVERVIEW)) + body(browser.get(LIST))


def test_whoever_may_not_see_providers_is_not_told_of_them(
    staff: Callable[..., Client], site: Site, refused: Credential
) -> None:
    assert "A provider refuses" not in body(staff("view_run").get(OVERVIEW))


# --- models ---


def test_the_page_of_a_model_says_how_it_does(browser: Client, site: Site) -> None:
    text = body(browser.get(page(site.model)))
    assert "asked" in text
    assert "Forget what was learned" not in text
    for _number in range(5):
        breakers.note(site.model.pk, site.provider.pk, Observation("overloaded", "Wait", "overloaded"))
    breakers.note(site.model.pk, site.provider.pk, Observation("rate_limit", "Wait"))
    text = body(browser.get(page(site.model)))
    assert "not asked for 1" in text
    assert "overloaded, then Wait: 0 of 5 helped" in text
    assert "rate_limit, then Wait: 1 of 1 helped" in text


def test_what_was_learned_is_shown_and_can_be_forgotten(browser: Client, site: Site) -> None:
    notebook.learn(site.model.pk, Learned(window=8192, refused=frozenset({"top_k"}), renamed={"max_tokens": "limit"}))
    text = body(browser.get(page(site.model)))
    for said in ("Its window has 8,192 tokens", "It refuses top_k", "It calls max_tokens limit"):
        assert said in text
    response = browser.post(f"/admin/llmapp/languagemodel/{site.model.pk}/forget/", follow=True)
    assert "What was learned is forgotten." in body(response)
    assert LanguageModel.objects.get(pk=site.model.pk).learned == {}


def test_whoever_may_only_look_cannot_forget(staff: Callable[..., Client], site: Site) -> None:
    notebook.learn(site.model.pk, Learned(window=8192))
    client = staff("view_languagemodel")
    assert "Forget what was learned" not in body(client.get(page(site.model)))
    assert client.post(f"/admin/llmapp/languagemodel/{site.model.pk}/forget/").status_code == 403
    assert LanguageModel.objects.get(pk=site.model.pk).lessons.window == 8192


# --- agents ---


def test_the_list_of_agents_warns_of_models_that_are_passed_over(browser: Client, site: Site) -> None:
    assert "(disabled)" not in body(browser.get("/admin/llmapp/agentsettings/"))
    site.other_model.enabled = False
    site.other_model.save()
    site.agent.fallbacks = ["big", "gone"]
    site.agent.save()
    text = body(browser.get("/admin/llmapp/agentsettings/"))
    assert "big (disabled)" in text
    assert "gone (deleted)" in text
