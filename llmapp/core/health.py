"""How a model has done lately: a breaker, and what has helped after which failure. Pure rules over pure values.

Every worker writes observations, and reads what all have written (`runs.health`).

A breaker, one for each provider and one for each model:

1. It counts failures in a row: those of a provider that cannot be reached for the provider, those of what a
   provider does wrong for the model. A failure of a key, of a request or of policy says nothing about either.
2. It opens at the fifth in a row, none further from the one before than the window is long. A model's opens too
   at the first failure when waiting has stopped to pay for one of these (rule 5).
3. While it is open, nobody asks. What attempts report that began before changes nothing.
4. After its time it is half open, and one call may try. An answer closes it; a failure opens it again, for twice as
   long, up to a cap. What says nothing, or a probe that nobody hears of, lets the next call try. A model is asked
   only if its provider's breaker lets it, too.
5. An action pays, after a kind of failure, until there are 20 observations of it in the window and less than a
   quarter of them were answers. The answer that closes a breaker begins the window anew: then waiting pays again.

Time is an argument, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from .errors import ErrorKind


class Breaker(StrEnum):
    CLOSED = "closed"
    #: The model is not asked.
    OPEN = "open"
    #: One call may try.
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often an action led to an answer, and how often it did not, in the window."""

    successes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """How an attempt ended. `kind` and `action` name the failure before it, and what was done about that failure;
    both are empty for the first attempt of a call. `failure` is how this one failed, empty where it did not.
    """

    kind: str = ""
    action: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """What is known of one model. Times are seconds."""

    breaker: Breaker = Breaker.CLOSED
    #: While the breaker is open: how long until a call may try.
    probe_in: float | None = None
    #: (kind, action) -> rate, for example ("overloaded", "Wait").
    rates: Mapping[tuple[str, str], Rate] = field(default_factory=dict)
    #: The 95th percentile of the time to its first token; None while too little is known.
    first_token_p95: float | None = None
    #: Characters for a token of input, from its own past usage; None while too little is known.
    chars_per_token: float | None = None
    #: Tokens that all our calls used in the last minute.
    tokens_last_minute: int = 0


# -- what has helped

#: Observations of an action before it is judged, and the share of answers below which it does not pay.
ENOUGH, WORTH = 20, 0.25

WAIT = "Wait"


def pays(health: ModelHealth, kind: str, action: str) -> bool:
    """Say whether an action has helped after this kind of failure lately, or may, for all that is known."""
    return _pays(health.rates.get((str(kind), action), Rate()))


def _pays(rate: Rate) -> bool:
    seen = rate.successes + rate.failures
    return seen < ENOUGH or rate.successes >= WORTH * seen


def waiting_pays(rates: Mapping[tuple[str, str], Rate]) -> bool:
    """Say whether waiting still pays for everything that a provider does wrong."""
    return all(_pays(rate) for (kind, action), rate in rates.items() if action == WAIT and kind in OF_THE_MODEL)


def counts(observation: Observation) -> bool:
    """Say whether an observation is one of an action: something failed before, and nobody stopped the attempt."""
    return bool(observation.kind and observation.action) and observation.failure != ErrorKind.CANCELLED


# -- the breaker

#: Failures in a row at which it opens.
IN_A_ROW = 5

#: Seconds: how long it is open at first, and at most.
FIRST, LONGEST = 15.0, 300.0

#: Seconds after which a probe that nobody hears of does not keep the next call from trying.
PROBE = 60.0

OF_THE_MODEL = frozenset(
    {ErrorKind.OVERLOADED, ErrorKind.SERVER_ERROR, ErrorKind.TIMEOUT, ErrorKind.STREAM_INTERRUPTED}
)
OF_THE_PROVIDER = frozenset({ErrorKind.CONNECTION})

#: Whoever stops an attempt learns nothing; a timeout does not say whether anybody was there.
SAYS_NOTHING_OF_THE_WAY = frozenset({ErrorKind.CANCELLED, ErrorKind.TIMEOUT})


class Sign(StrEnum):
    """What the end of an attempt says to a breaker."""

    GOOD = "good"
    BAD = "bad"
    NONE = "none"


def sign_for_model(failure: str) -> Sign:
    if not failure:
        return Sign.GOOD
    return Sign.BAD if failure in OF_THE_MODEL else Sign.NONE


def sign_for_provider(failure: str) -> Sign:
    """A provider that refuses was reached all the same."""
    if failure in OF_THE_PROVIDER:
        return Sign.BAD
    return Sign.NONE if failure in SAYS_NOTHING_OF_THE_WAY else Sign.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """What is kept of a breaker. `until` is set from the moment it opens to the moment it closes."""

    in_a_row: int = 0
    failed_at: float | None = None
    #: How often it has opened since it was closed.
    openings: int = 0
    until: float | None = None
    #: While a probe is out: until when others wait for it.
    probe_until: float | None = None


