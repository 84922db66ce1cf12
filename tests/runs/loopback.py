"""Agents whose models are served by the provider on loopback, and what runs of them came to."""

from __future__ import annotations

from typing import Any

from llmapp import submit
from llmapp.models import AgentSettings, Attempt, Conversation, LanguageModel, Run
from llmapp.models import Provider as ProviderRow
from tests.support.models import add_key
from tests.support.provider import Provider, Received

BACKENDS = ("openai_compatible", "litellm")
KEY = "sk-of-the-loopback-0123456789"


class Loopback:
    """`server` is the provider itself, `row` what the site knows of it."""

    def __init__(self, server: Provider) -> None:
        self.server = server
        self.row: ProviderRow

    def agent(
        self,
        *models: str,
        backend: str = "openai_compatible",
        keys: tuple[str, ...] = (KEY,),
        timeouts: dict[str, float] | None = None,
        of_model: dict[str, Any] | None = None,
        **fields: Any,
    ) -> AgentSettings:
        """Make an agent with these models, the first its own and the others its fallbacks."""
        given = {"first_token": 20, "idle": 10} if timeouts is None else timeouts
        row = ProviderRow.objects.create(name="loopback", backend=backend, base_url=self.server.url, timeouts=given)
        self.row = row
        for position, key in enumerate(keys):
            add_key(row, key, position)
        first, *others = [self.model(name, row, **(of_model or {})) for name in models or ("main",)]
        fallbacks = [model.name for model in others]
        return AgentSettings.objects.create(slug="a", model=first, **{"fallbacks": fallbacks} | fields)

    def model(self, name: str, provider: ProviderRow, **fields: Any) -> LanguageModel:
        theirs = f"openai/{name}" if provider.backend == "litellm" else name
        return LanguageModel.objects.create(name=name, provider=provider, model=theirs, **fields)

    def run(self, person: Any, process: Any, text: str = "Hi", conversation: Conversation | None = None) -> Run:
        """Send a message, and carry its run out."""
        run = submit(person, text, conversation=conversation).run
        process.execute(run.pk)
        run.refresh_from_db()
        return run

    def asked(self, *, since: int = 0) -> list[tuple[str, str]]:
        """Return which models were asked, each with which key."""
        return [(model_of(r), key_of(r)) for r in self.server.requests[since:]]

    @property
    def models_asked(self) -> list[str]:
        return [model_of(request) for request in self.server.requests]


def model_of(request: Received) -> str:
    return str(request.body["model"])


def key_of(request: Received) -> str:
    return request.headers["authorization"].removeprefix("Bearer ")


def actions_of(run: Run) -> list[str]:
    """Return what was done about each failed attempt."""
    attempts = Attempt.objects.filter(call__run=run).exclude(action="").order_by("number")
    return list(attempts.values_list("action", flat=True))
