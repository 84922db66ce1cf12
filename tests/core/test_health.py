"""The breaker and what pays, as tables: what has happened, and what may be done now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.errors import ErrorKind
from llmapp.core.health import (
    LONGEST,
    PROBE,
    UNTOUCHED,
    Breaker,
    BreakerState,
    ModelHealth,
    Observation,
    Rate,
    Sample,
    Sign,
    admitted,
    after,
    chars_per_token,
    counts,
    first_token_p95,
    opens_in,
    pays,
    sign_for_model,
    sign_for_provider,
    standing,
    together,
    waiting_pays,
)

# --- what pays: successes, failures, does it? ---

RATES = [
    (0, 0, True),  # nothing is known
    (0, 19, True),  # too little is known
    (0, 20, False),
    (2, 18, False),  # fails 9 times of 10
    (4, 16, False),
    (5, 15, True),  # one of four is worth it
    (1, 3, True),
    (20, 0, True),
    (100, 400, False),
]


@pytest.mark.parametrize("successes, failures, expected", RATES)
def test_an_action_pays_until_enough_of_it_has_failed(successes: int, failures: int, expected: bool) -> None:
    health = ModelHealth(rates={("overloaded", "Wait"): Rate(successes, failures)})
    assert pays(health, "overloaded", "Wait") is expected
    assert pays(health, ErrorKind.OVERLOADED, "Wait") is expected
    assert waiting_pays(health.rates) is expected


def test_what_is_known_of_one_kind_or_action_says_nothing_of_another() -> None:
    health = ModelHealth(rates={("overloaded", "Wait"): Rate(0, 99)})
    assert pays(health, "server_error", "Wait")
    assert pays(health, "overloaded", "SwitchModel")


@pytest.mark.parametrize("kind, action", [("rate_limit", "Wait"), ("overloaded", "SwitchModel"), ("auth", "Wait")])
def test_a_breaker_minds_only_waits_for_what_a_provider_does_wrong(kind: str, action: str) -> None:
    assert waiting_pays({(kind, action): Rate(0, 99)})


OBSERVATIONS = [
    (Observation(), False),  # a first attempt says nothing of an action
    (Observation(failure="overloaded"), False),
    (Observation("overloaded", "Wait"), True),
    (Observation("overloaded", "Wait", "overloaded"), True),
    (Observation("overloaded", "Wait", "auth"), True),
    (Observation("overloaded", "Wait", "cancelled"), False),  # somebody stopped it
]


@pytest.mark.parametrize("observation, expected", OBSERVATIONS)
def test_what_is_an_observation_of_an_action(observation: Observation, expected: bool) -> None:
    assert counts(observation) is expected


# --- what a failure says: kind, to the model's breaker, to the provider's ---

GOOD, BAD, NONE = Sign.GOOD, Sign.BAD, Sign.NONE
SIGNS = {
    "": (GOOD, GOOD),
    ErrorKind.OVERLOADED: (BAD, GOOD),
    ErrorKind.SERVER_ERROR: (BAD, GOOD),
    ErrorKind.STREAM_INTERRUPTED: (BAD, GOOD),
    ErrorKind.TIMEOUT: (BAD, NONE),  # nobody knows whether somebody was there
    ErrorKind.CONNECTION: (NONE, BAD),  # all of its models are away
    ErrorKind.CANCELLED: (NONE, NONE),
}


@pytest.mark.parametrize("failure", ["", *ErrorKind])
def test_what_a_failure_says_to_a_breaker(failure: str) -> None:
    """Failures of a key, of a request or of policy say only that the provider is there."""
    assert (sign_for_model(failure), sign_for_provider(failure)) == SIGNS.get(failure, (NONE, GOOD))


# --- a breaker's life: what happens at which second, and how it stands right after ---

CLOSED, OPEN, HALF = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
FIVE = [(0, BAD), (1, BAD), (2, BAD), (3, BAD), (4, BAD)]
ASK = "ask"

LIVES: dict[str, tuple[list[tuple[float, object]], Breaker]] = {
    "four failures": (FIVE[:4], CLOSED),
    "five failures": (FIVE, OPEN),
    "an answer between them": ([*FIVE[:4], (4, GOOD), *FIVE[:4]], CLOSED),
    "what says nothing between them": ([*FIVE[:4], (3.5, NONE), (4, BAD)], OPEN),
    "a pause longer than the window": ([*FIVE[:4], (950, BAD)], CLOSED),
    "its time is over": ([*FIVE, (19, None)], HALF),
    "an answer that comes while it is open": ([*FIVE, (10, GOOD)], OPEN),
    "a failure that comes while it is open": ([*FIVE, (18, BAD), (19, None)], HALF),
    "the probe succeeds": ([*FIVE, (19, ASK), (20, GOOD)], CLOSED),
    "the probe fails": ([*FIVE, (19, ASK), (20, BAD)], OPEN),
    "it opens for twice as long then": ([*FIVE, (19, ASK), (20, BAD), (49.9, None)], OPEN),
    "but not longer": ([*FIVE, (19, ASK), (20, BAD), (50, None)], HALF),
    "the probe says nothing": ([*FIVE, (19, ASK), (20, NONE)], HALF),
    "a failure of somebody else, half open": ([*FIVE, (19, BAD)], HALF),
    "an answer to somebody else, half open": ([*FIVE, (19, GOOD)], CLOSED),
    "after it has closed it takes five again": ([*FIVE, (19, ASK), (20, GOOD), (21, BAD)], CLOSED),
}


def live(steps: list[tuple[float, object]]) -> tuple[BreakerState, float]:
    state, now = UNTOUCHED, 0.0
    for now, what in steps:
        if what == ASK:
            state = admitted(state, now) or state
        elif isinstance(what, Sign):
            state = after(state, what, now, window=900)
    return state, now


@pytest.mark.parametrize("name", LIVES)
def test_how_a_breaker_stands(name: str) -> None:
    steps, expected = LIVES[name]
    assert standing(*live(steps)) is expected


def test_an_answer_leaves_nothing_behind() -> None:
    assert live([*FIVE[:4], (4, GOOD)])[0] == UNTOUCHED
    assert live([*FIVE, (19, ASK), (20, GOOD)])[0] == UNTOUCHED


def test_each_failed_probe_doubles_the_time_up_to_a_cap() -> None:
    state, now = live(FIVE)
    waits = []
    for _ in range(7):
        wait = opens_in(state, now)
        assert wait is not None
        waits.append(wait)
        now += wait
        probing = admitted(state, now)
        assert probing is not None
        state = after(probing, BAD, now)
    assert waits == [15, 30, 60, 120, 240, 300, 300]


#: Seconds after the fifth failure (it opens for 15) -> is a call let through, and the next one at once?
ADMITTED = [(0, False, False), (14.9, False, False), (15, True, False), (1000, True, False)]


@pytest.mark.parametrize("seconds, first, second", ADMITTED)
def test_one_call_is_let_through_when_its_time_is_over(seconds: float, first: bool, second: bool) -> None:
    state, opened = live(FIVE)
    one = admitted(state, opened + seconds)
    assert (one is not None) is first
    assert (admitted(one or state, opened + seconds) is not None) is second


def test_a_probe_that_nobody_hears_of_does_not_keep_others_away() -> None:
    state, now = live([*FIVE, (19, ASK)])
    assert admitted(state, now + 59) is None
    assert admitted(state, now + 60) is not None


def test_a_closed_breaker_lets_everybody_through_as_it_is() -> None:
    state, now = live(FIVE[:2])
    assert admitted(state, now) is state


def test_a_failure_opens_it_when_waiting_does_not_pay() -> None:
    state = after(UNTOUCHED, BAD, 0, waiting_pays=False)
    assert standing(state, 0) is OPEN
    assert standing(after(UNTOUCHED, GOOD, 0, waiting_pays=False), 0) is CLOSED


AWAY, TRIED, FINE = live(FIVE)[0], live([*FIVE, (19, ASK)])[0], UNTOUCHED
TOGETHER = [
    ([], 4, (CLOSED, None)),
    ([FINE, FINE], 4, (CLOSED, None)),
    ([FINE, AWAY], 4, (OPEN, 15)),  # the model is well, its provider is not
    ([AWAY, FINE], 4, (OPEN, 15)),
    ([AWAY, FINE], 19, (HALF, 0)),
    ([TRIED, FINE], 20, (HALF, 59)),
]


@pytest.mark.parametrize("states, now, expected", TOGETHER)
def test_the_worse_of_two_breakers_counts(
    states: list[BreakerState], now: float, expected: tuple[Breaker, float | None]
) -> None:
    assert together(states, now) == expected


# --- what past attempts tell ---


def test_the_time_to_the_first_token_takes_twenty_attempts() -> None:
    samples = [Sample(first_token=float(n)) for n in range(1, 21)]
    assert first_token_p95(samples[:19]) is None
    assert first_token_p95([*samples[:19], Sample()]) is None
    assert first_token_p95(samples) == 19.0


def test_prompts_of_a_similar_size_are_compared_where_there_are_enough() -> None:
    short = [Sample(first_token=1.0, input_tokens=100)] * 40
    long = [Sample(first_token=9.0, input_tokens=10_000)] * 20
    assert first_token_p95([*short, *long], 150) == 1.0
    assert first_token_p95([*short, *long], 30_000) == 9.0
    assert first_token_p95([*short * 4, *long[:5]], 30_000) == 1.0
    assert first_token_p95([*short, *long]) == 9.0


RATIOS = [
    ([(400, 100)] * 4, None),  # too few
    ([(400, 100)] * 5, 4.0),
    ([(150, 100)] * 5, 1.5),  # Chinese
    ([(400, 100)] * 5 + [(None, 100), (400, None), (400, 0)], 4.0),  # unknown is not zero
    ([(400, 100)] * 5 + [(4_000_000, 1)], 4.0),  # nonsense
]


@pytest.mark.parametrize("counted, expected", RATIOS)
def test_characters_for_a_token(counted: list[tuple[int | None, int | None]], expected: float | None) -> None:
    assert chars_per_token([Sample(None, tokens, characters) for characters, tokens in counted]) == expected


# --- whatever happens ---

#: Seconds that sums of floats may be off.
ROUNDING = 0.001

EVENTS = st.lists(
    st.tuples(st.floats(0, 400, allow_nan=False), st.sampled_from([*Sign, ASK]), st.booleans()),
    max_size=80,
)


@given(EVENTS)
def test_whatever_happens_one_call_tries_at_a_time_and_none_waits_for_ever(
    events: list[tuple[float, object, bool]],
) -> None:
    state, now, tried_at = UNTOUCHED, 0.0, None
    for pause, what, waiting in events:
        now += pause
        if isinstance(what, Sign):
            before, state = state, after(state, what, now, waiting_pays=waiting)
            if state.probe_until != before.probe_until:
                tried_at = None  # the probe was heard of
        elif state.until is not None and (let_through := admitted(state, now)) is not None:
            assert tried_at is None or now - tried_at >= PROBE - ROUNDING
            state, tried_at = let_through, now
        wait = opens_in(state, now)
        assert wait is None or wait <= LONGEST + ROUNDING
        assert wait is None or admitted(state, now + wait + ROUNDING) is not None
