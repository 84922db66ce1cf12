"""Removes what a document does not name. What runs or accounts tell of is disabled instead, and keeps its history.

Deletion goes from agents over models to providers, so that what stays keeps what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from llmapp import versions
from llmapp.models import AgentSettings, Attempt, Conversation, LanguageModel, Provider

from .config_apply import DISABLED, REMOVED, UNCHANGED, Result
from .config_file import Document, name_of

Row = AgentSettings | LanguageModel | Provider


def remove_others(document: Document) -> Iterator[Result]:
    """Remove what is not in the document. Call it in the transaction that applied it."""
    for agent in AgentSettings.objects.exclude(slug__in=_names(document, "agents")):
        yield _remove("agents", agent.slug, agent, _why_agent_stays(agent))
    for model in LanguageModel.objects.exclude(name__in=_names(document, "models")):
        yield _remove("models", model.name, model, _why_model_stays(model))
    for provider in Provider.objects.exclude(name__in=_names(document, "providers")):
        yield _remove("providers", provider.name, provider, _why_provider_stays(provider))


def _names(document: Document, table: str) -> list[str]:
    return [name_of(table, entry) for entry in getattr(document, table)]


def _why_agent_stays(agent: AgentSettings) -> str:
    used = agent.runs.exists() or Conversation.objects.filter(agent=agent).exists()
    return _("it has conversations") if used else ""


def _why_model_stays(model: LanguageModel) -> str:
    users = [agent.slug for agent in AgentSettings.objects.select_related("model") if _uses(agent, model)]
    if users:
        return _("agent {name} needs it").format(name=users[0])
    return _("it has been used") if Attempt.objects.filter(model=model).exists() else ""


def _uses(agent: AgentSettings, model: LanguageModel) -> bool:
    return agent.model_id == model.pk or model.name in (*agent.fallbacks, agent.summary_model)


def _why_provider_stays(provider: Provider) -> str:
    model = provider.models.first()
    return _("model {name} needs it").format(name=model.name) if model is not None else ""


def _remove(table: str, name: str, row: Row, why_it_stays: str) -> Result:
    if not why_it_stays:
        try:
            row.delete()
            return Result(table, name, REMOVED)
        except ProtectedError:
            why_it_stays = _("other tables refer to it")
    return Result(table, name, _disable(row), why_it_stays)


def _disable(row: Row) -> str:
    if not row.enabled:
        return UNCHANGED
    row.enabled = False
    row.save()
    if isinstance(row, AgentSettings):
        versions.record(row)
    return DISABLED
