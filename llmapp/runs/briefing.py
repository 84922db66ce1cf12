"""Reads what a run needs to know before it starts: its agent, the models, the conversation so far."""

from __future__ import annotations

from dataclasses import dataclass

from llmapp.agents.definition import AgentSpec
from llmapp.backends.base import Endpoint
from llmapp.calls.base import ModelSpec
from llmapp.conf import app_settings
from llmapp.core.errors import CallFailed, ErrorKind, Failure
from llmapp.core.messages import ChatMessage
from llmapp.models import AgentSettings, LanguageModel, Provider, Run

from . import thread


@dataclass(frozen=True, slots=True)
class Briefing:
    agent: AgentSpec
    history: tuple[ChatMessage, ...]


def brief(run: Run, concurrency: int) -> Briefing:
    """Read the rows. Raises `CallFailed` when the agent or its model is gone or switched off.

    `concurrency` is how many runs this process may have at once: the size of connection pools.
    """
    if run.agent is None or not run.agent.enabled:
        raise _missing(f"agent {run.agent_slug!r} is gone or disabled")
    return Briefing(_agent(run.agent, concurrency), thread.history(run.message_id))


def _agent(agent: AgentSettings, concurrency: int) -> AgentSpec:
    known = {agent.model.name: agent.model}
    if agent.fallbacks:
        rows = LanguageModel.objects.select_related("provider").filter(name__in=agent.fallbacks)
        known = {**{model.name: model for model in rows}, **known}
    names = [name for name in dict.fromkeys([agent.model.name, *agent.fallbacks]) if name in known]
    chain = [known[name] for name in names if known[name].enabled and known[name].provider.enabled]
    if not chain:
        raise _missing(f"model {agent.model.name!r} is disabled, and so are its fallbacks")
    return AgentSpec(
        slug=agent.slug,
        models=tuple(model_of(model, concurrency) for model in chain),
        instructions=agent.instructions,
        settings=agent.settings,
        max_turns=agent.max_turns,
        timeout_limit=agent.timeout_limit,
        violation_limit=agent.violation_limit,
        switch_after=app_settings.SWITCH_AFTER,
    )


def model_of(model: LanguageModel, concurrency: int) -> ModelSpec:
    return ModelSpec(
        id=model.pk,
        name=model.name,
        model=model.model,
        endpoint=endpoint_of(model.provider, concurrency),
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        prices=model.prices,
        streaming=model.streaming,
        system_role=model.system_role,
    )


def endpoint_of(provider: Provider, concurrency: int) -> Endpoint:
    return Endpoint(
        id=provider.pk,
        version=provider.version,
        name=provider.name,
        backend=provider.backend,
        base_url=provider.base_url,
        headers=provider.headers,
        options=provider.options,
        timeouts=provider.effective_timeouts,
        concurrency=concurrency,
    )


def _missing(detail: str) -> CallFailed:
    return CallFailed(Failure(kind=ErrorKind.MODEL_NOT_FOUND, detail=detail))
