"""The configuration as one value without secrets: what is exported, compared, and kept as a version.

An entry has the keys of the `configure` file, and `id`, so that a row is known again when it has a new name. Of keys
only their last characters are there.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from llmapp.masks import masked
from llmapp.models import AgentSettings, LanguageModel, Provider

Entry = dict[str, Any]

#: Table -> entries, as JSON can hold them.
Snapshot = dict[str, list[Entry]]

EMPTY: Snapshot = {"providers": [], "models": [], "agents": []}

PRICES = ("input_price", "cached_input_price", "cache_write_price", "output_price")

#: Table -> the keys of its entries, in the order in which people read them.
KEYS = {
    "providers": (
        "name",
        "backend",
        "base_url",
        "api_keys",
        "key_strategy",
        "timeouts",
        "headers",
        "options",
        "enabled",
    ),
    "models": (
        "name",
        "provider",
        "model",
        "context_window",
        "max_output_tokens",
        "tokens_per_minute",
        *PRICES,
        "streaming",
        "system_role",
        "enabled",
    ),
    "agents": (
        "slug",
        "name",
        "description",
        "model",
        "fallbacks",
        "summary_model",
        "instructions",
        "access",
        "timeout",
        "attempts",
        "max_turns",
        "timeout_limit",
        "violation_limit",
        "slow_after",
        "settings",
        "enabled",
        "position",
    ),
}


def take() -> Snapshot:
    """Return everything that is set up."""
    return {
        "providers": [_provider(row) for row in Provider.objects.prefetch_related("credentials")],
        "models": [_model(row) for row in LanguageModel.objects.select_related("provider")],
        "agents": [_agent(row) for row in AgentSettings.objects.select_related("model").prefetch_related("groups")],
    }


def _provider(row: Provider) -> Entry:
    return {
        "id": row.pk,
        "name": row.name,
        "backend": row.backend,
        "base_url": row.base_url,
        "api_keys": [f"…{key.hint}" for key in row.credentials.all()],
        "key_strategy": row.key_strategy,
        "timeouts": row.timeouts,
        "headers": masked(row.headers),
        "options": masked(row.options),
        "enabled": row.enabled,
    }


def _model(row: LanguageModel) -> Entry:
    values = {key: _plain(getattr(row, key)) for key in KEYS["models"]}
    return {"id": row.pk, **values, "provider": row.provider.name}


def _plain(value: Any) -> Any:
    """Write a price as people do: without the zeros that the database adds."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value


def _agent(row: AgentSettings) -> Entry:
    values = {key: getattr(row, key) for key in KEYS["agents"]}
    groups = sorted(group.name for group in row.groups.all())
    access = groups if row.access == AgentSettings.Access.GROUPS else row.access
    return {"id": row.pk, **values, "model": row.model.name, "access": access}
