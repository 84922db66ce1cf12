"""Goes back to a version of the configuration. Secrets stay as they are.

What cannot be had again is said in one line, and then nothing is changed. Rows are known again by their ids, so
that a new name is taken back too.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from llmapp.masks import Forgotten, unmasked
from llmapp.models import AgentSettings, ConfigurationVersion, LanguageModel, Provider
from llmapp.snapshot import PRICES, Snapshot

from . import config_values
from .config_apply import Result, apply
from .config_file import TABLES, ConfigError, Document, Entry
from .config_remove import remove_others

#: Table -> its model, and the field with the name.
ROWS: dict[str, tuple[type[Provider | LanguageModel | AgentSettings], str]] = {
    "providers": (Provider, "name"),
    "models": (LanguageModel, "name"),
    "agents": (AgentSettings, "slug"),
}


def restore(number: int) -> list[Result]:
    """Make the configuration what a version says, inside the caller's transaction. Raises `ConfigError`."""
    version = ConfigurationVersion.objects.filter(pk=number).first()
    if version is None:
        raise ConfigError(_("There is no version {number}.").format(number=number))
    values: Snapshot = {table: version.values.get(table, []) for table in TABLES}
    if gone := [*_gone_backends(values), *_gone_groups(values), *_gone_secrets(values)]:
        what = ", ".join(dict.fromkeys(gone))
        raise ConfigError(_("Version {number} names what is gone: {what}.").format(number=number, what=what))
    for table in TABLES:
        _rename(table, values[table])
    document = Document(**{table: [_entry(table, entry) for entry in values[table]] for table in TABLES})
    return [*apply(document), *remove_others(document)]


def _gone_backends(values: Snapshot) -> Iterator[str]:
    for entry in values["providers"]:
        try:
            config_values.backend(entry["backend"])
        except ValueError:
            yield _("backend {name}").format(name=entry["backend"])


def _gone_groups(values: Snapshot) -> Iterator[str]:
    named = {name for entry in values["agents"] if isinstance(entry["access"], list) for name in entry["access"]}
    there = set(Group.objects.filter(name__in=named).values_list("name", flat=True))
    yield from (_("group {name}").format(name=name) for name in sorted(named - there))


def _gone_secrets(values: Snapshot) -> Iterator[str]:
    for entry in values["providers"]:
        try:
            _with_secrets(entry)
        except Forgotten as error:
            yield _("the secret {name} of provider {provider}").format(name=error, provider=entry["name"])


def _with_secrets(entry: Entry) -> Entry:
    rows = Provider.objects.filter(pk=entry["id"]) or Provider.objects.filter(name=entry["name"])
    stored = rows[0] if rows else Provider()
    return {**entry, **{key: unmasked(entry[key], getattr(stored, key)) for key in ("headers", "options")}}


def _rename(table: str, entries: list[Entry]) -> None:
    """Give rows their old names back. Two that have changed names meet on the way, so all step aside first."""
    model, field = ROWS[table]
    now: dict[int, str] = dict(model._default_manager.values_list("pk", field))
    wanted = {entry["id"]: entry[field] for entry in entries if now.get(entry["id"], entry[field]) != entry[field]}
    taken = {name for pk, name in now.items() if pk not in wanted} & set(wanted.values())
    if taken:
        raise ConfigError(_("Another entry is called {name} now.").format(name=", ".join(sorted(taken))))
    for pk in wanted:
        model._default_manager.filter(pk=pk).update(**{field: f"~{pk}"})
    for pk, name in wanted.items():
        model._default_manager.filter(pk=pk).update(**{field: name})


def _entry(table: str, entry: Entry) -> Entry:
    """Return an entry as `config_file` would; a version of an earlier release may lack a key."""
    if table == "providers":
        entry = {**_with_secrets(entry), "api_keys": None}
    complete = {key: _value(key, entry[key]) if key in entry else _default(table, key) for key in TABLES[table]}
    return complete | ({"position": entry["position"]} if "position" in entry else {})


def _value(key: str, value: Any) -> Any:
    return Decimal(value) if key in PRICES and value is not None else value


def _default(table: str, key: str) -> Any:
    default = TABLES[table][key].default
    return default() if callable(default) else default
