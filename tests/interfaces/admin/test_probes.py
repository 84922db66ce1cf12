"""The buttons "Test connection" and "Check this model", and the page that follows what comes of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from llmapp.models import Probe, Worker
from llmapp.runs import probe
from llmapp.runs.probe import Stage

from .conftest import Site, body

#: Which admin, and what of `site` is probed.
SUBJECTS = [("provider", "provider"), ("languagemodel", "model")]


@pytest.fixture(autouse=True)
def handed(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Take the place of the broker."""
    taken: list[uuid.UUID] = []
    monkeypatch.setattr(probe, "enqueue", taken.append)
    return taken


def base(site: Site, kind: str, name: str) -> str:
    return f"/admin/llmapp/{kind}/{getattr(site, name).pk}"


@pytest.mark.parametrize("kind, name", SUBJECTS)
def test_a_press_hands_it_to_a_worker_and_leads_to_its_page(
    browser: Client,
    site: Site,
    boss: Any,
    handed: list[uuid.UUID],
    django_capture_on_commit_callbacks: Any,
    kind: str,
    name: str,
) -> None:
    page = base(site, kind, name)
    assert f'action="{page}/probe/"' in body(browser.get(f"{page}/change/"))
    with django_capture_on_commit_callbacks(execute=True):
        response = browser.post(f"{page}/probe/")
    row = Probe.objects.get()
    assert response.url == f"{page}/probe/{row.pk}/"
    assert handed == [row.pk]
    assert (row.asked_by, row.provider, row.model) == (boss, site.provider, site.model if name == "model" else None)
    html = body(browser.get(response.url))
    assert f'data-url="{page}/probe/{row.pk}/state/"' in html
    assert "Waiting for a worker" in html


@pytest.mark.parametrize("kind, name", SUBJECTS)
def test_who_may_press_and_who_may_look(staff: Callable[..., Client], site: Site, kind: str, name: str) -> None:
    page = base(site, kind, name)
    viewer, changer, other = (
        staff(f"{right}_{kind}" if right else "view_run", name=right or "other") for right in ("view", "change", "")
    )
    assert viewer.post(f"{page}/probe/").status_code == 403
    assert f"{page}/probe/" not in body(viewer.get(f"{page}/change/"))
    assert changer.get(f"{page}/probe/").status_code == 405
    url = changer.post(f"{page}/probe/").url
    for path in (url, f"{url}state/"):
        assert viewer.get(path).status_code == 200
        assert other.get(path).status_code == 403
        assert Client().get(path).status_code == 302
    assert "Test again" not in body(viewer.get(url))


def test_a_probe_is_found_at_its_own_subject_only(browser: Client, site: Site) -> None:
    url = browser.post(f"{base(site, 'provider', 'provider')}/probe/").url
    id = Probe.objects.get().pk
    assert browser.get(url).status_code == 200
    others = [base(site, "languagemodel", "model"), base(site, "languagemodel", "other_model")]
    for path in [*others, "/admin/llmapp/provider/999"]:
        assert browser.get(f"{path}/probe/{id}/").status_code == 404


def state(browser: Client, site: Site) -> dict[str, Any]:
    response = browser.get(f"{base(site, 'provider', 'provider')}/probe/{Probe.objects.get().pk}/state/")
    assert "no-store" in response["Cache-Control"]
    answer: dict[str, Any] = response.json()
    return answer


def test_the_state_is_in_words(browser: Client, site: Site) -> None:
    browser.post(f"{base(site, 'provider', 'provider')}/probe/")
    id = Probe.objects.get().pk
    Probe.objects.update(started_at=timezone.now())
    values = {"host": "api.example.com", "port": 443}
    stages = [Stage("resolve", "ok", "addresses", {"host": "a", "addresses": "1.2.3.4"}, seconds=0.012)]
    probe.write(id, [*stages, Stage("connect")])
    found = state(browser, site)
    assert (found["state"], found["message"]) == ("going_on", "Being tested …")
    assert [(s["title"], s["word"], s["took"]) for s in found["stages"]] == [
        ("Name resolved", "ok", "0.01 s"),
        ("Connected", "…", ""),
    ]
    probe.finish(id, False, [*stages, Stage("connect", "failed", "port_closed", values, "<b>refused</b>", 0.5)])
    found = state(browser, site)
    assert found["state"] == "failed"
    assert found["message"].startswith("api.example.com is there, but nothing listens on port 443")
    html = body(browser.get(f"{base(site, 'provider', 'provider')}/probe/{id}/"))
    assert "&lt;b&gt;refused&lt;/b&gt;" in html
    assert "failed" in body(browser.get("/admin/llmapp/provider/"))
    assert f"/probe/{id}/" in body(browser.get(f"{base(site, 'provider', 'provider')}/change/"))


def test_no_worker_is_said_after_five_seconds_with_the_command(browser: Client, site: Site) -> None:
    browser.post(f"{base(site, 'provider', 'provider')}/probe/")
    assert state(browser, site)["message"] == "Waiting for a worker …"
    Probe.objects.update(created_at=timezone.now() - timedelta(seconds=5.1))
    assert "it is busy, or it does not listen" in state(browser, site)["message"]
    Worker.objects.update(stopped_at=timezone.now())
    found = state(browser, site)
    assert found["message"].endswith("celery -A project worker -Q llmapp -P threads")
    assert found["state"] == "going_on"  # one may be started any moment


def test_a_test_whose_worker_has_gone_is_over(browser: Client, site: Site) -> None:
    browser.post(f"{base(site, 'provider', 'provider')}/probe/")
    Probe.objects.update(started_at=timezone.now() - timedelta(seconds=probe.LIMIT + probe.GRACE + 1))
    assert state(browser, site)["state"] == "failed"
    assert "has gone" in state(browser, site)["message"]


def test_what_a_check_found_is_on_the_page_of_the_model(browser: Client, site: Site) -> None:
    site.model.capabilities = {
        "checked_at": "2026-01-01T00:00:00+00:00",
        "features": {"tools": "refused", "of_1999": "?"},
    }
    site.model.save()
    html = body(browser.get(f"{base(site, 'languagemodel', 'model')}/change/"))
    assert "not supported</span> Tools" in html
    assert "of_1999" in html
    assert "Not known yet" in body(browser.get(f"{base(site, 'languagemodel', 'other_model')}/change/"))
