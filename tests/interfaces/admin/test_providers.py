"""Providers and their keys: a key goes in and never comes out, and goes nowhere but where it was meant to go."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from llmapp.models import Credential, Provider

from .conftest import CANARY, Site, add_key, body

ADD = "/admin/llmapp/provider/add/"


def form(*keys: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return what a browser sends. A key is {"id", "key", "DELETE"} as far as they are given."""
    data = {"name": "new", "backend": "openai_compatible", "base_url": "https://api.example.com/v1", "enabled": "on"}
    data |= {"key_strategy": "fill_first"}
    data |= {"credentials-TOTAL_FORMS": str(len(keys)), "credentials-INITIAL_FORMS": str(sum("id" in k for k in keys))}
    data |= {"models-TOTAL_FORMS": "0", "models-INITIAL_FORMS": "0"}
    for at, key in enumerate(keys):
        row = {"key": "", "position": str(at), "enabled": "on", **key}
        data |= {f"credentials-{at}-{name}": str(value) for name, value in row.items()}
    return {**data, **fields}


def change(site: Site) -> str:
    return f"/admin/llmapp/provider/{site.provider.pk}/change/"


def stored(provider: Provider) -> list[str]:
    return [credential.secrets()["api_key"] for credential in provider.credentials.order_by("pk")]


# --- the address -----------------------------------------------------------------------------

ADDRESSES = [
    ("https://api.example.com/v1", None),
    ("http://127.0.0.1:4010", None),
    ("http://[::1]:8080/v1", None),
    ("", "This backend needs to know where the API is."),
    ("https://user:pw@api.example.com/v1", "Must not have a user name or a password"),
    ("https://key@api.example.com/v1", "Must not have a user name or a password"),
    ("file:///etc/passwd", "Must be an http:// or https:// URL."),
    ("ftp://example.com", "Must be an http:// or https:// URL."),
    ("javascript:alert(1)", "Must be an http:// or https:// URL."),
    ("api.example.com/v1", "Must be an http:// or https:// URL."),
    ("https://", "Must be an http:// or https:// URL."),
    ("https:///v1", "Must be an http:// or https:// URL."),
    ("https://a b/v1", "Must be an http:// or https:// URL."),
    ("https://example.com:port/v1", "Is not a URL."),
    ("https://example.com:99999/v1", "Is not a URL."),
    ("https://[bad/v1", "Is not a URL."),
    ("https://example.com/v1?key=x", "Must end with its path."),
    ("https://example.com/\u0000", "Null characters are not allowed."),
]


@pytest.mark.parametrize("url, said", ADDRESSES)
def test_what_is_no_address_of_an_api_is_a_form_error(browser: Client, url: str, said: str | None) -> None:
    response = browser.post(ADD, form(base_url=url))
    assert response.status_code == (302 if said is None else 200)
    assert Provider.objects.count() == (said is None)
    if said is not None:
        (shown,) = response.context["adminform"].form.errors["base_url"]
        assert said in shown


def test_a_backend_without_an_address_needs_none(browser: Client) -> None:
    assert browser.post(ADD, form(base_url="", backend="litellm")).status_code == 302


@pytest.mark.parametrize(
    "field, typed, said",
    [
        ("headers", "{", "Must be JSON"),
        ("headers", "[1]", "Must be a table."),
        ("headers", '{"bad name": "x"}', "is not the name of a header"),
        ("headers", '{"x-a": "one\\ntwo"}', "must be a string of one line"),
        ("headers", '{"x-a": 1}', "must be a string of one line"),
        ("options", '"text"', "Must be a table."),
        ("options", "nonsense", "Must be JSON"),
        ("timeout_connect", "0", "Must be a number of seconds above 0, and at most a day."),
        ("timeout_idle", "-1", "Must be a number of seconds above 0, and at most a day."),
        ("timeout_total", "soon", "Enter a number."),
        ("timeout_total", "inf", "Enter a number."),
        ("backend", "telepathy", "Select a valid choice"),
    ],
)
def test_what_a_field_cannot_hold_is_said_at_the_field(browser: Client, field: str, typed: str, said: str) -> None:
    response = browser.post(ADD, form(**{field: typed}))
    assert response.status_code == 200
    assert said in response.context["adminform"].form.errors[field][0]
    assert not Provider.objects.exists()


