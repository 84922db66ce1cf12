"""What has changed between two snapshots of the configuration. Pure: rows are known again by their ids."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmapp.snapshot import KEYS, Entry, Snapshot

#: Characters of a value that are shown.
WIDTH = 200

#: Table -> what its entries are called by.
TABLES = {"providers": "name", "models": "name", "agents": "slug"}

#: What says nothing that a person would miss in an entry that is new.
_NOTHING: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of an entry. `before` is None for a new one, `after` for one that is gone."""

    table: str
    before: Entry | None
    after: Entry | None

    @property
    def name(self) -> str:
        entry = self.after or self.before or {}
        return str(entry[TABLES[self.table]])

    @property
    def keys(self) -> list[str]:
        """The keys whose values differ. A database may have stored them in another order."""
        before, after = self.before or {}, self.after or {}
        return [key for key in KEYS[self.table] if before.get(key) != after.get(key)]


def differences(before: Snapshot, after: Snapshot) -> list[Difference]:
    """Return what differs, table by table. A version of an earlier release may lack a key, or a whole table."""
    return [found for table in TABLES for found in _in_table(table, before.get(table, []), after.get(table, []))]


def _in_table(table: str, before: list[Entry], after: list[Entry]) -> Iterator[Difference]:
    old = {entry["id"]: entry for entry in before}
    new = {entry["id"]: entry for entry in after}
    for key, entry in new.items():
        if old.get(key) != entry:
            yield Difference(table, old.get(key), entry)
    for key, entry in old.items():
        if key not in new:
            yield Difference(table, entry, None)


def describe(found: Difference) -> Iterator[str]:
    """Give the values of an entry that differ, a line each; of long texts, the lines that differ."""
    before, after = found.before or {}, found.after
    for key in found.keys if after is not None else []:
        old, new = before.get(key), (after or {}).get(key)
        if found.before is None and new not in _NOTHING:
            yield f"{key}: {_short(new)}"
        elif isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
            yield f"{key}:"
            yield from (f"  {line}" for line in _changed_lines(old, new))
        elif found.before is not None:
            yield f"{key}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _changed_lines(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in list(lines)[2:] if not line.startswith("@@")]
