"""Looks whether this worker may take runs: whether the database and its code, and its keys and what is stored, fit.

The rules are in `core.fitness`. A worker looks each time that it sweeps, so what is mended is noticed by itself.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import translation
from django.utils.translation import gettext as _

from llmapp import encryption
from llmapp.core.fitness import Code, Reading, Reason, can_answer, judge_keys, judge_migrations
from llmapp.models import AgentSettings, Credential, LanguageModel, Worker

from . import away, installed, lease


@dataclass(frozen=True, slots=True)
class Fitness:
    """`unfit` is why this worker takes no runs; `setup` what it says of itself."""

    setup: dict[str, Any]
    unfit: list[Reason]

    @property
    def has_tables(self) -> bool:
        """Whether the tables are there that its code works with."""
        return not any(reason["code"] == Code.MIGRATIONS_MISSING for reason in self.unfit)


def look(worker_id: uuid.UUID | None = None, before: Fitness | None = None) -> Fitness:
    """Look at everything, and keep in the worker's row what is not as `before`."""
    setup = installed.setup()
    unfit = judge_migrations(known, applied_migrations()) if (known := installed.known_migrations()) else []
    found = Fitness(setup, unfit)
    if found.has_tables:
        unreadable, is_of_use = _what_keys_do()
        mine = Reading(tuple(setup["keys"]), unreadable)
        reasons = judge_keys(mine, _others(worker_id), is_of_use=is_of_use)
        found = Fitness({**setup, "unreadable": unreadable}, [*unfit, *reasons])
    if worker_id is not None and found != before and found.has_tables:
        Worker.objects.filter(pk=worker_id).update(setup=found.setup, unfit=found.unfit)
    return found


def applied_migrations() -> set[str]:
    """Return the names of our migrations that were applied to the database."""
    try:
        return set(MigrationRecorder.Migration.objects.filter(app="llmapp").values_list("name", flat=True))
    except DatabaseError as error:
        if away.is_away(error) or MigrationRecorder(connection).has_table():
            raise
        return set()  # nobody has migrated yet


def _what_keys_do() -> tuple[int, bool]:
    """Return how many credentials that agents need these keys do not open, and whether they are of use to any."""
    models = LanguageModel.objects.filter(enabled=True, provider__enabled=True)
    providers = dict(models.values_list("name", "provider_id"))
    rows = AgentSettings.objects.filter(enabled=True).values_list("model__name", "fallbacks")
    agents = [{providers[name] for name in (first, *_names(others)) if name in providers} for first, others in rows]
    keys, opens = tuple(installed.key_ids()), defaultdict(list)
    needed = Credential.objects.filter(enabled=True, provider__in=set().union(*agents))
    for provider, secret in needed.values_list("provider", "secret"):
        opens[provider].append(_opens(keys, bytes(secret)))
    locked = [provider for provider, each in opens.items() if not any(each)]
    return sum(each.count(False) for each in opens.values()), can_answer(agents, locked)


def _names(value: Any) -> list[str]:
    """Return the names in a field of JSON. Newer code may have written something else: a run then says so, not this."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


@lru_cache(maxsize=4096)
def _opens(keys: tuple[str, ...], token: bytes) -> bool:
    """Say whether these keys, the present ones, decrypt this. Asked every two seconds, of the same."""
    try:
        encryption.decrypt(token)
    except (encryption.Undecipherable, ImproperlyConfigured):
        return False
    return True


def _others(worker_id: uuid.UUID | None) -> list[Reading]:
    rows = lease.live_workers().values_list("pk", "setup")
    others = [setup for pk, setup in rows if pk != worker_id and isinstance(setup, dict)]
    readings = [(_names(setup.get("keys")), setup.get("unreadable")) for setup in others]
    return [Reading(tuple(keys), unreadable) for keys, unreadable in readings if isinstance(unreadable, int)]


def sentence(reason: Reason) -> str:
    """Return what is wrong, and what mends it."""
    names = ", ".join(reason["names"])
    match reason["code"]:
        case Code.MIGRATIONS_MISSING:
            return _("migrations are missing ({names}); run `manage.py migrate`").format(names=names)
        case Code.MIGRATIONS_UNKNOWN:
            text = _("its code does not know migrations of the database ({names}); start it with the newer code")
            return text.format(names=names)
    text = _('its LLMAPP["ENCRYPTION_KEYS"] ({names}) do not open the stored keys; give it those of the others')
    return text.format(names=names or _("none"))


def in_plain_words(unfit: list[Reason]) -> str:
    """Return why, for the log: in English, as all of it."""
    with translation.override("en"):
        return "; ".join(map(sentence, unfit))
