"""The configuration as a `configure` file, without secrets.

Keys are a comment that says how many there are and how to give them: the file can be loaded as it is, and where the
keys are stored already they stay. Other secrets are variables that whoever loads the file has to set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.utils.translation import ngettext

from llmapp.masks import paths
from llmapp.models import Credential
from llmapp.snapshot import Snapshot

from .config_apply import secrets_of
from .config_file import ENV, TABLES, Entry
from .toml import line


def export(snapshot: Snapshot) -> str:
    """Return the text of a file."""
    blocks = [list(_block(table, entry)) for table in TABLES for entry in snapshot[table]]
    return "\n".join("".join(f"{text}\n" for text in block) for block in blocks)


def _block(table: str, entry: Entry) -> Iterator[str]:
    yield f"[[{table}]]"
    if table == "agents" and entry["access"] == []:
        # Its groups are gone. No file can say so, and it must not become an agent for others.
        entry = {**entry, "access": "staff", "enabled": False}
    for key in TABLES[table]:
        value = entry.get(key)
        if key == "api_keys":
            yield from _keys(entry)
        elif value not in (None, "", [], {}):
            yield line(key, _variables(entry["name"], key, value) if table == "providers" else _short(key, value))


def _short(key: str, value: Any) -> Any:
    """Write 600 seconds as 600."""
    return int(value) if key == "timeout" and value == int(value) else value


def _keys(provider: Entry) -> Iterator[str]:
    rows = list(Credential.objects.filter(provider=provider["id"]))
    if not rows:
        return
    number = len(rows)
    yield "# " + ngettext(
        "It has {number} key, which is not exported. To give it, set the variable and take the # away:",
        "It has {number} keys, which are not exported. To give them, set the variables and take the # away:",
        number,
    ).format(number=number)
    yield f"# {line('api_keys', [_placeholder(provider['name'], at, row) for at, row in enumerate(rows, start=1)])}"


def _placeholder(provider: str, number: int, row: Credential) -> Any:
    """Return the variable for a key, or one for each secret of a set. Their names are none."""
    names = list(secrets_of(row) or {"api_key": ""})
    if names == ["api_key"]:
        return _variable(provider, "key", str(number))
    return {name: _variable(provider, "key", str(number), name) for name in names}


def _variables(provider: str, key: str, value: Any) -> Any:
    """Put a variable where a mask is."""
    for path in paths(value):
        value = _replaced(value, path, _variable(provider, key, *path))
    return value


def _replaced(value: Any, path: tuple[str, ...], new: str) -> Any:
    if not path:
        return new
    step, *rest = path
    if isinstance(value, list):
        return [_replaced(item, tuple(rest), new) if str(at) == step else item for at, item in enumerate(value, 1)]
    return {**value, step: _replaced(value[step], tuple(rest), new)}


def _variable(*parts: str) -> str:
    return ENV + re.sub(r"[^A-Z0-9]+", "_", "_".join(parts).upper())
