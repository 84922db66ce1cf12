"""A turn asks the same of the database after a few messages and after many, and finds it by an index."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

from llmapp import submit
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.models import AgentSettings, Run
from llmapp.models.runs import ACTIVE_RUNS
from llmapp.runs import endings, hub, lease, log
from llmapp.runs.briefing import brief
from tests.support.conversations import grown
from tests.support.queries import Queries

#: What each part of a turn takes on SQLite, and on PostgreSQL, where people are held and bells rung by queries.
TURN = {
    "submit": (11, 13),
    "a socket that looks for news": (2, 2),
    "claim": (5, 6),
    "brief": (1, 1),
    "end": (13, 14),
    "a reader who comes later": (1, 1),
}


@pytest.mark.parametrize("messages", [20, 300])
def test_the_queries_of_a_turn(person: Any, scripted: Callable[..., AgentSettings], messages: int) -> None:
    agent = scripted()
    conversation, worker, asked = grown(person, agent, messages), lease.register(1, {}), Queries()
    with asked.of("submit"):
        run = submit(person, "Next.", agent=agent.slug, conversation=conversation, message_id="next").run
    with asked.of("a socket that looks for news"):
        (news,) = hub._now(conversation.pk, {run.pk: hub.Announcement("", run.pk, "", 0)})
    with asked.of("claim"):
        claim = lease.claim(run.pk, worker.pk)
    assert (news.run_pk, claim and claim.run.pk) == (run.pk, run.pk)
    assert claim
    with asked.of("brief"):
        assert len(brief(claim.run, 1).history) == messages + 1
    with asked.of("end"), transaction.atomic():
        endings.keep_answer(claim.run, str(uuid.uuid4()), "Answer.", complete=True, html="<p>Answer.</p>")
        log.append(run.pk, [endings.settle(claim.run, Trigger.COMPLETE)])
    with asked.of("a reader who comes later"):
        hub.read(run.pk, 0)
    place = ["sqlite", "postgresql"].index(connection.vendor)
    assert asked == {name: numbers[place] for name, numbers in TURN.items()}


FIRST = Run.objects.filter(parent=None).order_by()
#: What is asked of all runs, and the index that finds it.
INDEXES: dict[str, tuple[QuerySet[Run], str]] = {
    "the active run of a conversation": (
        FIRST.filter(ACTIVE_RUNS, conversation=uuid.uuid4()),
        "llmapp_run_one_active",
    ),
    "the active runs of a list": (
        FIRST.filter(ACTIVE_RUNS, conversation__in=[uuid.uuid4() for _ in range(31)]),
        "llmapp_run_active",
    ),
    "the active runs of a user": (FIRST.filter(ACTIVE_RUNS, user=1), "llmapp_run_user_active"),
    "the active runs of visitors": (FIRST.filter(ACTIVE_RUNS, visitor__isnull=False), "llmapp_run_active"),
    "the runs that workers have": (FIRST.filter(ACTIVE_RUNS, status=RunStatus.IN_PROGRESS), "llmapp_run_active"),
    "the newest run of a conversation": (
        FIRST.filter(conversation=uuid.uuid4()).order_by("-created_at")[:1],
        "llmapp_run_of_conversation",
    ),
    "the runs of a run": (Run.objects.filter(parent=uuid.uuid4()), "llmapp_run_parent"),
}


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is stored")
@pytest.mark.parametrize("question", INDEXES)
def test_the_index_of_a_question(question: str) -> None:
    """SQLite takes a partial index only for its very condition, and thinks that what has no parent is rare."""
    rows, index = INDEXES[question]
    assert f"INDEX {index} (" in rows.explain()
