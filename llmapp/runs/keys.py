"""The key pool of a provider, as calls see it: the rows of `Credential`, shared by all workers.

The rules are in `core.keys`. One query for a pick; nothing is written while all is well, except where keys are taken
in turn: there a key's turn is one statement, taken only if no other worker has it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from llmapp import signals
from llmapp.backends.base import Secret
from llmapp.calls.base import Benched, ModelSpec
from llmapp.core import keys
from llmapp.core.errors import Failure
from llmapp.core.keys import KeyState, Resting
from llmapp.core.quota import quota_of
from llmapp.core.retry_after import nonsense
from llmapp.encryption import Undecipherable
from llmapp.models import Credential

from . import records
from .clock import as_moment, db_now
from .threads import DatabaseThreads


class DatabaseKeyPool:
    """The `KeyPool` of one run."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        #: Keys that have failed since they last did not: a success is worth a note.
        self._failing: set[int] = set()

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | Benched:
        return await self._threads.patiently(self._pick, model.endpoint.id, avoid)

    def _pick(self, provider_id: int, avoid: frozenset[int]) -> Secret | Benched:
        pool = _read(provider_id)
        if not pool.rows:
            return Secret(id=None)
        self._failing |= {state.id for state in pool.states if state.in_a_row}
        while not isinstance(chosen := pool.choose(avoid), Resting):
            row = pool.rows.pop(chosen)
            try:
                secrets = row.secrets()
            except Undecipherable:
                text = f"key {chosen} cannot be decrypted: another one is used"
                records.write(records.calls, logging.ERROR, "key_unreadable", text, credential=chosen)
            else:
                return Secret(id=chosen, api_key=secrets.pop("api_key", ""), extra=secrets)
        return Benched(chosen.kind, chosen.seconds)

    async def report(
        self, model: ModelSpec, secret: Secret, failure: Failure | None, headers: Mapping[str, str]
    ) -> None:
        if secret.id is None:
            return
        if failure is not None:
            _look_for_nonsense(model.endpoint.name, secret.id, failure, headers)
        empty_for = quota_of(headers, datetime.now(UTC)).empty_for
        if failure is None and empty_for is None and secret.id not in self._failing:
            return
        # It may be done twice: what is heard twice at once counts once.
        await self._threads.patiently(self._note, model, secret.id, failure, empty_for)

    def _note(self, model: ModelSpec, id: int, failure: Failure | None, empty_for: float | None) -> None:
        with transaction.atomic():
            pool = Credential.objects.select_for_update().filter(provider_id=model.endpoint.id, enabled=True)
            rows = list(pool)
            row, now = next((row for row in rows if row.pk == id), None), db_now().timestamp()
            if row is None:
                return  # deleted or switched off meanwhile
            before, others = state_of(row), [state_of(other) for other in rows if other.pk != id]
            last = not any(state.usable(now) for state in others)
            after = keys.after(before, failure, now, last=last, empty_for=empty_for)
            if after != before:
                _store(after)
                _tell(model.endpoint.name, row, before, after, now)
        (self._failing.add if after.in_a_row else self._failing.discard)(id)


def use_again(ids: Collection[int]) -> int:
    """Let keys be asked again, whatever became of them. Says how many could not be."""
    stopped = Credential.objects.filter(pk__in=ids).exclude(benched_until=None, dead_since=None)
    return stopped.update(**Credential.FRESH)


def state_of(row: Credential) -> KeyState:
    return KeyState(
        id=row.pk,
        benched_until=_seconds(row.benched_until),
        kind=row.bench_kind,
        in_a_row=row.failures_in_a_row,
        failed_at=_seconds(row.failed_at),
        dead_since=_seconds(row.dead_since),
        last_used=_seconds(row.last_used_at),
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """What one query found: the keys in their order, how they are used, the database's time."""

    rows: dict[int, Credential]
    strategy: str
    now: datetime

    @property
    def states(self) -> list[KeyState]:
        return [state_of(row) for row in self.rows.values()]

    def choose(self, avoid: frozenset[int]) -> int | Resting:
        chosen = keys.choose(self.states, self.strategy, self.now.timestamp(), avoid)
        if self.strategy != keys.ROUND_ROBIN or isinstance(chosen, Resting) or self._takes_its_turn(chosen):
            return chosen
        # Another worker has it now: the next one is as good; and it itself, where there is no other.
        following = self.choose(avoid | {chosen})
        return chosen if isinstance(following, Resting) else following

    def _takes_its_turn(self, id: int) -> bool:
        as_it_was = Credential.objects.filter(pk=id, last_used_at=self.rows[id].last_used_at)
        return bool(as_it_was.update(last_used_at=self.now))


def _read(provider_id: int) -> Pool:
    rows = Credential.objects.filter(provider_id=provider_id, enabled=True)
    found = list(rows.annotate(strategy=F("provider__key_strategy"), now=Now()))
    if not found:
        return Pool({}, keys.FILL_FIRST, datetime.now(UTC))
    return Pool({row.pk: row for row in found}, found[0].strategy, as_moment(found[0].now))


def _store(state: KeyState) -> None:
    Credential.objects.filter(pk=state.id).update(
        benched_until=_moment(state.benched_until),
        bench_kind=state.kind,
        failures_in_a_row=state.in_a_row,
        failed_at=_moment(state.failed_at),
        dead_since=_moment(state.dead_since),
    )


def _tell(provider: str, row: Credential, before: KeyState, after: KeyState, now: float) -> None:
    about = {"provider": provider, "credential": row.pk, "kind": after.kind}
    if after.dead_since is not None and before.dead_since is None:
        text = f"key {row.pk} of {provider} is refused: it is not asked any more"
        records.write_on_commit(records.calls, logging.ERROR, "key_refused", text, **about)
        ids = {"credential_id": row.pk, "provider_id": row.provider_id, "kind": after.kind}
        signals.send_on_commit(signals.key_refused, Credential, **ids)
    elif after.benched_until != before.benched_until and after.benched_until is not None:
        seconds = round(after.benched_until - now, 3)
        text = f"key {row.pk} of {provider} rests for {seconds:.0f} s: {after.kind}"
        records.write_on_commit(records.calls, logging.WARNING, "key_benched", text, **about, seconds=seconds)


def _look_for_nonsense(provider: str, id: int, failure: Failure, headers: Mapping[str, str]) -> None:
    """Say what was stated and is not believed; of failures only, for some write -1 for "no limit" in each answer."""
    said = [f"{name}: {value[:40]}" for name, value in nonsense(headers).items()]
    if (told := failure.retry_after) is not None and told != keys.sane(told):
        said.append(f"a wait of {told:g} s")
    for what in said:
        text = f"{provider} states what is not believed: {what}"
        about = {"provider": provider, "credential": id, "kind": str(failure.kind)}
        records.write(records.calls, logging.WARNING, "nonsense_ignored", text, **about)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
