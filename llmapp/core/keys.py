"""Which key of a pool is asked, and what becomes of a key that failed. Pure rules; times are seconds.

1. A key rests after a failure that is about it: until the provider says that it may be used again; else after a
   rate limit for 5 s, twice as long each time in a row, at most 60; for an hour when its quota is used up or its
   bill is not paid; for 10 minutes when it may not do what was asked.
2. A key that is refused rests for a minute; refused again after that, it is dead until somebody changes it, tests it,
   or says that it may be used again. The same refusal heard twice at once is one. Where all keys are dead, one is tried
   every 10 minutes: a provider that refused everybody for a while takes it again, and then it lives.
3. The last key that can be used does not rest for a short rate limit, nor because it was refused once or may not do
   one thing: that would take the others of its models away. Who asked waits, or asks another model.
4. A key of which the provider says "0 left" rests until that changes, before it fails; the last one too.
5. Failures of a model, of a request or of the way there are none of a key.
6. `fill_first` takes the first key that does not rest, `round_robin` the one that was used longest ago.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import ErrorKind, Failure

FILL_FIRST, ROUND_ROBIN = "fill_first", "round_robin"

#: Seconds.
FIRST, LONGEST_WITHOUT_A_HINT = 5.0, 60.0
QUOTA = BILLING = 3600.0
PERMISSION = 600.0
REFUSED = 60.0
#: Whatever a provider says, it is asked again after a day.
LONGEST = 86_400.0
#: Refusals closer to each other than this are one, heard by several calls.
SAME = 10.0
#: How long a dead key is left alone, where there is no other.
LEFT_ALONE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What is kept of a key. `kind` is how it failed last, `in_a_row` how often so."""

    id: int
    benched_until: float | None = None
    kind: str = ""
    in_a_row: int = 0
    failed_at: float | None = None
    dead_since: float | None = None
    last_used: float | None = None

    def usable(self, now: float) -> bool:
        return self.dead_since is None and (self.benched_until is None or self.benched_until <= now)


@dataclass(frozen=True, slots=True)
class Resting:
    """No key can be used: the first comes back in so many seconds, None when none does. `kind` is why."""

    kind: ErrorKind
    seconds: float | None


def choose(keys: Sequence[KeyState], strategy: str, now: float, avoid: frozenset[int] = frozenset()) -> int | Resting:
    """Return the key to ask with, from `keys` in their order."""
    usable = [key for key in keys if key.usable(now) and key.id not in avoid]
    if not usable:
        return next((key.id for key in _tried_again(keys, now) if key.id not in avoid), None) or _resting(keys, now)
    if strategy == ROUND_ROBIN:
        return min(usable, key=lambda key: -math.inf if key.last_used is None else key.last_used).id
    return usable[0].id


def _tried_again(keys: Sequence[KeyState], now: float) -> Sequence[KeyState]:
    if any(key.dead_since is None for key in keys):
        return ()
    return [key for key in keys if now - max(key.failed_at or 0.0, key.dead_since or 0.0) >= LEFT_ALONE]


def _resting(keys: Sequence[KeyState], now: float) -> Resting:
    alive = [key for key in keys if key.dead_since is None]
    if not alive:
        return Resting(ErrorKind.AUTH, None)
    first = min(alive, key=lambda key: key.benched_until or 0.0)
    kind = ErrorKind(first.kind) if first.kind else ErrorKind.AUTH
    return Resting(kind, max(0.0, (first.benched_until or now) - now))


def after(key: KeyState, failure: Failure | None, now: float, *, last: bool, empty_for: float | None) -> KeyState:
    """Return the state after an attempt with this key has ended so.

    `last` says that no other key can be used. `empty_for` is for how long nothing is left, as the answer's head says.
    """
    empty = sane(empty_for)
    if failure is None:
        key = replace(key, in_a_row=0, failed_at=None, dead_since=None)
    if failure is None or failure.kind not in _RULES:
        return key if empty is None else _benched(replace(key, kind=ErrorKind.RATE_LIMIT.value), now + empty)
    told = sane(failure.retry_after) if failure.kind in (ErrorKind.RATE_LIMIT, ErrorKind.QUOTA_EXHAUSTED) else None
    return _RULES[failure.kind](_counted(key, failure.kind, now), now, told or empty, last)


def sane(seconds: float | None) -> float | None:
    """Return what can be believed of a wait: nothing that is not above zero, and at most a day."""
    return min(seconds, LONGEST) if seconds is not None and math.isfinite(seconds) and seconds > 0 else None


def _counted(key: KeyState, kind: ErrorKind, now: float) -> KeyState:
    if key.kind != kind:
        return replace(key, kind=kind.value, in_a_row=1, failed_at=now)
    if key.dead_since is not None:
        return replace(key, failed_at=now)
    if not key.usable(now) or (key.failed_at is not None and now - key.failed_at < SAME and kind is ErrorKind.AUTH):
        return key
    return replace(key, in_a_row=key.in_a_row + 1, failed_at=now)


def _benched(key: KeyState, until: float) -> KeyState:
    """Of two ends, the later counts."""
    return replace(key, benched_until=max(until, key.benched_until or until))


def _rate_limit(key: KeyState, now: float, told: float | None, last: bool) -> KeyState:
    growing = min(FIRST * 2.0 ** min(max(key.in_a_row - 1, 0), 30), LONGEST_WITHOUT_A_HINT)
    seconds = growing if told is None else told
    return key if last and seconds < LONGEST_WITHOUT_A_HINT else _benched(key, now + seconds)


def _quota(key: KeyState, now: float, told: float | None, last: bool) -> KeyState:
    return _benched(key, now + (QUOTA if told is None else told))


def _billing(key: KeyState, now: float, told: float | None, last: bool) -> KeyState:
    return _benched(key, now + BILLING)


def _permission(key: KeyState, now: float, told: float | None, last: bool) -> KeyState:
    return key if last else _benched(key, now + PERMISSION)


def _auth(key: KeyState, now: float, told: float | None, last: bool) -> KeyState:
    if key.in_a_row > 1:
        return replace(key, dead_since=key.dead_since or now)
    return key if last else _benched(key, now + REFUSED)


_RULES = {
    ErrorKind.RATE_LIMIT: _rate_limit,
    ErrorKind.QUOTA_EXHAUSTED: _quota,
    ErrorKind.BILLING: _billing,
    ErrorKind.PERMISSION: _permission,
    ErrorKind.AUTH: _auth,
}
