"""Reads what a run needs to know before it starts: its agent, the models, the conversation so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count

from llmapp.agents.definition import AgentSpec
from llmapp.backends import BACKENDS
from llmapp.backends.base import Endpoint
from llmapp.calls.base import ModelSpec
from llmapp.conf import app_settings
from llmapp.core.errors import CallFailed, ErrorKind, Failure
from llmapp.core.messages import ChatMessage
from llmapp.models import AgentSettings, Attempt, LanguageModel, Provider, Run

from . import thread


class AgentGone(CallFailed):
    """There is nobody to answer: the agent was deleted or switched off between the submit and the claim."""


class NotForUs(Exception):
    """This worker cannot carry the run out; one with other code or other settings may.

    `kind` is what the run ends with when there is none.
    """

    def __init__(self, why: str, kind: ErrorKind) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Briefing:
    agent: AgentSpec
    history: tuple[ChatMessage, ...]
    #: How attempts of earlier executions failed: kind -> how often.
    failures: Mapping[ErrorKind, int]


def brief(run: Run, concurrency: int) -> Briefing:
    """Read the rows. Raises `CallFailed` when the agent or its model is gone or switched off, and `NotForUs` for rows
    that this code cannot read: those of a newer version, while a site is being updated.

    `concurrency` is how many runs this process may have at once: the size of connection pools.
    """
    if run.agent is None or not run.agent.enabled:
        raise AgentGone(_missing(f"agent {run.agent_slug!r} is gone or disabled"))
    try:
        return Briefing(_agent(run.agent, concurrency), thread.history(thread.tip(run)), _failures(run))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The words of such an error may quote what people wrote.
        raise NotForUs(f"its rows cannot be read: {type(error).__name__}", ErrorKind.SERVER_ERROR) from error


def _failures(run: Run) -> dict[ErrorKind, int]:
    if not run.attempts_used:
        return {}
    failed = Attempt.objects.filter(call__run=run).exclude(error_kind="").order_by()
    counted = failed.values_list("error_kind").annotate(times=Count("pk"))
    # Of a kind that only a newer version knows, nothing is counted here.
    known = set(ErrorKind)
    return {ErrorKind(kind): times for kind, times in counted if kind in known}


def _agent(agent: AgentSettings, concurrency: int) -> AgentSpec:
    known = {agent.model.name: agent.model}
    if others := [*agent.fallbacks, *filter(None, [agent.summary_model])]:
        rows = LanguageModel.objects.select_related("provider").filter(name__in=others)
        known = {**{model.name: model for model in rows}, **known}
    names = list(dict.fromkeys([agent.model.name, *agent.fallbacks]))
    chain = [known[name] for name in names if name in known and _is_on(known[name])]
    summary = known.get(agent.summary_model)
    if not chain:
        raise CallFailed(_missing(f"model {agent.model.name!r} is disabled, and so are its fallbacks"))
    if not _is_known(alias := chain[0].provider.backend):
        raise NotForUs(f"no backend {alias!r} is known here", ErrorKind.MODEL_NOT_FOUND)
    chain = [model for model in chain if _is_known(model.provider.backend)]
    return AgentSpec(
        slug=agent.slug,
        models=tuple(model_of(model, concurrency) for model in chain),
        instructions=agent.instructions,
        settings=agent.settings,
        max_turns=agent.max_turns,
        timeout_limit=agent.timeout_limit,
        violation_limit=agent.violation_limit,
        switch_after=app_settings.SWITCH_AFTER,
        summary_model=model_of(summary, concurrency) if summary is not None and _is_on(summary) else None,
        skipped=tuple(name for name in names if name not in {model.name for model in chain}),
    )


def _is_on(model: LanguageModel) -> bool:
    return model.enabled and model.provider.enabled


def _is_known(alias: str) -> bool:
    # By its name only: to import one takes seconds, and a fallback is mostly not asked.
    return alias in BACKENDS or alias in app_settings.BACKENDS


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
        learned=model.lessons,
        tokens_per_minute=model.tokens_per_minute or model.lessons.tokens_per_minute,
        first_token_is_set="first_token" in model.provider.timeouts,
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


def _missing(detail: str) -> Failure:
    return Failure(kind=ErrorKind.MODEL_NOT_FOUND, detail=detail)
