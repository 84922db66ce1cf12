"""What can be done to runs, conversations and tokens, and that whoever reads leaves a trace."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from llmapp.admin.workers import standing
from llmapp.core import run_state
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.models import ApiToken, Attempt, Conversation, Message, Run, RunEvent, Worker

from .conftest import SECRET, Site, add_run, body

# --- runs ------------------------------------------------------------------------------------


def stop_path(run: Run) -> str:
    return f"/admin/llmapp/run/{run.pk}/stop/"


@pytest.mark.parametrize("status", sorted(RunStatus))
def test_a_run_can_be_stopped_where_the_table_says_so(browser: Client, site: Site, status: RunStatus) -> None:
    held = {"worker": site.worker} if status == RunStatus.IN_PROGRESS else {}
    run = add_run(Conversation.objects.create(user=site.conversation.user), site.agent, status, **held)
    shown = stop_path(run) in body(browser.get(f"/admin/llmapp/run/{run.pk}/change/"))
    assert shown == run_state.allowed(status, Trigger.CANCEL)


def test_stop_ends_a_queued_run_and_asks_a_worker_for_the_other(browser: Client, site: Site) -> None:
    queued = add_run(Conversation.objects.create(user=site.conversation.user), site.agent, "queued")
    assert "The run is being stopped." in body(browser.post(stop_path(queued), follow=True))
    queued.refresh_from_db()
    assert queued.status == "cancelled"
    held = add_run(
        Conversation.objects.create(user=site.conversation.user), site.agent, "in_progress", worker=site.worker
    )
    page = body(browser.post(stop_path(held), follow=True))
    held.refresh_from_db()
    assert held.stop_requested_at is not None
    assert "is being stopped" in page
    assert "has ended, or is being stopped already" in body(browser.post(stop_path(held), follow=True))
    assert LogEntry.objects.filter(change_message__contains="Asked to stop").count() == 2


def test_to_stop_takes_the_right_to_change_and_a_post(staff: Callable[..., Client], site: Site) -> None:
    run = add_run(Conversation.objects.create(user=site.conversation.user), site.agent, "queued")
    viewer = staff("view_run")
    assert viewer.post(stop_path(run)).status_code == 403
    assert stop_path(run) not in body(viewer.get(f"/admin/llmapp/run/{run.pk}/change/"))
    changer = staff("view_run", "change_run", name="changer")
    assert changer.get(stop_path(run)).status_code == 405
    run.refresh_from_db()
    assert run.status == "queued"
    assert changer.post(stop_path(run)).status_code == 302


def test_the_page_of_a_run_tells_its_attempts(browser: Client, site: Site) -> None:
    html = body(browser.get(f"/admin/llmapp/run/{site.run.pk}/change/"))
    for said in ["rate_limit", "overloaded", "slow down, please", "Wait", "0.25 s", "50 / 10", "$0.000617", "429"]:
        assert said in html, said
    assert "The model&#x27;s provider is overloaded. Try again in a minute." in html


def test_what_we_saw_ourselves_is_not_called_the_providers_words(browser: Client, site: Site) -> None:
    path = f"/admin/llmapp/run/{site.run.pk}/change/"
    assert "The provider's words: slow down, please" in unescape(body(browser.get(path)))
    Attempt.objects.update(error_kind="stream_interrupted", error_detail="it ended too early")
    text = unescape(body(browser.get(path)))
    assert "What was noticed: it ended too early" in text
    assert "The provider's words" not in text


@pytest.mark.parametrize("method", ["post", "get"])
def test_runs_are_not_added_changed_or_deleted(browser: Client, site: Site, method: str) -> None:
    for path in ["add/", f"{site.run.pk}/delete/"]:
        assert getattr(browser, method)(f"/admin/llmapp/run/{path}").status_code == 403
    assert browser.post(f"/admin/llmapp/run/{site.run.pk}/change/", {"status": "completed"}).status_code == 403


# --- reading ---------------------------------------------------------------------------------

READINGS = [
    "/admin/llmapp/conversation/{c}/content/",
    "/admin/llmapp/run/{r}/log/",
    "/admin/llmapp/run/{r}/attempts/{a}/request/",
]


def first_attempt(site: Site) -> int:
    return Attempt.objects.filter(call__run=site.run).order_by("number").values_list("pk", flat=True)[0]


@pytest.mark.parametrize("page", READINGS)
def test_each_reading_is_written_down(
    browser: Client, site: Site, boss: Any, caplog: pytest.LogCaptureFixture, page: str
) -> None:
    caplog.set_level(logging.INFO, "llmapp.access")
    path = page.format(c=site.conversation.pk, r=site.run.pk, a=first_attempt(site))
    for times in (1, 2):
        assert SECRET in body(browser.get(path))
        entries = list(LogEntry.objects.all())
        assert [entry.user_id for entry in entries] == [boss.pk] * times
        assert entries[0].change_message == "Read the content."
        assert SECRET not in str(vars(entries[0]))
    records: list[Any] = [record for record in caplog.records if record.name == "llmapp.access"]
    assert [(record.action, record.reader) for record in records] == [("content_read", str(boss.pk))] * 2
    assert SECRET not in caplog.text
    assert "Read the content." in body(browser.get(re.sub("/(content|log|attempts/.*)/", "/history/", path)))


@pytest.mark.parametrize("page", READINGS)
def test_who_may_not_read_leaves_no_trace(staff: Callable[..., Client], site: Site, page: str) -> None:
    client = staff("view_conversation", "view_run")
    assert client.get(page.format(c=site.conversation.pk, r=site.run.pk, a=first_attempt(site))).status_code == 403
    assert not LogEntry.objects.exists()


def test_what_was_said_is_text_and_never_markup(browser: Client, site: Site) -> None:
    Message.objects.create(
        conversation=site.conversation, role="assistant", text="<script>alert(1)</script>", html="<b>x</b>"
    )
    RunEvent.objects.create(run=site.run, seq=2, data='{"delta": "<img src=x>"}', created_at=timezone.now())
    content = body(browser.get(f"/admin/llmapp/conversation/{site.conversation.pk}/content/"))
    log = body(browser.get(f"/admin/llmapp/run/{site.run.pk}/log/"))
    assert "<script>alert" not in content
    assert "&lt;script&gt;alert(1)" in content
    assert "<img src=x>" not in log


def test_a_long_log_comes_in_pages(browser: Client, site: Site) -> None:
    now = timezone.now()
    RunEvent.objects.bulk_create(
        RunEvent(run=site.run, seq=seq, data=f"event {seq};", created_at=now) for seq in range(2, 402)
    )
    path = f"/admin/llmapp/run/{site.run.pk}/log/"
    assert "event 200;" in body(browser.get(path))
    assert "event 201;" not in body(browser.get(path))
    assert "event 401;" in body(browser.get(path + "?p=3"))
    assert "event 401;" in body(browser.get(path + "?p=999"))


# --- deleting conversations --------------------------------------------------------------------


@pytest.mark.parametrize("by_action", [False, True])
def test_a_conversation_is_deleted_with_all_that_is_in_it(browser: Client, site: Site, by_action: bool) -> None:
    id = site.conversation.pk
    if by_action:
        data = {"action": "delete_selected", "_selected_action": [str(id)], "post": "yes"}
        pages = [body(browser.post("/admin/llmapp/conversation/", {**data, "post": ""}))]
        pages.append(body(browser.post("/admin/llmapp/conversation/", data, follow=True)))
    else:
        path = f"/admin/llmapp/conversation/{id}/delete/"
        pages = [body(browser.get(path)), body(browser.post(path, {"post": "yes"}, follow=True))]
    assert not Conversation.objects.exists()
    assert (Run.objects.count(), Message.objects.count(), RunEvent.objects.count()) == (0, 0, 0)
    assert SECRET not in "".join(pages) + str(list(LogEntry.objects.values()))
    assert str(id) in pages[0]


def test_to_delete_takes_the_right(staff: Callable[..., Client], site: Site) -> None:
    client = staff("view_conversation")
    path = f"/admin/llmapp/conversation/{site.conversation.pk}/delete/"
    assert client.post(path, {"post": "yes"}).status_code == 403
    assert staff("delete_conversation", "view_conversation", name="b").post(path, {"post": "yes"}).status_code == 302


# --- tokens and workers ------------------------------------------------------------------------


def revoke(client: Client, site: Site) -> Any:
    data = {"action": "revoke", "_selected_action": [site.token.pk]}
    return client.post("/admin/llmapp/apitoken/", data, follow=True)


def test_a_token_is_revoked_once_and_for_good(browser: Client, site: Site) -> None:
    assert "1 token is revoked." in body(revoke(browser, site))
    first = ApiToken.objects.get().revoked_at
    assert first is not None
    assert "0 tokens are revoked." in body(revoke(browser, site))
    assert ApiToken.objects.get().revoked_at == first
    assert LogEntry.objects.count() == 1


def test_to_revoke_takes_the_right_to_change(staff: Callable[..., Client], site: Site) -> None:
    revoke(staff("view_apitoken"), site)
    assert ApiToken.objects.get().revoked_at is None
    revoke(staff("view_apitoken", "change_apitoken", name="b"), site)
    assert ApiToken.objects.get().revoked_at is not None


def test_no_page_shows_what_a_token_is_found_by(browser: Client, site: Site) -> None:
    for path in ["", f"{site.token.pk}/change/"]:
        html = body(browser.get(f"/admin/llmapp/apitoken/{path}"))
        assert site.token.digest not in html
        assert f"…{site.token.hint}" in html


NOW = timezone.now()


@pytest.mark.parametrize(
    "fields, word",
    [
        ({"lease_until": NOW + timedelta(seconds=1)}, "alive"),
        ({"lease_until": NOW}, "gone"),
        ({"lease_until": NOW + timedelta(seconds=1), "revoked_at": NOW}, "gone"),
        ({"lease_until": NOW, "revoked_at": NOW, "stopped_at": NOW}, "stopped"),
    ],
)
def test_how_a_worker_stands(fields: dict[str, Any], word: str) -> None:
    assert standing(Worker(**fields), NOW)[1] == word


def test_the_list_of_workers_tells_age_versions_and_runs(browser: Client, site: Site) -> None:
    Worker.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=60))
    add_run(Conversation.objects.create(user=site.conversation.user), site.agent, "in_progress", worker=site.worker)
    html = body(browser.get("/admin/llmapp/worker/"))
    for said in ["box:7", "alive", "60 s ago", "1 of 10", "1.0"]:
        assert said in html, said
    assert "process" not in body(browser.get(f"/admin/llmapp/worker/{site.worker.pk}/change/")).split("Versions:")[1]
