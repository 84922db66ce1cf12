"""The overview says what goes on now, and the pages of processes in what they differ from this one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from llmapp.models import Alarm, Conversation, WebProcess, Worker
from llmapp.runs import installed, lease

from .conftest import Site, add_run, body, queries

OVERVIEW = "/admin/llmapp/overview/"
UNFIT = [{"code": "migrations_unknown", "names": ["0099_later"]}]


def like_us(**more: Any) -> dict[str, Any]:
    return {"versions": installed.versions(), "setup": installed.setup() | more}


@pytest.fixture
def busy(site: Site) -> Site:
    """A worker with streams, a web process with sockets, and a run that waits."""
    run = add_run(site.conversation, site.agent, "in_progress", worker=site.worker)
    stream = {"run": str(run.pk), "model": "small", "age": 40.0, "silence": 33.0, "tokens": 1234}
    Worker.objects.update(open={"streams": 3, "named": [stream]}, **like_us())
    opened = {"websockets": 2, "event_streams": 1, "people": 2, "sockets": [["websocket", 50.0, 4.0]]}
    WebProcess.objects.update(open=opened, **like_us())
    waiting = Conversation.objects.create(user=site.conversation.user)
    add_run(waiting, site.agent, "queued", created_at=timezone.now() - timedelta(seconds=42))
    return site


def test_the_overview_says_what_goes_on(browser: Client, busy: Site) -> None:
    html = body(browser.get(OVERVIEW))
    for words in ("Longest wait", "longest silence", "≈ 1,234", "10 places", "2 people", "Last sweep"):
        assert words in html, words
    assert "messagelist" not in html


def test_who_is_gone_has_nothing_open(browser: Client, busy: Site) -> None:
    """Its row still says what was open in its last second."""
    pages = {"worker": "streams", "webprocess": "sockets"}
    cell = '<td class="field-{}">{}</td>'
    for model, column in pages.items():
        assert cell.format(column, "3") in body(browser.get(f"/admin/llmapp/{model}/"))
    past = timezone.now() - timedelta(minutes=5)
    Worker.objects.update(lease_until=past, heartbeat_at=past)
    WebProcess.objects.update(heartbeat_at=past)
    for model, column in pages.items():
        assert cell.format(column, "–") in body(browser.get(f"/admin/llmapp/{model}/"))


def test_one_is_not_said_in_the_plural(browser: Client, busy: Site) -> None:
    WebProcess.objects.update(open={"websockets": 1, "event_streams": 0, "people": 1, "sockets": []})
    Worker.objects.update(concurrency=1)
    html = body(browser.get(OVERVIEW))
    assert "1 person<" in html
    assert "1 place<" in html


def test_what_is_wrong_stands_on_top(browser: Client, busy: Site) -> None:
    now = timezone.now()
    facts = {"run_id": str(busy.run.pk), "reason": "silent", "seconds": 200.0}
    Alarm.objects.create(name="a", signal="run_stuck", facts=facts, since=now, seen_at=now, told_at=now)
    # seen, and not told yet
    Alarm.objects.create(name="b", signal="provider_down", since=now, seen_at=now)
    Worker.objects.update(unfit=UNFIT)
    WebProcess.objects.update(**like_us(keys=["abcdef12"]))
    html = body(browser.get(OVERVIEW))
    assert html.count('<li class="warning">') == 3
    for words in ("has written nothing for 200 s", "0099_later", "it has other encryption keys: abcdef12, here"):
        assert words in html, words
    assert f"/admin/llmapp/worker/{busy.worker.pk}/change/" in html


def test_who_may_not_see_workers_is_told_no_keys(staff: Callable[..., Client], busy: Site) -> None:
    WebProcess.objects.update(**like_us(keys=["abcdef12"]))
    html = body(staff("view_run").get(OVERVIEW))
    assert "abcdef12" not in html
    assert "Longest wait" in html


def test_the_pages_of_processes_say_in_what_they_differ(browser: Client, busy: Site) -> None:
    kinds = {"worker": busy.worker, "webprocess": busy.web}
    for kind in kinds:
        assert ">the same<" in body(browser.get(f"/admin/llmapp/{kind}/"))
    Worker.objects.update(unfit=UNFIT, **like_us(migrations={"newest": "0001_old", "known": "x"}))
    WebProcess.objects.update(**like_us(settings={}) | {"versions": {"django": "1.0"}})
    for kind, (number, words) in {
        "worker": ("2 differences", ["takes no runs", "its code knows other migrations: up to 0001_old", "0099_later"]),
        "webprocess": ("2 differences", ["other versions: django 1.0 (here", "other settings: AUTH_USER_MODEL"]),
    }.items():
        assert number in body(browser.get(f"/admin/llmapp/{kind}/"))
        html = body(browser.get(f"/admin/llmapp/{kind}/{kinds[kind].pk}/change/"))
        for said in words:
            assert said in html, said


def test_the_page_costs_the_same_however_many_processes_there_are(browser: Client, busy: Site) -> None:
    before = queries(browser, OVERVIEW)
    for _ in range(8):
        lease.register(4, installed.versions(), installed.setup())
    assert queries(browser, OVERVIEW) == before


def test_an_agent_is_told_when_it_is_slow(browser: Client, site: Site) -> None:
    """The limit is in its form, with its unit."""
    html = body(browser.get(f"/admin/llmapp/agentsettings/{site.agent.pk}/change/"))
    assert "Seconds after which an answer is reported as slow" in html
    assert 'name="slow_after"' in html
