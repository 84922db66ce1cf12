"""The format of a `configure` file: which tables and keys there are, and what each may hold.

Reads and judges; knows no database. What is wrong is said in one line that names table and key, and never
repeats a value of `api_keys`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from llmapp.core.keys import FILL_FIRST
from llmapp.models import LanguageModel, Provider

from . import config_values as values

#: How a value says that it is in the environment of whoever runs `configure`.
ENV = "env:"

Entry = dict[str, Any]


class ConfigError(Exception):
    """The file cannot be used. The text is one line."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is well-formed in itself: entries with every key, where left out with its default.

    `api_keys` and `enabled` are None where they were left out: what is stored stays.
    """

    providers: list[Entry] = field(default_factory=list)
    models: list[Entry] = field(default_factory=list)
    agents: list[Entry] = field(default_factory=list)


def load(path: Path, environ: Mapping[str, str]) -> Document:
    """Read a file. Raises `ConfigError`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    return parse(data, environ)


def parse(data: Mapping[str, Any], environ: Mapping[str, str]) -> Document:
    """Judge what `tomllib` read. Raises `ConfigError`."""
    for table in data:
        if table not in TABLES:
            raise ConfigError(_("unknown table [[{table}]]").format(table=_plain(table)))
    return Document(**{table: _entries(table, data.get(table, []), environ) for table in TABLES})


def name_of(table: str, entry: Mapping[str, Any]) -> Any:
    return entry.get("slug" if table == "agents" else "name")


def fault(table: str, name: object, key: str, why: str) -> ConfigError:
    """Return the error that names table and key, in one line whatever they are."""
    where = f"[[{table}]] {_quoted(name)}" if isinstance(name, str) else f"[[{table}]]"
    return ConfigError(f"{where}, key {_plain(key)}: {' '.join(why.split())}")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=not name.isprintable())


def _plain(name: str) -> str:
    return name if name.isprintable() else json.dumps(name)


def _entries(table: str, entries: Any, environ: Mapping[str, str]) -> list[Entry]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(_("{table} must be written as [[{table}]]").format(table=table))
    result: dict[str, Entry] = {}
    for entry in entries:
        name = name_of(table, entry)
        cleaned = _entry(table, name, entry, environ)
        if name in result:
            raise fault(table, name, "slug" if table == "agents" else "name", _("is there twice"))
        result[name] = cleaned
    return list(result.values())


def _entry(table: str, name: Any, entry: Entry, environ: Mapping[str, str]) -> Entry:
    keys = TABLES[table]
    for key in entry:
        if key not in keys:
            raise fault(table, name, key, _("is unknown"))
    cleaned = {}
    for key, rule in keys.items():
        try:
            cleaned[key] = _value(rule, key, entry, environ if table == "providers" else None)
        except ValueError as error:
            raise fault(table, name, key, str(error)) from None
    if table == "providers" and cleaned["backend"] == "openai_compatible" and not cleaned["base_url"]:
        raise fault(table, name, "base_url", _("is missing"))
    return cleaned


def _value(rule: Rule, key: str, entry: Entry, environ: Mapping[str, str] | None) -> Any:
    if key not in entry:
        if rule.required:
            raise ValueError(_("is missing"))
        return rule.default() if callable(rule.default) else rule.default
    value = entry[key]
    return rule.clean(value if environ is None else from_environment(value, environ))


def from_environment(value: Any, environ: Mapping[str, str]) -> Any:
    """Replace each `env:NAME` by what the environment holds. Raises `ValueError`."""
    match value:
        case str() if value.startswith(ENV):
            found = environ.get(value.removeprefix(ENV), "").strip()
            if not found:
                raise ValueError(_("the environment has no {name}").format(name=_plain(value.removeprefix(ENV))))
            return found
        case dict():
            return {key: from_environment(item, environ) for key, item in value.items()}
        case list():
            return [from_environment(item, environ) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Rule:
    clean: Callable[[Any], Any]
    default: Any = None
    required: bool = False


TABLES: dict[str, dict[str, Rule]] = {
    "providers": {
        "name": Rule(values.name, required=True),
        "backend": Rule(values.backend, "openai_compatible"),
        "base_url": Rule(values.base_url, ""),
        "api_keys": Rule(values.api_keys),
        "key_strategy": Rule(values.one_of(*Provider.KeyStrategy.values), FILL_FIRST),
        "timeouts": Rule(values.timeouts, dict),
        "headers": Rule(values.headers, dict),
        "options": Rule(values.table, dict),
        "enabled": Rule(values.boolean),
    },
    "models": {
        "name": Rule(values.name, required=True),
        "provider": Rule(values.name, required=True),
        "model": Rule(values.name, required=True),
        "context_window": Rule(values.whole),
        "max_output_tokens": Rule(values.whole),
        "tokens_per_minute": Rule(values.whole),
        "input_price": Rule(values.price),
        "cached_input_price": Rule(values.price),
        "cache_write_price": Rule(values.price),
        "output_price": Rule(values.price),
        "streaming": Rule(values.one_of(*LanguageModel.Streaming.values), "auto"),
        "system_role": Rule(values.one_of(*LanguageModel.SystemRole.values), "system"),
        "enabled": Rule(values.boolean),
    },
    "agents": {
        "slug": Rule(values.name, required=True),
        "name": Rule(values.text, ""),
        "description": Rule(values.text, ""),
        "model": Rule(values.name, required=True),
        "fallbacks": Rule(values.names, list),
        "summary_model": Rule(values.name_or_none, ""),
        "instructions": Rule(values.text, ""),
        "access": Rule(values.access, "staff"),
        "timeout": Rule(values.seconds, 600.0),
        "attempts": Rule(values.whole, 12),
        "max_turns": Rule(values.whole, 20),
        "timeout_limit": Rule(values.whole, 3),
        "violation_limit": Rule(values.whole, 1),
        "slow_after": Rule(values.seconds),
        "settings": Rule(values.settings, dict),
        "enabled": Rule(values.boolean),
    },
}
