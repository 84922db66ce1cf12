"""A site with one of everything, and people with different rights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmapp import tokens, versions
from llmapp.models import (
    AgentSettings,
    ApiToken,
    Attempt,
    Call,
    Conversation,
    Credential,
    LanguageModel,
    Message,
    Provider,
    Run,
    RunEvent,
    Turn,
    WebProcess,
    Worker,
)

#: What must never be seen again once it was typed.
CANARY = "sk-canary-4b1d9e7f-NEVER-SHOWN"

#: What somebody wrote, which only those who may read it see.
SECRET = "my salary is 123456"


@dataclass
class Site:
    """One of everything."""

    provider: Provider
    model: LanguageModel
    other_model: LanguageModel
    agent: AgentSettings
    conversation: Conversation
    run: Run
    worker: Worker
    web: WebProcess
    token: ApiToken


@pytest.fixture
def boss(db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_superuser("boss", "boss@example.org")


@pytest.fixture
def browser(boss: Any) -> Client:
    """An administrator who may do everything."""
    client = Client()
    client.force_login(boss)
    return client


@pytest.fixture
def staff(db: None, django_user_model: Any) -> Callable[..., Client]:
    """Make a client of somebody on the staff with these permissions of the app."""

    def make(*codenames: str, name: str = "clerk") -> Client:
        user = django_user_model.objects.create_user(name, is_staff=True)
        granted = Permission.objects.filter(content_type__app_label="llmapp", codename__in=codenames)
        assert granted.count() == len(codenames)
        user.user_permissions.set(granted)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def site(boss: Any, django_user_model: Any) -> Site:
    provider = Provider.objects.create(name="local", backend="openai_compatible", base_url="https://api.example.com/v1")
    add_key(provider, CANARY)
    model = LanguageModel.objects.create(
        name="small", provider=provider, model="gpt-small", input_price=Decimal("0.15"), output_price=Decimal("0.6")
    )
    other_model = LanguageModel.objects.create(name="big", provider=provider, model="gpt-big")
    agent = AgentSettings.objects.create(slug="helper", model=model, fallbacks=["big"], instructions="Be kind.")
    versions.record(agent, boss)
    user = django_user_model.objects.create_user("ada")
    conversation = Conversation.objects.create(user=user, title=SECRET, agent=agent)
    run = add_run(conversation, agent)
    now = timezone.now()
    worker = Worker.objects.create(
        hostname="box",
        pid=7,
        concurrency=10,
        versions={"llmapp": "1.0", "process": "x"},
        started_at=now,
        heartbeat_at=now,
        lease_until=now + timedelta(seconds=60),
    )
    web = WebProcess.objects.create(
        hostname="box", pid=8, versions={"llmapp": "1.0"}, started_at=now, heartbeat_at=now + timedelta(seconds=60)
    )
    tokens.issue(user)
    return Site(provider, model, other_model, agent, conversation, run, worker, web, ApiToken.objects.get())


def add_key(provider: Provider, key: str) -> Credential:
    credential = Credential(provider=provider)
    credential.set_secrets({"api_key": key})
    credential.save()
    return credential


def add_run(conversation: Conversation, agent: AgentSettings, status: str = "failed", **fields: Any) -> Run:
    """Store a run as if it had taken place: one call with two attempts, and a log."""
    now = timezone.now()
    message = Message.objects.create(conversation=conversation, role="user", text=SECRET)
    active = status in ("queued", "in_progress")
    values: dict[str, Any] = {
        "agent_slug": agent.slug,
        "error_kind": "overloaded" if status == "failed" else "",
        "attempts_used": 2,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost": Decimal("0.001234"),
        "model_name": "small",
        "created_at": now,
        "queue_until": now,
        "started_at": None if status == "queued" else now,
        "ended_at": None if active else now + timedelta(seconds=2),
    }
    run = Run.objects.create(
        user=conversation.user,
        conversation=conversation,
        agent=agent,
        message=message,
        status=status,
        **(values | fields),
    )
    RunEvent.objects.create(run=run, seq=1, data=f'{{"type": "RUN_STARTED", "text": "{SECRET}"}}', created_at=now)
    turn = Turn.objects.create(run=run, number=1, started_at=now, ended_at=now, error_kind=run.error_kind)
    call = Call.objects.create(run=run, turn=turn, started_at=now, ended_at=now)
    for number, kind in [(1, "rate_limit"), (2, run.error_kind)]:
        Attempt.objects.create(
            call=call,
            number=number,
            model=agent.model,
            model_name="small",
            request={"model": "gpt-small", "messages": [{"path": str(message.pk), "count": 1}]},
            started_at=now,
            ended_at=now + timedelta(seconds=1),
            waited=1.5 if kind == "rate_limit" else None,
            first_token=0.25 * number,
            status_code=429 if kind else 200,
            error_kind=kind,
            error_detail="slow down, please" if kind else "",
            action="Wait" if kind == "rate_limit" else "",
            credential=agent.model.provider.credentials.first(),
            input_tokens=50,
            output_tokens=10,
            cost=Decimal("0.000617"),
        )
    return run


def queries(client: Client, path: str) -> int:
    """Return how many queries a page takes."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def body(response: Any) -> str:
    return str(response.content.decode())
