"""How much an owner may send: at once, in a minute, in a day. Call it in the transaction that holds the owner.

A user is counted alone. A visitor is counted by its session, by the network address that it sends from, for a
session is soon made, and together with all other visitors, so that they never fill the workers.

A visitor who was refused is refused again for a moment without a look at the database, so that a flood takes no locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp.conf import app_settings
from llmapp.models import Run
from llmapp.models.runs import ACTIVE_RUNS

from . import owner as owners
from .refused import Refused

#: Seconds after which to try again what waits for the end of an answer.
SOON = 5
MINUTE, DAY = 60, 24 * 3600
#: Seconds for which a refusal is remembered.
MOMENT = 1.0

#: Makes a refusal, in the language of whoever reads it.
Why = Callable[[], Refused]

#: Refusals of this process, by visitor or address: until when they hold, and what was said.
_told: dict[Hashable, tuple[float, Why]] = {}


def told(owner: Any) -> Refused | None:
    """Return what a visitor was told a moment ago, or one from the same address; None for others."""
    if not owners.is_visitor(owner):
        return None
    now = time.monotonic()
    held = (_told.get(key) for key in (owner.pk, owner.address))
    return next((why() for until, why in filter(None, held) if now < until), None)


def check(owner: Any, now: datetime) -> None:
    """Raise `Refused`, with the seconds to wait, when the owner may not send `now`, by the database's clock."""
    if owners.is_visitor(owner):
        _check_visitor(owner, now)
    elif (why := _user_is_full(Run.objects.filter(user=owner, parent=None), now)) is not None:
        raise why()


def _user_is_full(runs: QuerySet[Run], now: datetime) -> Why | None:
    if _active(runs) >= (limit := app_settings.MAX_ACTIVE_RUNS_PER_USER):
        return partial(_being_answered, limit)
    wait = _wait(runs, app_settings.SENDS_PER_MINUTE, MINUTE, now)
    return partial(_in_a_minute, wait) if wait else None


def _check_visitor(visitor: Any, now: datetime) -> None:
    if (why := _session_is_full(Run.objects.filter(visitor=visitor, parent=None), now)) is not None:
        raise _tell(visitor.pk, why)
    # Of whom no address is known nothing is counted by it: rows without one are everybody's.
    from_there = Run.objects.filter(address=visitor.address, parent=None)
    if visitor.address and (why := _address_is_full(from_there, now)) is not None:
        raise _tell(visitor.address, why)
    # Last: who floods is refused before, and never keeps others waiting here.
    owners.lock(owners.ALL_VISITORS)
    if _active(Run.objects.filter(visitor__isnull=False, parent=None)) >= app_settings.VISITORS_ACTIVE_RUNS:
        raise _many_people()


def _session_is_full(runs: QuerySet[Run], now: datetime) -> Why | None:
    if _active(runs) >= (limit := app_settings.VISITOR_ACTIVE_RUNS):
        return partial(_being_answered, limit)
    if wait := _wait(runs, app_settings.VISITOR_SENDS_PER_MINUTE, MINUTE, now):
        return partial(_in_a_minute, wait)
    wait = _wait(runs, app_settings.VISITOR_SENDS_PER_DAY, DAY, now)
    return partial(_in_a_day, wait) if wait else None


def _address_is_full(runs: QuerySet[Run], now: datetime) -> Why | None:
    wait = _wait(runs, app_settings.ADDRESS_SENDS_PER_MINUTE, MINUTE, now)
    wait = wait or _wait(runs, app_settings.ADDRESS_SENDS_PER_DAY, DAY, now)
    if not wait and _active(runs) >= app_settings.ADDRESS_ACTIVE_RUNS:
        wait = SOON
    return partial(_from_the_network, wait) if wait else None


def _tell(key: Hashable, why: Why) -> Refused:
    now = time.monotonic()
    for old, (until, _why) in list(_told.items()):
        if until <= now:
            _told.pop(old, None)
    _told[key] = (now + MOMENT, why)
    return why()


# --- counting -------------------------------------------------------------------------------


def _active(runs: QuerySet[Run]) -> int:
    return runs.filter(ACTIVE_RUNS).count()


def _wait(runs: QuerySet[Run], limit: int, window: int, now: datetime) -> int:
    """Return how many seconds are left until one more run is allowed; 0 for none."""
    since = runs.filter(created_at__gt=now - timedelta(seconds=window)).order_by("-created_at")
    if limit == 0:
        return window
    oldest = since.values_list("created_at", flat=True)[limit - 1 : limit].first()
    return max(1, round(window - (now - oldest).total_seconds())) if oldest is not None else 0


# --- saying so ------------------------------------------------------------------------------


def _being_answered(limit: int) -> Refused:
    text = ngettext(
        "%(limit)d answer is being written already. Wait for it, or stop it.",
        "%(limit)d answers are being written already. Wait for one of them, or stop it.",
        limit,
    )
    return _too_many(text % {"limit": limit}, SOON)


def _in_a_minute(wait: int) -> Refused:
    text = ngettext(
        "Too many messages in a minute. Try again in %(wait)d second.",
        "Too many messages in a minute. Try again in %(wait)d seconds.",
        wait,
    )
    return _too_many(text % {"wait": wait}, wait)


def _in_a_day(wait: int) -> Refused:
    return _too_many(_("Without an account, no more can be sent today. {again}").format(again=_again(wait)), wait)


def _from_the_network(wait: int) -> Refused:
    return _too_many(_("Too many messages come from your network. {again}").format(again=_again(wait)), wait)


def _many_people() -> Refused:
    return _too_many(_("Many people are asking at the moment. {again}").format(again=_again(SOON)), SOON)


def _too_many(sentence: str, wait: int) -> Refused:
    return Refused("too_many_runs", 429, sentence, retry_after=wait)


def _again(wait: int) -> str:
    """Say when to try again, in the unit that people would use."""
    if wait <= 2 * MINUTE:
        text, number = ngettext("Try again in {wait} second.", "Try again in {wait} seconds.", wait), wait
    elif wait <= 120 * MINUTE:
        number = -(-wait // MINUTE)
        text = ngettext("Try again in {wait} minute.", "Try again in {wait} minutes.", number)
    else:
        number = -(-wait // 3600)
        text = ngettext("Try again in {wait} hour.", "Try again in {wait} hours.", number)
    return text.format(wait=number)
