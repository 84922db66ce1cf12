"""A request of a run as it was sent, and once more: for who may read it, and without a key."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from llmapp.models import Attempt, Conversation, Credential, Message, Probe, Run
from llmapp.runs import probe, probing
from tests.support.provider import Provider

from .conftest import CANARY, SECRET, Site, add_key, body

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "Bearer header-canary-8841"


@pytest.fixture
def provider(site: Site) -> Iterator[Provider]:
    """The provider of `site`, answering."""
    with Provider() as running:
        running.default = {"answer": "It is blue."}
        site.provider.base_url = running.url
        site.provider.headers = {"X-Account": HEADER}
        site.provider.save()
        Credential.objects.all().delete()
        Attempt.objects.update(credential=add_key(site.provider, CANARY))
        yield running


@pytest.fixture(autouse=True)
def handed(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Take the place of the broker."""
    taken: list[uuid.UUID] = []
    monkeypatch.setattr(probe, "enqueue", taken.append)
    return taken


def attempt_of(site: Site) -> Attempt:
    return Attempt.objects.filter(call__run=site.run).order_by("number")[0]


def path(site: Site, page: str) -> str:
    return f"/admin/llmapp/run/{site.run.pk}/attempts/{attempt_of(site).pk}/{page}/"


def sent(browser: Client, site: Site) -> tuple[Probe, str, dict[str, Any]]:
    """Send it again, carry that out as a worker does, and return what is stored, shown and polled."""
    url = browser.post(path(site, "again")).url
    probing.carry_out(Probe.objects.get().pk)
    return Probe.objects.get(), unescape(body(browser.get(url))), browser.get(f"{url}state/").json()


def shown_body(page: str) -> Any:
    return json.loads(unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.S)[0]))


def test_it_is_shown_as_it_was_sent(browser: Client, site: Site, provider: Provider) -> None:
    page = body(browser.get(path(site, "request")))
    sent(browser, site)
    assert shown_body(page) == provider.requests[0].body
    assert shown_body(page)["messages"] == [{"role": "user", "content": SECRET}]
    assert f"…{CANARY[-4:]}" in page


def test_it_is_sent_as_it_was_whatever_has_changed(browser: Client, site: Site, provider: Provider) -> None:
    """A later message, another limit and what the agent is told by now are not in it."""
    Attempt.objects.update(request=attempt_of(site).request | {"settings": {"temperature": 0.5}, "streaming": False})
    message = site.run.message
    Message.objects.create(conversation=site.conversation, parent=message, role="assistant", text="later")
    site.model.max_output_tokens = 7
    site.model.save()
    sent(browser, site)
    (request,) = provider.requests
    messages = [{"role": "user", "content": SECRET}]
    assert request.body == {"model": "gpt-small", "messages": messages, "stream": False, "temperature": 0.5}


def test_what_comes_back_is_shown_and_nothing_else_changes(browser: Client, site: Site, provider: Provider) -> None:
    before = [list(rows.objects.values()) for rows in (Run, Message, Attempt, Conversation, Credential)]
    row, page, state = sent(browser, site)
    assert row.passed
    assert (row.outcome["text"], row.outcome["finish_reason"], row.outcome["kind"]) == ("It is blue.", "stop", "")
    assert state["state"] == "passed"
    assert "It is blue." in page
    assert state["outcome"]["texts"] == [["Answer", "It is blue."]]
    names = [name for name, _value in state["outcome"]["facts"]]
    assert names == ["Result", "HTTP", "Key", "First token", "Took", "Tokens in / out", "Cost"]
    assert [list(rows.objects.values()) for rows in (Run, Message, Attempt, Conversation, Credential)] == before


def test_a_failure_is_shown_with_the_providers_words(browser: Client, site: Site, provider: Provider) -> None:
    error = {"message": f"slow down, {CANARY}", "type": "rate_limit_error"}
    provider.default = {"status": 429, "body": {"error": error}}
    row, page, state = sent(browser, site)
    assert (row.passed, row.outcome["kind"], row.outcome["status"]) == (False, "rate_limit", 429)
    assert "slow down" in page
    assert ["HTTP", "429"] in state["outcome"]["facts"]
    assert len(provider.requests) == 1


