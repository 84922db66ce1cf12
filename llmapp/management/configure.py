"""`llmapp configure`: make providers, models and agents what a TOML file says. All of it, or nothing.

An entry of the file is set as a whole: a key that is left out gets its default. Only `api_keys` that are left
out stay, as long as the provider stays where it is. What the file does not name is left alone.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import CommandError
from django.db import models, transaction
from django.utils.translation import gettext as _

from llmapp import versions
from llmapp.encryption import Undecipherable
from llmapp.models import AgentSettings, Credential, LanguageModel, Provider

from .config_file import ConfigError, Document, Entry, fault, load
from .processes import Say

CREATED, UPDATED, UNCHANGED = "created", "updated", "unchanged"

Row = TypeVar("Row", bound=models.Model)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=_("A TOML file."))


def handle(file: Path, say: Say) -> None:
    configure(file, say)


def configure(path: Path, say: Say) -> None:
    """Apply a file and say what became of each entry. Raises `CommandError`, and then nothing was written."""
    document = read(path)
    try:
        results = apply(document)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None
    for kind, name, result in results:
        say(f"{_said(result):<10} {kind} {name}")


def read(path: Path) -> Document:
    """Return what a file says, without a look at the database. Raises `CommandError`."""
    try:
        return load(path, os.environ)
    except (ConfigError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from None


def _said(result: str) -> str:
    return {CREATED: _("created"), UPDATED: _("updated"), UNCHANGED: _("unchanged")}[result]


def apply(document: Document) -> list[tuple[str, str, str]]:
    """Apply a document in one transaction. Returns (kind, name, result) of each entry. Raises `ConfigError`."""
    with transaction.atomic():
        return [
            *((_("provider"), entry["name"], _provider(entry)) for entry in document.providers),
            *((_("model"), entry["name"], _model(entry)) for entry in document.models),
            *((_("agent"), entry["slug"], _agent(entry)) for entry in document.agents),
        ]


def _provider(entry: Entry) -> str:
    values = {key: entry[key] for key in ("backend", "base_url", "timeouts", "headers", "options")}
    old = Provider.objects.filter(name=entry["name"]).first()
    moved = old is not None and _origin(old.base_url) != _origin(entry["base_url"])
    provider, result = _upsert("providers", Provider, {"name": entry["name"]}, values)
    # A key must not go to another host just because somebody changed the address.
    pool = [] if entry["api_keys"] is None and moved else entry["api_keys"]
    if pool is not None and set_keys(provider, pool) and result is UNCHANGED:
        return UPDATED
    return result


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        # Whatever it was, it was another place.
        return "", url
    return parts.scheme, parts.netloc.lower()


def set_keys(provider: Provider, pool: list[dict[str, str]]) -> bool:
    """Make the pool what the file says; a key that was there keeps its row. Says whether anything changed."""
    kept = [(row, _secrets(row)) for row in provider.credentials.all()]
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


def _secrets(row: Credential) -> dict[str, str] | None:
    try:
        return row.secrets()
    except Undecipherable:
        return None


def _model(entry: Entry) -> str:
    values = {key: value for key, value in entry.items() if key != "name"}
    values["provider"] = Provider.objects.filter(name=entry["provider"]).first()
    if values["provider"] is None:
        raise fault(
            "models", entry["name"], "provider", _("there is no provider {name}").format(name=entry["provider"])
        )
    return _upsert("models", LanguageModel, {"name": entry["name"]}, values)[1]


def _agent(entry: Entry) -> str:
    slug = entry["slug"]
    known = {model.name: model for model in LanguageModel.objects.all()}
    for key, name in [("model", entry["model"]), *(("fallbacks", name) for name in entry["fallbacks"])]:
        if name not in known:
            raise fault("agents", slug, key, _("there is no model {name}").format(name=name))
    values = {key: value for key, value in entry.items() if key not in ("slug", "access")}
    values["model"] = known[entry["model"]]
    if not AgentSettings.objects.filter(slug=slug).exists():
        values["position"] = next_position()
    groups = entry["access"] if isinstance(entry["access"], list) else []
    values["access"] = AgentSettings.Access.GROUPS.value if groups else entry["access"]
    agent, result = _upsert("agents", AgentSettings, {"slug": slug}, values)
    agent.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups])
    changed = versions.record(agent)
    return UPDATED if changed and result is UNCHANGED else result


def next_position() -> int:
    """Return the place behind all agents that there are."""
    last = AgentSettings.objects.aggregate(last=models.Max("position"))["last"]
    return 0 if last is None else last + 1


def _upsert(table: str, model: type[Row], key: dict[str, str], values: dict[str, Any]) -> tuple[Row, str]:
    """Create or change the row with this key. Raises `ConfigError` where the model refuses a value."""
    row = model._default_manager.filter(**key).first()
    created = row is None
    row = row or model(**key)
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
