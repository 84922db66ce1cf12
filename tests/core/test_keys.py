"""What becomes of a key, as tables: how it failed, and for how long it rests."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.keys import KeyState, Resting, after, choose, sane

K = ErrorKind
NOW = 1000.0
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0
FRESH = KeyState(id=1)


def failed(kind: ErrorKind, retry_after: float | None = None) -> Failure:
    return Failure(kind=kind, retry_after=retry_after)


#: Kind, what the provider says, how often it has failed so before, is it the last key -> seconds of rest.
RESTS = [
    (K.RATE_LIMIT, 20.0, 0, False, 20.0),  # exactly as long as told
    (K.RATE_LIMIT, None, 0, False, 5.0),
    (K.RATE_LIMIT, None, 1, False, 10.0),
    (K.RATE_LIMIT, None, 2, False, 20.0),
    (K.RATE_LIMIT, None, 3, False, 40.0),
    (K.RATE_LIMIT, None, 4, False, 60.0),
    (K.RATE_LIMIT, None, 99, False, 60.0),
    (K.RATE_LIMIT, 20.0, 0, True, None),  # the last key does not rest for a short limit
    (K.RATE_LIMIT, None, 0, True, None),
    (K.RATE_LIMIT, 59.0, 0, True, None),
    (K.RATE_LIMIT, 60.0, 0, True, 60.0),  # a long one is no short one
    (K.RATE_LIMIT, HOUR, 0, True, HOUR),
    (K.RATE_LIMIT, YEAR, 0, False, DAY),  # nonsense is clamped
    (K.RATE_LIMIT, -1.0, 0, False, 5.0),
    (K.RATE_LIMIT, 0.0, 0, False, 5.0),
    (K.RATE_LIMIT, math.nan, 0, False, 5.0),
    (K.RATE_LIMIT, math.inf, 0, False, 5.0),
    (K.QUOTA_EXHAUSTED, 7200.0, 0, False, 7200.0),  # the provider's own reset
    (K.QUOTA_EXHAUSTED, None, 0, False, HOUR),
    (K.QUOTA_EXHAUSTED, None, 0, True, HOUR),
    (K.BILLING, None, 0, False, HOUR),
    (K.BILLING, 5.0, 0, True, HOUR),
    (K.PERMISSION, None, 0, False, 600.0),
    (K.PERMISSION, None, 0, True, None),  # it may do other things
    (K.AUTH, None, 0, False, 60.0),
    (K.AUTH, None, 0, True, None),  # refused once may be a mistake of theirs
]


@pytest.mark.parametrize("kind, told, before, last, expected", RESTS)
def test_for_how_long_a_key_rests(
    kind: ErrorKind, told: float | None, before: int, last: bool, expected: float | None
) -> None:
    key = KeyState(id=1, kind=kind if before else "", in_a_row=before, failed_at=NOW - 100 if before else None)
    state = after(key, failed(kind, told), NOW, last=last, empty_for=None)
    assert state.benched_until == (None if expected is None else NOW + expected)
    assert (state.kind, state.in_a_row, state.dead_since) == (kind, before + 1, None)


OF_A_KEY = {K.RATE_LIMIT, K.QUOTA_EXHAUSTED, K.BILLING, K.PERMISSION, K.AUTH}


@pytest.mark.parametrize("kind", sorted(set(ErrorKind) - OF_A_KEY))
def test_what_is_no_failure_of_a_key_leaves_it_alone(kind: ErrorKind) -> None:
    assert after(FRESH, failed(kind, 20), NOW, last=False, empty_for=None) == FRESH


#: Seconds after the first refusal, last key? -> is it dead?
REFUSALS = [(0.5, False, False), (0.5, True, False), (9, True, False), (10, True, True), (61, False, True)]


@pytest.mark.parametrize("seconds, last, dead", REFUSALS)
def test_a_key_that_is_refused_twice_is_dead(seconds: float, last: bool, dead: bool) -> None:
    """But calls that are refused at once are refused once."""
    once = after(FRESH, failed(K.AUTH), NOW, last=last, empty_for=None)
    twice = after(once, failed(K.AUTH), NOW + seconds, last=last, empty_for=None)
    assert twice.dead_since == (NOW + seconds if dead else None)


def test_an_answer_between_two_refusals_forgives_the_first() -> None:
    once = after(FRESH, failed(K.AUTH), NOW, last=False, empty_for=None)
    forgiven = after(once, None, NOW + 61, last=False, empty_for=None)
    again = after(forgiven, failed(K.AUTH), NOW + 99, last=False, empty_for=None)
    assert (forgiven.in_a_row, again.in_a_row, again.dead_since) == (0, 1, None)


def test_a_dead_key_that_is_refused_again_is_left_alone_for_as_long_again() -> None:
    again = after(LONG_DEAD, failed(K.AUTH), NOW, last=True, empty_for=None)
    assert again == replace(LONG_DEAD, failed_at=NOW)
    assert choose([again], "fill_first", NOW + 599) == Resting(K.AUTH, None)
    assert choose([again], "fill_first", NOW + 600) == LONG_DEAD.id


def test_a_dead_key_that_is_taken_again_lives() -> None:
    assert after(LONG_DEAD, None, NOW, last=True, empty_for=None).usable(NOW)


def test_an_answer_to_an_earlier_call_does_not_end_a_rest() -> None:
    resting = after(FRESH, failed(K.RATE_LIMIT, 30), NOW, last=False, empty_for=None)
    assert after(resting, None, NOW + 1, last=False, empty_for=None).benched_until == NOW + 30


def test_a_limit_that_ten_calls_hear_of_at_once_is_one() -> None:
    state = FRESH
    for _ in range(10):
        state = after(state, failed(K.RATE_LIMIT), NOW, last=False, empty_for=None)
    assert (state.in_a_row, state.benched_until) == (1, NOW + 5)


def test_of_two_ends_the_later_counts() -> None:
    state = after(FRESH, failed(K.RATE_LIMIT, 300), NOW, last=False, empty_for=None)
    assert after(state, failed(K.RATE_LIMIT, 10), NOW + 1, last=False, empty_for=None).benched_until == NOW + 300


#: What the head of an answer says -> seconds of rest. The last key too: it would fail.
EMPTY = [(None, None), (12.0, 12.0), (-1.0, None), (0.0, None), (YEAR, DAY), (math.nan, None)]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("empty_for, expected", EMPTY)
def test_a_key_of_which_nothing_is_left_rests_before_it_fails(
    empty_for: float | None, expected: float | None, last: bool
) -> None:
    state = after(FRESH, None, NOW, last=last, empty_for=empty_for)
    assert state.benched_until == (None if expected is None else NOW + expected)
    assert state.kind == ("" if expected is None else K.RATE_LIMIT)


@pytest.mark.parametrize("seconds, expected", [(None, None), (5.0, 5.0), (-5.0, None), (YEAR, DAY), (math.inf, None)])
def test_what_can_be_believed_of_a_wait(seconds: float | None, expected: float | None) -> None:
    assert sane(seconds) == expected


# --- which one is asked ---

REST = KeyState(id=2, benched_until=NOW + 30, kind=K.RATE_LIMIT)
LONGER = KeyState(id=3, benched_until=NOW + HOUR, kind=K.QUOTA_EXHAUSTED)
OVER = KeyState(id=4, benched_until=NOW - 1, kind=K.RATE_LIMIT)
DEAD = KeyState(id=5, dead_since=NOW - 5, kind=K.AUTH)
LONG_DEAD = KeyState(id=6, dead_since=NOW - 900, failed_at=NOW - 600, kind=K.AUTH, in_a_row=2)
USED = [KeyState(id=1, last_used=5.0), KeyState(id=2, last_used=3.0), KeyState(id=3, last_used=4.0)]

#: Keys, strategy, those to avoid -> the one that is asked, or why none is.
CHOICES: list[tuple[list[KeyState], str, set[int], int | Resting]] = [
    ([FRESH, OVER], "fill_first", set(), 1),
    ([REST, FRESH], "fill_first", set(), 1),
    ([DEAD, REST, OVER], "fill_first", set(), 4),
    ([FRESH, OVER], "fill_first", {1}, 4),
    (USED, "fill_first", set(), 1),
    (USED, "round_robin", set(), 2),
    (USED, "round_robin", {2}, 3),
    ([*USED, KeyState(id=9)], "round_robin", set(), 9),  # never used yet
    ([REST, LONGER], "fill_first", set(), Resting(K.RATE_LIMIT, 30.0)),
    ([LONGER, REST], "round_robin", set(), Resting(K.RATE_LIMIT, 30.0)),
    ([LONGER, DEAD], "fill_first", set(), Resting(K.QUOTA_EXHAUSTED, HOUR)),
    ([DEAD], "fill_first", set(), Resting(K.AUTH, None)),  # nobody comes back
    ([LONG_DEAD, DEAD], "fill_first", set(), 6),  # tried again, where there is no other
    ([LONG_DEAD, DEAD], "fill_first", {6}, Resting(K.AUTH, None)),
    ([LONG_DEAD, REST], "fill_first", set(), Resting(K.RATE_LIMIT, 30.0)),
    ([LONG_DEAD, FRESH], "round_robin", set(), 1),
    ([REST, OVER], "fill_first", {4}, Resting(K.RATE_LIMIT, 0.0)),  # the one to avoid could be asked at once
]


@pytest.mark.parametrize("keys, strategy, avoid, expected", CHOICES)
def test_which_key_is_asked(keys: list[KeyState], strategy: str, avoid: set[int], expected: int | Resting) -> None:
    assert choose(keys, strategy, NOW, frozenset(avoid)) == expected