def test_only_timeouts_that_were_typed_are_stored(browser: Client) -> None:
    """So that a better default of a later release reaches the others."""
    browser.post(ADD, form(timeout_connect="2.5", timeout_total="900", headers='{"x-team": "a"}', options=""))
    provider = Provider.objects.get()
    assert provider.timeouts == {"connect": 2.5, "total": 900.0}
    assert (provider.headers, provider.options) == ({"x-team": "a"}, {})
    browser.post(f"/admin/llmapp/provider/{provider.pk}/change/", form(timeout_total="800"))
    provider.refresh_from_db()
    assert provider.timeouts == {"total": 800.0}


def test_a_backend_that_is_gone_stays_until_another_is_chosen(browser: Client, site: Site) -> None:
    Provider.objects.update(backend="theirs")
    assert "theirs (not installed)" in body(browser.get(change(site)))


# --- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["/change/", "/history/", "/delete/"])
def test_a_key_is_never_seen_again(browser: Client, site: Site, caplog: pytest.LogCaptureFixture, ending: str) -> None:
    """Not on any page, in the history, in a message, in a log or in the session; its end is."""
    caplog.set_level(logging.DEBUG)
    data = form({"id": site.provider.credentials.get().pk, "key": "sk-NEVER-two-XYZW"}, {"key": "sk-NEVER-three-ABCD"})
    response = browser.post(change(site), data, follow=True)
    assert stored(site.provider) == ["sk-NEVER-two-XYZW", "sk-NEVER-three-ABCD"]
    page = body(browser.get(change(site).replace("/change/", ending)))
    everything = body(response) + page + caplog.text + str(list(LogEntry.objects.values())) + str(dict(browser.session))
    assert "NEVER" not in everything
    assert "…XYZW" in body(response) + page or ending != "/change/"


def test_a_form_that_comes_back_has_lost_what_was_typed_as_a_key(browser: Client, site: Site) -> None:
    data = form({"key": CANARY + "-second"}, base_url="nonsense")
    response = browser.post(change(site), data)
    assert response.status_code == 200
    assert CANARY not in body(response)
    assert stored(site.provider) == [CANARY]


def test_an_error_report_does_not_show_what_was_posted(browser: Client, site: Site, rf: Any) -> None:
    """Django's own report of an exception, as it is sent to the site's owners."""
    from django.views.debug import ExceptionReporter

    seen: list[Any] = []
    browser.raise_request_exception = False

    def note(sender: Any, request: Any = None, **kwargs: Any) -> None:
        seen.append(ExceptionReporter(request, *__import__("sys").exc_info()).get_traceback_text())

    from django.core.signals import got_request_exception

    got_request_exception.connect(note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Credential, "set_secrets", lambda self, secrets: 1 / 0)
            assert browser.post(change(site), form({"key": CANARY})).status_code == 500
    finally:
        got_request_exception.disconnect(note)
    assert len(seen) == 1
    assert "ZeroDivisionError" in seen[0]
    assert CANARY not in seen[0]


def test_an_empty_key_keeps_the_stored_one(browser: Client, site: Site) -> None:
    id = site.provider.credentials.get().pk
    assert browser.post(change(site), form({"id": id, "position": 3}, name="renamed")).status_code == 302
    credential = Credential.objects.get()
    assert (credential.pk, credential.position, credential.secrets()) == (id, 3, {"api_key": CANARY})