UNTOUCHED = BreakerState()


def standing(state: BreakerState, now: float) -> Breaker:
    if state.until is None:
        return Breaker.CLOSED
    return Breaker.OPEN if now < state.until else Breaker.HALF_OPEN


def opens_in(state: BreakerState, now: float) -> float | None:
    """Return the seconds until a call may try; None while it is closed."""
    return None if state.until is None else max(0.0, state.until - now, (state.probe_until or 0.0) - now)


def after(
    state: BreakerState, sign: Sign, now: float, *, window: float = 900.0, waiting_pays: bool = True
) -> BreakerState:
    """Return the state after an attempt has ended so."""
    match standing(state, now), sign:
        case Breaker.CLOSED, Sign.GOOD:
            return UNTOUCHED
        case Breaker.CLOSED, Sign.BAD:
            goes_on = state.failed_at is not None and now - state.failed_at <= window
            failed = replace(state, in_a_row=state.in_a_row + 1 if goes_on else 1, failed_at=now)
            return failed if failed.in_a_row < IN_A_ROW and waiting_pays else _opened(failed, now)
        case Breaker.HALF_OPEN, Sign.GOOD:
            return UNTOUCHED
        case Breaker.HALF_OPEN, Sign.BAD if _probed(state, now):
            return _opened(replace(state, in_a_row=state.in_a_row + 1, failed_at=now), now)
        case Breaker.HALF_OPEN, Sign.NONE:
            return replace(state, probe_until=None)
    return state


def admitted(state: BreakerState, now: float) -> BreakerState | None:
    """Return the state after a call was let through; None when it must not ask now."""
    match standing(state, now):
        case Breaker.CLOSED:
            return state
        case Breaker.HALF_OPEN if not _probed(state, now):
            return replace(state, probe_until=now + PROBE)
    return None


def _probed(state: BreakerState, now: float) -> bool:
    return state.probe_until is not None and now < state.probe_until


def _opened(state: BreakerState, now: float) -> BreakerState:
    seconds = min(FIRST * 2.0 ** min(state.openings, 30), LONGEST)
    return replace(state, openings=state.openings + 1, until=now + seconds, probe_until=None)


def together(states: Iterable[BreakerState], now: float) -> tuple[Breaker, float | None]:
    """Return how several breakers stand as one, and the seconds until a call may try: the worst of them counts."""
    states = list(states)
    worst = max((standing(state, now) for state in states), key=_BY_SEVERITY.index, default=Breaker.CLOSED)
    return worst, max((wait for state in states if (wait := opens_in(state, now)) is not None), default=None)


_BY_SEVERITY = [Breaker.CLOSED, Breaker.HALF_OPEN, Breaker.OPEN]


# -- what past attempts tell

#: Attempts before a figure is believed.
SAMPLES_OF_TIME, SAMPLES_OF_TEXT = 20, 5

#: How much larger or smaller a prompt may be to be one of a similar size.
SIMILAR = 4.0

#: Characters for a token: less or more than this is a mistake of somebody's count.
FEWEST, MOST = 0.25, 12.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A past attempt, as far as it is known."""

    first_token: float | None = None
    input_tokens: int | None = None
    input_characters: int | None = None


def first_token_p95(samples: Sequence[Sample], input_tokens: int | None = None) -> float | None:
    """Return the time that 95 % of first tokens came within: for prompts of a similar size, if enough are known."""
    timed = [sample for sample in samples if sample.first_token is not None]
    similar = [sample for sample in timed if _is_similar(sample.input_tokens, input_tokens)]
    times = sorted(sample.first_token or 0.0 for sample in (similar if len(similar) >= SAMPLES_OF_TIME else timed))
    return times[math.ceil(0.95 * len(times)) - 1] if len(times) >= SAMPLES_OF_TIME else None


def _is_similar(one: int | None, other: int | None) -> bool:
    return bool(one and other) and max(one or 0, other or 0) <= SIMILAR * min(one or 0, other or 0)


def chars_per_token(samples: Sequence[Sample]) -> float | None:
    """Return the characters for a token of input, over attempts of which both are known. Nonsense is left out."""
    known = [(sample.input_characters, sample.input_tokens) for sample in samples]
    counted = [(a, b) for a, b in known if a and b and FEWEST <= a / b <= MOST]
    if len(counted) < SAMPLES_OF_TEXT:
        return None
    return sum(characters for characters, _ in counted) / sum(tokens for _, tokens in counted)
