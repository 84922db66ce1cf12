"""Whether a worker fits the site: whether its code knows the tables, and its keys open what is stored.

One that does not would fail each run that it takes, or write what others cannot read: it takes none. Reasons are
plain dicts, as a row keeps them: `{"code": ..., "names": [...]}`.

    migrations_missing   its code needs migrations that were not applied
    migrations_unknown   migrations were applied that its code does not know
    keys                 it cannot decrypt what agents need, and another one can, or it could answer for no agent at all
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Reason = dict[str, Any]

#: Names that a reason brings along at most: a row stays small.
NAMES = 5


class Code(StrEnum):
    MIGRATIONS_MISSING = "migrations_missing"
    MIGRATIONS_UNKNOWN = "migrations_unknown"
    KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Reading:
    """The ids of a worker's keys, and how many of the credentials that agents need they do not open."""

    keys: tuple[str, ...]
    unreadable: int


def judge_migrations(known: Mapping[str, Collection[str]], applied: Collection[str]) -> list[Reason]:
    """Compare the migrations that code knows, each with those that it replaces, with those that were applied.

    Of what was applied only what comes after our newest one says that the tables are ahead: names from before a
    squash are remembered for ever.
    """
    applied = set(applied)
    missing = [name for name, old in known.items() if name not in applied and not (old and applied.issuperset(old))]
    newest = max(map(_number, known), default=0)
    unknown = [name for name in applied if _number(name) > newest]
    found = [(Code.MIGRATIONS_MISSING, sorted(missing)), (Code.MIGRATIONS_UNKNOWN, sorted(unknown))]
    return [{"code": code.value, "names": names[:NAMES]} for code, names in found if names]


def _number(name: str) -> int:
    """Return which migration it is; of a squashed one, the last that it stands for."""
    found = re.match(r"(?:\d+_squashed_)?(\d+)", name)
    return int(found[1]) if found else 0


def judge_keys(mine: Reading, others: Iterable[Reading], *, is_of_use: bool) -> list[Reason]:
    """Say whether this worker's keys are the wrong ones. `others` take runs.

    A credential that nobody can read is the credential's fault: it fails its own runs, and not the site.
    """
    beaten = any(set(other.keys) != set(mine.keys) and other.unreadable < mine.unreadable for other in others)
    return [{"code": Code.KEYS.value, "names": list(mine.keys)}] if beaten or not is_of_use else []


def can_answer(agents: Iterable[Collection[int]], locked: Collection[int]) -> bool:
    """Say whether an agent can be answered for: each is the providers that it may ask; those `locked` have only keys
    that do not open. One that has nobody to ask is not kept from it by keys."""
    asking = [providers for providers in agents if providers]
    return not asking or any(set(providers) - set(locked) for providers in asking)