@pytest.mark.parametrize(
    "typed, secrets",
    [
        ("  sk-plain-key-1234  ", {"api_key": "sk-plain-key-1234"}),
        ('{"access_key": "a", "secret_key": "b"}', {"access_key": "a", "secret_key": "b"}),
    ],
)
def test_one_secret_or_several(browser: Client, typed: str, secrets: dict[str, str]) -> None:
    assert browser.post(ADD, form({"key": typed})).status_code == 302
    assert Credential.objects.get().secrets() == secrets


@pytest.mark.parametrize("typed", ['{"a": 1, "NEVER"', '{"NEVER": 1}', "{}", '{"NEVER": ""}'])
def test_secrets_that_cannot_be_read_are_not_quoted(browser: Client, typed: str) -> None:
    response = browser.post(ADD, form({"key": typed}))
    assert "Several secrets are written as JSON" in body(response)
    assert "NEVER" not in body(response)


def test_a_row_without_a_key_is_refused(browser: Client) -> None:
    assert "A key is missing." in body(browser.post(ADD, form({"position": 5})))


def test_a_key_can_be_removed(browser: Client, site: Site) -> None:
    browser.post(change(site), form({"id": site.provider.credentials.get().pk, "DELETE": "on"}))
    assert stored(site.provider) == []


# --- where keys go ---------------------------------------------------------------------------

#: What is changed -> whether the keys are kept.
MOVES = [
    ({}, True),
    ({"name": "other"}, True),
    ({"base_url": "https://api.example.com/v2"}, True),
    ({"base_url": "https://API.example.com:443/v1"}, True),
    ({"base_url": "https://api.example.com:8443/v1"}, False),
    ({"base_url": "http://api.example.com/v1"}, False),
    ({"base_url": "https://evil.example/v1"}, False),
    ({"base_url": "https://api.example.com.evil.example/v1"}, False),
    ({"base_url": "", "backend": "litellm"}, False),
    ({"backend": "litellm"}, True),
    ({"options": '{"api_version": "1"}'}, True),
    # litellm takes an address from there.
    ({"options": '{"api_base": "https://evil.example"}'}, False),
]


@pytest.mark.parametrize("fields, kept", MOVES)
def test_keys_are_dropped_when_they_would_go_elsewhere(
    browser: Client, site: Site, fields: dict[str, str], kept: bool
) -> None:
    id = site.provider.credentials.get().pk
    response = browser.post(change(site), form({"id": id}, **fields), follow=True)
    assert stored(site.provider) == ([CANARY] if kept else [])
    assert ("The address has changed, so the key was dropped" in body(response)) is not kept


def test_a_key_that_is_typed_with_the_new_address_stays(browser: Client, site: Site) -> None:
    old = site.provider.credentials.get()
    second = add_key(site.provider, "sk-another-key-0002")
    data = form(
        {"id": old.pk},
        {"id": second.pk, "key": "sk-for-the-new-one"},
        {"key": "sk-brand-new-one-0003"},
        base_url="https://other.example/v1",
    )
    response = browser.post(change(site), data, follow=True)
    assert stored(site.provider) == ["sk-for-the-new-one", "sk-brand-new-one-0003"]
    assert "The address has changed, so the key was dropped" in body(response)


def test_it_is_said_before_too(browser: Client, site: Site) -> None:
    said = "Changing scheme, host or port drops the keys below"
    assert said in body(browser.get(change(site)))
    assert said not in body(browser.get(ADD))


def test_saving_makes_a_new_version_for_the_workers(browser: Client, site: Site) -> None:
    before = site.provider.version
    browser.post(change(site), form({"id": site.provider.credentials.get().pk}))
    site.provider.refresh_from_db()
    assert site.provider.version == before + 1


def test_the_history_says_what_was_changed_and_no_more(browser: Client, site: Site) -> None:
    browser.post(change(site), form({"id": site.provider.credentials.get().pk, "key": "sk-NEVER-0001-wxyz"}))
    (entry,) = LogEntry.objects.all()
    assert "key" in json.dumps(json.loads(entry.change_message)).lower()
    assert "NEVER" not in entry.change_message
