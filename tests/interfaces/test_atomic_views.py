"""Views of a site with ATOMIC_REQUESTS that ask and wait: each is a transaction, unless it says otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from llmapp import CannotWait, WaitTimeout, submit, wait
from llmapp.models import Run

pytestmark = [pytest.mark.usefixtures("agent"), pytest.mark.urls(__name__)]


def ask(request: HttpRequest) -> HttpResponse:
    submission = submit(request.user, "Hi")
    try:
        wait(submission, timeout=0.2)
    except WaitTimeout as late:
        return HttpResponse(late.run.status)
    raise AssertionError("nobody carries it out")


@transaction.non_atomic_requests
def ask_outside(request: HttpRequest) -> HttpResponse:
    return ask(request)


def only_submit(request: HttpRequest) -> HttpResponse:
    return HttpResponse(submit(request.user, "Hi").run.status)


urlpatterns = [
    path("atomic/", ask),
    path("own/", ask_outside),
    path("submit/", only_submit),
]


@pytest.fixture
def client(person: Any, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    client = Client()
    client.force_login(person)
    return client


def test_a_view_that_is_a_transaction_cannot_wait_and_leaves_nothing(client: Client, enqueued: list[Any]) -> None:
    with pytest.raises(CannotWait, match="non_atomic_requests"):
        client.get("/atomic/")
    assert not Run.objects.exists()
    assert enqueued == []


def test_a_view_without_one_can(client: Client, enqueued: list[Any]) -> None:
    assert client.get("/own/").content == b"queued"
    assert len(enqueued) == 1


def test_what_a_view_submits_begins_when_it_is_over(client: Client, enqueued: list[Any]) -> None:
    assert client.get("/submit/").content == b"queued"
    assert enqueued == [Run.objects.get().pk]