@pytest.mark.parametrize("default", [{"answer": "x"}, {"status": 401, "body": {"error": {"message": CANARY}}}])
def test_no_key_and_no_header_is_seen(browser: Client, site: Site, provider: Provider, default: Any) -> None:
    provider.default = default
    row, page, state = sent(browser, site)
    everything = page + json.dumps(state) + str(vars(row)) + body(browser.get(path(site, "request")))
    everything += str(list(Attempt.objects.values())) + str(list(LogEntry.objects.values()))
    assert CANARY not in everything
    assert HEADER not in everything


def test_messages_that_are_gone(browser: Client, site: Site, provider: Provider) -> None:
    missing = {"model": "gpt-small", "messages": [{"path": str(uuid.uuid4()), "count": 1}]}
    Attempt.objects.update(request=missing)
    assert "its messages are gone" in body(browser.get(path(site, "request")))
    row, page, _state = sent(browser, site)
    assert not row.passed
    assert "it cannot be sent again" in page
    assert not provider.requests


@pytest.mark.parametrize("change", [{"request": None}, {"model": None}])
def test_what_cannot_be_sent_has_no_button(browser: Client, site: Site, change: dict[str, Any]) -> None:
    Attempt.objects.update(**change)
    assert "/again/" not in body(browser.get(path(site, "request")))
    assert browser.post(path(site, "again")).status_code == 404


RIGHTS = [
    # permissions, looking, sending
    (["view_run"], 403, 403),
    (["view_run", "change_run"], 403, 403),
    (["view_run", "view_conversation_content"], 200, 403),
    (["view_run", "change_run", "view_conversation_content"], 200, 302),
    (["view_conversation_content"], 404, 404),
]


@pytest.mark.parametrize("rights, looking, sending", RIGHTS)
def test_who_may(staff: Callable[..., Client], site: Site, rights: list[str], looking: int, sending: int) -> None:
    client = staff(*rights)
    page = client.get(path(site, "request"))
    assert page.status_code == looking
    assert ("again/" in body(page)) == (sending == 302)
    assert client.post(path(site, "again")).status_code == sending
    assert Probe.objects.count() == (sending == 302)


def test_what_came_back_takes_the_right_to_read_too(
    staff: Callable[..., Client], browser: Client, site: Site, boss: Any
) -> None:
    url = browser.post(path(site, "again")).url
    clerk = staff("view_run", "change_run")
    for page in (url, f"{url}state/"):
        assert clerk.get(page).status_code == 403
    LogEntry.objects.all().delete()
    browser.get(url)
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Read the content."]


def test_two_presses_send_it_once(browser: Client, site: Site, handed: list[uuid.UUID]) -> None:
    first, second = (browser.post(path(site, "again")).url for _press in range(2))
    assert first == second
    assert len(handed) == 1


def test_it_is_no_test_of_the_model(browser: Client, site: Site, provider: Provider) -> None:
    """What a check of the model found is not what somebody sent again."""
    row, _page, _state = sent(browser, site)
    assert str(row.pk) not in body(browser.get(f"/admin/llmapp/languagemodel/{site.model.pk}/change/"))
    assert browser.get(f"/admin/llmapp/languagemodel/{site.model.pk}/probe/{row.pk}/").status_code == 404


def test_an_attempt_of_another_run_is_not_there(browser: Client, site: Site) -> None:
    assert browser.get(path(site, "request").replace(str(site.run.pk), str(uuid.uuid4()))).status_code == 404


def test_the_table_of_attempts_leads_there(browser: Client, staff: Callable[..., Client], site: Site) -> None:
    page = f"/admin/llmapp/run/{site.run.pk}/change/"
    html = body(browser.get(page))
    assert path(site, "request") in html
    assert "1.50 s" in html
    assert f"<td>…{CANARY[-4:]}</td>" in html
    assert path(site, "request") not in body(staff("view_run").get(page))
