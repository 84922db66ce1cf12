"""What runs used in all: of a run, a conversation, an agent, a user. Failed attempts that were billed count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from llmapp.admin.periods import period
from llmapp.admin.statistics import statistics, used
from llmapp.core.run_state import Trigger
from llmapp.models import Attempt, Run
from llmapp.runs import endings

from .conftest import Site, add_run, body


def ended(site: Site, *attempts: dict[str, Any]) -> Run:
    """End a run whose attempts used this."""
    run = add_run(site.conversation, site.agent, "queued", cost=None, input_tokens=None, output_tokens=None)
    made = Attempt.objects.filter(call__run=run).order_by("number")
    for row, values in zip(made, attempts, strict=True):
        Attempt.objects.filter(pk=row.pk).update(**{"input_tokens": None, "output_tokens": None, "cost": None} | values)
    endings.settle(run, Trigger.CANCEL)
    return run


BILLED = {"error_kind": "stream_interrupted", "input_tokens": 1000, "output_tokens": 200, "cost": Decimal("0.003")}
ANSWERED = {"error_kind": "", "input_tokens": 1000, "output_tokens": 500, "cost": Decimal("0.005")}
UNPRICED = {"error_kind": "timeout", "input_tokens": 1000, "output_tokens": 5, "cost": None}
NOTHING = {"error_kind": "connection", "first_token": None}


@pytest.mark.parametrize(
    "attempts, cost, output",
    [
        ((BILLED, ANSWERED), Decimal("0.008"), 700),
        ((NOTHING, ANSWERED), Decimal("0.005"), 500),
        ((UNPRICED, ANSWERED), None, 505),
        ((NOTHING, NOTHING), None, None),
    ],
    ids=["billed", "nothing used", "a price is unknown", "nothing at all"],
)
def test_a_run_adds_its_attempts_up(site: Site, attempts: Any, cost: Decimal | None, output: int | None) -> None:
    run = ended(site, *attempts)
    assert (run.cost, run.output_tokens) == (cost, output)


def test_a_failed_attempt_that_was_billed_is_in_every_total(browser: Client, site: Site) -> None:
    Run.objects.all().delete()
    ended(site, BILLED, ANSWERED)
    found = statistics(period(7))
    groups = [found.agents[0], found.users[0], found.models[0]]
    assert [group.figures.cost for group in groups] == [Decimal("0.008")] * 3
    assert found.total.cost == used(Run.objects.all()).cost == Decimal("0.008")
    for page in (f"conversation/{site.conversation.pk}", f"agentsettings/{site.agent.pk}"):
        assert "$0.008000, tokens in / out 2,000 / 700" in body(browser.get(f"/admin/llmapp/{page}/change/")), page


def test_a_sum_with_an_unknown_part_says_so(browser: Client, site: Site) -> None:
    Run.objects.all().delete()
    ended(site, BILLED, ANSWERED)
    ended(site, UNPRICED, ANSWERED)
    pages = (f"conversation/{site.conversation.pk}/change/", f"agentsettings/{site.agent.pk}/change/", "overview/")
    for page in pages:
        assert "≥ $0.008" in body(browser.get(f"/admin/llmapp/{page}")), page
    (model,) = statistics(period(7)).models
    assert (model.figures.cost, model.figures.unknown_cost) == (Decimal("0.013"), 1)


def test_where_nothing_is_known_nothing_is_said(browser: Client, site: Site) -> None:
    Run.objects.all().delete()
    page = body(browser.get(f"/admin/llmapp/agentsettings/{site.agent.pk}/change/"))
    assert '<div class="readonly">–</div>' in page


@pytest.mark.parametrize("query", ["q=ada", "agent_slug=helper", "model_name=small", "status__exact=cancelled"])
def test_a_list_of_runs_says_what_those_used(browser: Client, site: Site, query: str) -> None:
    """So there is a total of each user, whenever it was."""
    Run.objects.all().delete()
    ended(site, BILLED, ANSWERED)
    page = "/admin/llmapp/run/"
    assert "These runs used $0.008000, tokens in / out 2,000 / 700." in body(browser.get(f"{page}?{query}"))
    assert "These runs used" not in body(browser.get(page))
