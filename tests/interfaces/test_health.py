"""Health: alive without any IO, ready when a run could be served, and details only for those who may see them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path

from llmapp.api import brokers, errors
from llmapp.api.bridge import in_thread
from llmapp.runs import hub as hubs
from llmapp.runs import lease, queue
from llmapp.views import health
from llmapp.views.away import away_page

pytestmark = pytest.mark.usefixtures("hub")


def checks(response: Any) -> dict[str, Any]:
    """Return what decides about the status: the rest are figures."""
    return {name: value for name, value in json.loads(response.content).items() if name != "now"}


async def test_alive_without_any_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a visitor with a session, and while the database is away: pytest-django refuses any query here."""
    client = AsyncClient()
    client.cookies["sessionid"] = "x" * 32
    response = await client.get("/health/live")
    assert (response.status_code, response.content) == (200, b"")


async def test_ready_when_everything_is_there(transactional_db: None) -> None:
    assert (await AsyncClient().get("/health/ready")).status_code == 503
    await in_thread(lease.register, 1, {})
    response = await AsyncClient().get("/health/ready")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


async def test_details_are_for_staff_and_tokens(client: AsyncClient, person: Any, token: str) -> None:
    expected = {"database": True, "broker": True, "bell": True, "worker": False}
    by_token = await AsyncClient().get("/health/ready", headers={"Authorization": f"Bearer {token}"})
    for response in [await client.get("/health/ready"), by_token]:
        assert (response.status_code, checks(response)) == (503, expected)
    await type(person).objects.filter(pk=person.pk).aupdate(is_staff=False)
    wrong = await AsyncClient().get("/health/ready", headers={"Authorization": "Bearer x"})
    for response in [await client.get("/health/ready"), wrong]:
        assert (response.status_code, response.content) == (503, b"")


async def test_the_figures_change_nothing_of_the_status(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await in_thread(lease.register, 4, {})
    response = await client.get("/health/ready")
    assert response.status_code == 200
    figures = json.loads(response.content)["now"]
    assert (figures["workers_taking_runs"], figures["places"], figures["queue_lag_seconds"]) == (1, 4, None)

    def fail() -> None:
        raise OperationalError("a query took too long")

    monkeypatch.setattr(health.now, "look", fail)
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert "now" not in json.loads(response.content)


async def test_a_worker_that_takes_no_runs_is_none(client: AsyncClient) -> None:
    await in_thread(lease.register, 4, {}, {}, [{"code": "keys", "names": []}])
    response = await client.get("/health/ready")
    assert (response.status_code, checks(response)["worker"]) == (503, False)
    assert json.loads(response.content)["now"]["workers_unfit"] == 1


async def test_not_ready_without_the_database(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer all the same, and without details: nobody can be known."""

    def away() -> bool:
        raise OperationalError("the database is away")

    monkeypatch.setattr(health, "_database_answers", away)
    response = await client.get("/health/ready")
    assert (response.status_code, response.content) == (503, b"")


async def test_not_ready_when_the_bell_is_silent(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: hubs.Hub) -> bool:
        return False

    await in_thread(lease.register, 1, {})
    monkeypatch.setattr(hubs.Hub, "bell_works", silent)
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert checks(response) == {"database": True, "broker": True, "bell": False, "worker": True}


async def test_a_check_that_hangs_has_failed(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: hubs.Hub) -> bool:
        await asyncio.sleep(60)
        return True

    monkeypatch.setattr(health, "PATIENCE", 0.5)
    monkeypatch.setattr(hubs.Hub, "bell_works", hang)
    async with asyncio.timeout(5):
        assert (await client.get("/health/ready")).status_code == 503


async def _page(request: HttpRequest) -> HttpResponse:
    return away_page()


async def _api(request: HttpRequest) -> HttpResponse:
    return errors.unavailable().response()


async def _fault(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=503)


urlpatterns = [path("page", _page), path("api", _api), path("ready", health.ready), path("fault", _fault)]


@pytest.mark.parametrize("address, lines", [("page", 0), ("api", 0), ("ready", 0), ("fault", 1)])
async def test_a_server_that_is_away_is_not_an_error_in_the_log_for_each_request(
    client: AsyncClient, settings: Any, caplog: pytest.LogCaptureFixture, address: str, lines: int
) -> None:
    """Django would mail each to the site's admins. `llmapp.away` says it once."""
    settings.ROOT_URLCONF = __name__
    with caplog.at_level(logging.ERROR, "django.request"):
        assert (await client.get(f"/{address}")).status_code == 503
    assert len([record for record in caplog.records if record.name == "django.request"]) == lines


async def test_a_broker_that_fails_when_nobody_waits_any_more_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))

    def hang() -> None:
        time.sleep(0.2)
        raise OSError("timed out")

    monkeypatch.setattr(queue, "reach", hang)
    monkeypatch.setattr(brokers, "PATIENCE", 0.05)
    watch = brokers.BrokerWatch()
    assert not await watch.answers()
    await asyncio.sleep(0.3)
    del watch
    gc.collect()
    assert said == []
