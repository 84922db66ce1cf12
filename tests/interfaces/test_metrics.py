"""`/metrics`: the whole site's figures as Prometheus reads them, for staff and for holders of a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from llmapp import submit
from llmapp.api.bridge import in_thread
from llmapp.models import Alarm, Attempt, Run
from llmapp.runs import lease
from llmapp.views import metrics

pytestmark = pytest.mark.usefixtures("transactional_db")


async def read(client: AsyncClient, **headers: str) -> dict[tuple[str, ...], float]:
    """Return the samples: by their name and the values of their labels, in the order of these."""
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(response.content.decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def test_who_may_read_them(client: AsyncClient, person: Any, token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await client.get("/metrics")).status_code == 200
    assert (await AsyncClient().get("/metrics/", headers=bearer)).status_code == 200
    assert (await AsyncClient().get("/metrics")).status_code == 401
    assert (await AsyncClient().get("/metrics", headers={"Authorization": "Bearer x"})).status_code == 401
    await type(person).objects.filter(pk=person.pk).aupdate(is_staff=False)
    assert (await client.get("/metrics")).status_code == 403


SPENT = [("llmapp_cost_usd_5m",), ("llmapp_tokens_5m", "input"), ("llmapp_tokens_5m", "output")]


async def test_what_is_spent_is_for_staff(
    client: AsyncClient, person: Any, token: str, agent: Any, execute: Any
) -> None:
    """A token reads as much as its person may."""
    await execute((await in_thread(submit, person, "Hi")).run)
    await Run.objects.aupdate(cost="0.5", input_tokens=7, output_tokens=5)
    bearer = {"Authorization": f"Bearer {token}"}
    for found in (await read(client), await read(AsyncClient(), **bearer)):
        assert [found[name] for name in SPENT] == [0.5, 7, 5]
    await type(person).objects.filter(pk=person.pk).aupdate(is_staff=False)
    found = await read(AsyncClient(), **bearer)
    assert found["llmapp_runs_ended_5m", "completed"] == 1
    assert found.keys().isdisjoint(SPENT)


async def test_without_the_extra_it_says_so(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CONTENT_TYPE_LATEST", "")
    response = await client.get("/metrics")
    assert (response.status_code, response.content.decode()) == (404, metrics.MISSING)


async def test_what_is_not_known_is_not_there(client: AsyncClient) -> None:
    found = await read(client)
    names = {name for name, *_labels in found}
    assert {"llmapp_queue_lag_seconds", "llmapp_oldest_lease_seconds", "llmapp_cost_usd_5m"}.isdisjoint(names)
    assert found["llmapp_runs", "queued"] == found["llmapp_provider_streams",] == 0


async def test_the_figures_are_those_of_the_database(
    client: AsyncClient, person: Any, agent: Any, execute: Any
) -> None:
    run = await execute((await in_thread(submit, person, "Hi")).run)
    await in_thread(submit, person, "And now?")
    await in_thread(lease.register, 4, {}, {}, [{"code": "keys", "names": []}])
    old = timezone.now() - timedelta(minutes=10)
    await Alarm.objects.acreate(name="a", signal="run_stuck", since=old, seen_at=old, told_at=old)
    await Alarm.objects.acreate(name="b", signal="provider_down", since=old, seen_at=old)
    found = await read(client)
    assert found["llmapp_runs", "queued"] == 1
    assert found["llmapp_queue_lag_seconds",] < 30
    assert (found["llmapp_workers", "taking_runs"], found["llmapp_workers", "unfit"]) == (1, 1)
    assert (found["llmapp_runs_ended_5m", "completed"], found["llmapp_runs_ended_5m", "failed"]) == (1, 0)
    assert found["llmapp_attempts_5m", "", "actor"] == 1
    assert found["llmapp_tokens_5m", "output"] == run.output_tokens
    assert found["llmapp_first_token_seconds_5m", "0.95"] > 0
    assert found["llmapp_alarms", "run_stuck"] == 1
    assert ("llmapp_alarms", "provider_down") not in found
    await Run.objects.filter(pk=run.pk).aupdate(created_at=old, ended_at=old)
    await Attempt.objects.aupdate(started_at=old)
    found = await read(client)
    assert found["llmapp_runs_ended_5m", "completed"] == 0
    assert ("llmapp_attempts_5m", "", "actor") not in found
