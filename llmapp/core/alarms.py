"""When something is so wrong that somebody is told. Times are seconds, and all of one clock."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

#: The signals that say that something is wrong (`llmapp.signals`), and that may be mailed.
ALARMS = ("run_stuck", "provider_down", "slow_response", "error_rate")

#: Of a share that was too high, what it has to come down to before it is over: one that wavers is told once.
CALM = 0.75

#: At most one mail of a subject in this time.
MAIL_EVERY = timedelta(hours=1)


def why_stuck(now: float, *, ends: float | None, heard: float, grace: float, silence: float) -> str:
    """Return why a run in progress is stuck, "" when it is not.

    `ends` is when its timeout is over, `heard` when the last entry of its log was written. A `silence` of 0 is never
    too long.
    """
    if ends is not None and now > ends + grace:
        return "past_timeout"
    return "silent" if silence and now - heard > silence else ""


def is_down(provider_is_open: bool, models_are_open: Collection[bool]) -> bool:
    """Say whether nothing of a provider is asked: by its own breaker, or by those of all of its models."""
    return provider_is_open or (bool(models_are_open) and all(models_are_open))


def too_many_failed(failed: int, ended: int, *, share: float, least: int, was: bool = False) -> bool:
    """Say whether the share of failed runs is too high; `was`: whether it was when that was looked at last.

    Fewer than `least` runs say nothing. A `share` of 0 is never too high.
    """
    if not share or ended < max(least, 1):
        return False
    return failed / ended >= (share * CALM if was else share)


def is_slow(waited: float, slow_after: float | None) -> bool:
    return slow_after is not None and waited > slow_after


def may_mail(mailed_at: datetime | None, now: datetime) -> bool:
    return mailed_at is None or now - mailed_at >= MAIL_EVERY
