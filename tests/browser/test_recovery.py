"""What people see of failures: while recovery is at work, at the end, and in the admin afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from . import chat
from .site import LiveSite
from .test_page import AXE

PHONE = {"width": 390, "height": 844}

#: Makes a conversation whose only run stands like this, and prints its id.
RUN = """
from datetime import UTC, datetime, timedelta
from django.contrib.auth import get_user_model
from django.db import transaction
from llmapp.core import events as ev
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.runs import log
from llmapp.runs.clock import db_now
user, agent, now = get_user_model().objects.get(username="admin"), AgentSettings.objects.get(slug="quick"), db_now()
made = Conversation.objects.create(pk="{id}", user=user, agent=agent, title="Made")
asked = Message.objects.create(conversation=made, role="user", text="Question")
times = dict(created_at=now, queue_until=now + timedelta(hours=1), started_at=now)
whose = dict(user=user, conversation=made, agent=agent, agent_slug="quick", message=asked)
run = Run.objects.create(**whose, **times, **{fields})
answer = Message.objects.create(conversation=made, parent=asked, role="assistant", text="Answer.", run=run)
made.leaf = asked if run.active else answer
made.save()
said = {{"id": str(asked.pk), "role": "user", "content": asked.text}}
with transaction.atomic():
    log.append(run.pk, [ev.run_started(made.thread_id, run.public_id, said), *{events}])
"""

CONVERSATION = "7f0c2c0e-1111-4222-8333-0000000000{:02d}"


def make(site: LiveSite, number: int, fields: str, events: str = "[]") -> str:
    id = CONVERSATION.format(number)
    site.shell(RUN.format(id=id, fields=fields, events=events))
    return f"/chat/{id}/"


def test_seconds_run_down_and_nothing_moves(page: Page) -> None:
    """From two digits to one; and who listens hears it once."""
    chat.open_new(page, "patient")
    page.evaluate("""
        window.spoken = [];
        const place = document.querySelector("[data-announcer]");
        const note = () => place.textContent && window.spoken.push(place.textContent);
        new MutationObserver(note).observe(place, { childList: true, characterData: true, subtree: true });
    """)
    chat.say(page, "busy?")
    line = page.locator("[data-live-text]")
    expect(line).to_have_text(re.compile(r"^Too many requests\. Trying again in 1[01]s \(attempt 2\)$"))
    width = line.bounding_box()
    expect(line).to_have_text(re.compile(r" in 8s \(attempt 2\)$"), timeout=6_000)
    assert line.bounding_box() == width
    assert len([text for text in page.evaluate("window.spoken") if "Trying again" in text]) == 1


def test_a_run_that_waits_says_when_it_goes_on(site: LiveSite, new_context: Callable[..., BrowserContext]) -> None:
    """By the reader's clock, and the same after a reload."""
    address = make(
        site,
        1,
        "dict(status='queued', not_before=now + timedelta(minutes=9), run_until=now + timedelta(hours=1))",
        "[ev.run_status(RunStatus.QUEUED, reason='waiting', seconds=540, kind='rate_limit')]",
    )
    page = new_context(viewport=PHONE, locale="en-GB", timezone_id="Asia/Shanghai").new_page()
    page.goto(address)
    line = page.locator("[data-live-text]")
    expect(line).to_have_text(re.compile(r"^Too many requests\. Goes on at \d\d?:\d\d:\d\d(\u00a0[AP]M)?$"))
    said = line.inner_text()
    page.reload()
    expect(line).to_have_text(said)


def test_the_end_says_when_a_limit_resets_by_the_readers_clock(
    site: LiveSite, new_context: Callable[..., BrowserContext]
) -> None:
    facts = "{'reset_at': '2026-03-01T14:05:00+00:00'}"
    fields = f"dict(status='failed', ended_at=now, error_kind='quota_exhausted', error_facts={facts})"
    page = new_context(viewport=PHONE, timezone_id="Asia/Shanghai").new_page()
    page.goto(make(site, 2, fields))
    expect(page.locator("[data-end-text]")).to_contain_text(re.compile(r"The limit resets at Mar 1, 2026, 10:05\sPM\."))
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") == 0


def test_a_long_title_does_not_widen_the_page(site: LiveSite, new_context: Callable[..., BrowserContext]) -> None:
    """On a phone the end of a failed answer, and its button, are in sight."""
    address = make(site, 4, "dict(status='failed', ended_at=now, error_kind='overloaded')")
    id = CONVERSATION.format(4)
    site.shell(
        f"from llmapp.models import Conversation; Conversation.objects.filter(pk='{id}').update(title='A word ' * 14)"
    )
    page = new_context(viewport=PHONE).new_page()
    page.goto(address)
    expect(page.locator("[data-end-text]")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Try again")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.querySelector('.llmapp-header').getBoundingClientRect().width") == PHONE["width"]


def test_how_much_was_summarised_stands_under_the_answer(site: LiveSite, page: Page) -> None:
    page.goto(make(site, 3, "dict(status='completed', ended_at=now, summarised=12)"))
    note = page.locator("[data-run] >> [data-summarised]")
    expect(note).to_have_text("12 earlier messages were summarised for the model; they are kept.")


@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 800}], ids=["phone", "desk"])
def test_a_request_is_looked_at_and_sent_again(new_context: Callable[..., BrowserContext], size: Any) -> None:
    page = new_context(viewport=size).new_page()
    chat.open_new(page, "refused")
    chat.say(page, "refuse this")
    chat.wait_for_end(page, "failed")
    run = page.locator("[data-run]").get_attribute("data-run")
    page.goto(f"/admin/llmapp/run/{run}/change/")
    expect(page.locator(".llmapp-attempts")).to_contain_text("SECRET of the provider")
    page.click(".llmapp-attempts >> text=Look")
    expect(page.locator("pre")).to_contain_text('"content": "refuse this"')
    expect(page.locator("form.llmapp-again")).to_contain_text("It costs what a request costs.")
    check_our_part(page)
    page.click("text=Send again")
    expect(page.locator("#llmapp-probe")).to_have_attribute("data-state", "failed", timeout=15_000)
    expect(page.locator("[data-outcome]")).to_contain_text("invalid_request")
    check_our_part(page)


def check_our_part(page: Page) -> None:
    """It fits the screen, and axe finds nothing in it; the rest of the page is Django's."""
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") == 0
    if not AXE.exists():
        assert not os.environ.get("CI"), "axe-core is needed: run `npm ci` in tests/node"
        pytest.skip("axe-core is not installed: accessibility is NOT tested; run `npm ci` in tests/node")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run('#content-main')")
    assert [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]] == []
