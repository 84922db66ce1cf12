"""What a document says becomes rows, in one transaction.

An entry is set as a whole. Only `api_keys` and `enabled` that are left out stay: keys as long as the provider stays
where it is, and what somebody switched off until a file says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext as _

from llmapp import versions
from llmapp.destinations import destination, destination_of
from llmapp.encryption import Undecipherable
from llmapp.models import AgentSettings, Credential, LanguageModel, Provider

from .config_file import Document, Entry, fault

CREATED, UPDATED, UNCHANGED, DISABLED, REMOVED = "created", "updated", "unchanged", "disabled", "removed"

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an entry, named as in the file, and what a person has to know about it."""

    table: str
    name: str
    outcome: str
    note: str = ""


def apply(document: Document) -> list[Result]:
    """Apply a document in one transaction. Raises `ConfigError`."""
    with transaction.atomic():
        return [
            *(_provider(entry) for entry in document.providers),
            *(_model(entry) for entry in document.models),
            *(_agent(entry) for entry in document.agents),
        ]


def _provider(entry: Entry) -> Result:
    values = {key: value for key, value in entry.items() if key not in ("name", "api_keys")}
    old = Provider.objects.filter(name=entry["name"]).first()
    goes_to = destination(entry["backend"], entry["base_url"], entry["options"])
    moved = old is not None and destination_of(old) != goes_to
    provider, outcome = _upsert("providers", Provider, {"name": entry["name"]}, values)
    # A key must not go to another host just because somebody changed the address.
    dropped = moved and entry["api_keys"] is None and provider.credentials.exists()
    pool = [] if dropped else entry["api_keys"]
    if pool is not None and set_keys(provider, pool) and outcome is UNCHANGED:
        outcome = UPDATED
    note = _("its address has changed, so its keys are dropped") if dropped else _note(provider.enabled)
    return Result("providers", entry["name"], outcome, note)


def _note(enabled: bool) -> str:
    return "" if enabled else _("disabled")


def set_keys(provider: Provider, pool: list[dict[str, str]]) -> bool:
    """Make the pool what the file says; a key that was there keeps its row. Says whether anything changed."""
    kept = [(row, secrets_of(row)) for row in provider.credentials.all()]
    if [secrets for _row, secrets in kept] == pool:
        return False
    for position, secrets in enumerate(pool):
        row = next((row for row, old in kept if old == secrets), None) or Credential(provider=provider)
        kept = [(other, old) for other, old in kept if other is not row]
        if row.pk is None:
            row.set_secrets(secrets)
        row.position = position
        row.save()
    Credential.objects.filter(pk__in=[row.pk for row, _old in kept]).delete()
    return True


def secrets_of(row: Credential) -> dict[str, str] | None:
    try:
        return row.secrets()
    except Undecipherable:
        return None


def _model(entry: Entry) -> Result:
    name = entry["name"]
    values = {key: value for key, value in entry.items() if key != "name"}
    values["provider"] = Provider.objects.filter(name=entry["provider"]).first()
    if values["provider"] is None:
        raise fault("models", name, "provider", _("there is no provider {name}").format(name=entry["provider"]))
    model, outcome = _upsert("models", LanguageModel, {"name": name}, values)
    return Result("models", name, outcome, _note(model.enabled))


def _agent(entry: Entry) -> Result:
    slug = entry["slug"]
    groups = entry["access"] if isinstance(entry["access"], list) else None
    values = {key: value for key, value in entry.items() if key not in ("slug", "access")}
    values["model"] = _models(entry)[entry["model"]]
    if "position" not in entry and not AgentSettings.objects.filter(slug=slug).exists():
        values["position"] = next_position()
    values["access"] = entry["access"] if groups is None else AgentSettings.Access.GROUPS.value
    agent, outcome = _upsert("agents", AgentSettings, {"slug": slug}, values)
    agent.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups or []])
    changed = versions.record(agent)
    outcome = UPDATED if changed and outcome is UNCHANGED else outcome
    return Result("agents", slug, outcome, _note(agent.enabled))


def next_position() -> int:
    """Return the place behind all agents that there are."""
    last = AgentSettings.objects.aggregate(last=models.Max("position"))["last"]
    return 0 if last is None else last + 1


def _models(entry: Entry) -> dict[str, LanguageModel]:
    """Return the models that an agent may name; it must not name others."""
    known = {model.name: model for model in LanguageModel.objects.all()}
    named = [("model", entry["model"]), *(("fallbacks", name) for name in entry["fallbacks"])]
    for key, name in [*named, ("summary_model", entry["summary_model"] or entry["model"])]:
        if name not in known:
            raise fault("agents", entry["slug"], key, _("there is no model {name}").format(name=name))
    return known


def _upsert(table: str, model: type[Row], key: dict[str, str], values: dict[str, Any]) -> tuple[Row, str]:
    """Create or change the row with this key. Raises `ConfigError` where the model refuses a value."""
    row = model._default_manager.filter(**key).first()
    created = row is None
    row = row or model(**key)
    values = {name: value for name, value in values.items() if name != "enabled" or value is not None}
    if not created and all(getattr(row, name) == value for name, value in values.items()):
        return row, UNCHANGED
    for name, value in values.items():
        setattr(row, name, value)
    try:
        row.full_clean()
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise fault(table, next(iter(key.values())), name, messages[0]) from None
    row.save()
    return row, CREATED if created else UPDATED
