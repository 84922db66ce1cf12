"""When a run is stuck, a provider down, an answer slow, a share of failures too high, a mail due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from llmapp.core.alarms import is_down, is_slow, may_mail, too_many_failed, why_stuck


@pytest.mark.parametrize(
    "now, ends, heard, silence, reason",
    [
        (100, 200, 99, 60, ""),
        (100, None, 99, 60, ""),
        # within the grace
        (209, 200, 205, 60, ""),
        (211, 200, 205, 60, "past_timeout"),
        # in time, and nothing comes
        (161, 300, 100, 60, "silent"),
        (160, 300, 100, 60, ""),
        (161, None, 100, 60, "silent"),
        # both: its time says more
        (300, 200, 100, 60, "past_timeout"),
        # switched off
        (9000, 9999, 0, 0, ""),
    ],
)
def test_stuck(now: float, ends: float | None, heard: float, silence: float, reason: str) -> None:
    assert why_stuck(now, ends=ends, heard=heard, grace=10, silence=silence) == reason


@pytest.mark.parametrize(
    "provider, models, down",
    [
        (True, [], True),
        (True, [False], True),
        (False, [], False),
        (False, [True, False], False),
        (False, [True, True], True),
    ],
)
def test_down(provider: bool, models: list[bool], down: bool) -> None:
    assert is_down(provider, models) is down


@pytest.mark.parametrize(
    "failed, ended, was, too_many",
    [
        (0, 0, False, False),
        # too few to say anything
        (9, 9, False, False),
        (5, 10, False, True),
        (4, 10, False, False),
        # it wavers: told already, and not yet over
        (4, 10, True, True),
        (3, 10, True, False),
        (9, 9, True, False),
    ],
)
def test_failures(failed: int, ended: int, was: bool, too_many: bool) -> None:
    assert too_many_failed(failed, ended, share=0.5, least=10, was=was) is too_many


def test_a_share_of_nothing_is_never_too_high() -> None:
    assert not too_many_failed(10, 10, share=0, least=1)
    assert not too_many_failed(0, 0, share=0.5, least=0)


@pytest.mark.parametrize("waited, after, slow", [(5, 5, False), (5.1, 5, True), (9999, None, False)])
def test_slow(waited: float, after: float | None, slow: bool) -> None:
    assert is_slow(waited, after) is slow


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("minutes, due", [(None, True), (0, False), (59, False), (60, True)])
def test_mails(minutes: int | None, due: bool) -> None:
    mailed_at = None if minutes is None else NOON - timedelta(minutes=minutes)
    assert may_mail(mailed_at, NOON) is due
