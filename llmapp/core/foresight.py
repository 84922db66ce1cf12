"""What can be foreseen before a model is asked, and what to do instead of asking it. Pure.

 1. Its breaker is open: the next model.
 2. The conversation is longer than its window: compress it; where that cannot help, the next model. When there
    is none, it is asked only if our estimate may be wrong: what is too long by any measure is given up unasked.
 3. Our own usage of the last minute leaves no room under its limit: the next model, or wait for room.
 4. It usually takes longer to its first token than it is given: the next model. Where there is none it is given
    more time, unless somebody set the limit by hand.

What a provider's headers say about a key ("0 left") is foreseen by the key pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .actions import Action, Compress, GiveUp, SwitchModel, Wait
from .errors import ErrorKind
from .health import Breaker, ModelHealth

#: Of the window, what an answer needs at least where nobody says how long it may be.
SHARE_OF_ANSWER = 0.1
LARGEST_SHARE_OF_ANSWER = 0.5
#: Tokens that an answer may need at most, for the sake of the window.
LARGEST_RESERVE = 8_192
#: Of what is free, how much a compressed conversation may take: it is to last for some messages.
FILL = 0.7
#: Without past usage to go by, an estimate may be this much too high.
DOUBT = 2.0
#: The window of a limit per minute, in seconds, and how often a call waits for it.
MINUTE = 60.0
MAX_WAITS = 4
#: Times the usual first token that a model is waited for, where nobody set a limit.
PATIENCE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A model that is about to be asked. Sizes are tokens, times seconds."""

    health: ModelHealth = field(default_factory=ModelHealth)
    #: Whether a half-open breaker lets this call try.
    admitted: bool = True
    estimate: int = 0
    window: int | None = None
    output_limit: int | None = None
    compressible: bool = True
    first_token: float = 60.0
    streaming: bool = True
    tokens_per_minute: int | None = None
    waits: int = 0
    other_models: bool = False


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would happen, and what to do instead."""

    kind: ErrorKind
    action: Action


def foresee(prospect: Prospect) -> Foreseen | None:
    """Return what to do instead of asking this model now; None: ask it."""
    for rule in (_breaker, _window, _rate, _first_token):
        if (foreseen := rule(prospect)) is not None:
            return foreseen
    return None


def reserve(window: int, output_limit: int | None) -> int:
    """Return the tokens of a window that are kept free for the answer."""
    if output_limit is None:
        return min(int(window * SHARE_OF_ANSWER), LARGEST_RESERVE)
    return min(output_limit, int(window * LARGEST_SHARE_OF_ANSWER), LARGEST_RESERVE)


def patience(first_token: float, is_set: bool, health: ModelHealth) -> float:
    """Return how many seconds to wait for the first token. What somebody set by hand always wins."""
    if is_set or health.first_token_p95 is None:
        return first_token
    return max(first_token, health.first_token_p95 * PATIENCE)


def _breaker(prospect: Prospect) -> Foreseen | None:
    closed = prospect.health.breaker is Breaker.CLOSED or prospect.admitted
    return None if closed or not prospect.other_models else Foreseen(ErrorKind.OVERLOADED, SwitchModel())


def _window(prospect: Prospect) -> Foreseen | None:
    if prospect.window is None:
        return None
    room = max(prospect.window - reserve(prospect.window, prospect.output_limit), 1)
    if prospect.estimate <= room:
        return None
    if prospect.compressible:
        return Foreseen(ErrorKind.CONTEXT_OVERFLOW, Compress(max(int(room * FILL), 1)))
    if prospect.other_models:
        return Foreseen(ErrorKind.CONTEXT_OVERFLOW, SwitchModel())
    doubt = 1.0 if prospect.health.chars_per_token is not None else DOUBT
    if prospect.estimate > prospect.window * doubt:
        return Foreseen(ErrorKind.CONTEXT_OVERFLOW, GiveUp(ErrorKind.CONTEXT_OVERFLOW, "shorten"))
    return None


def _rate(prospect: Prospect) -> Foreseen | None:
    limit, used = prospect.tokens_per_minute, prospect.health.tokens_last_minute
    # What is larger than the limit by itself would wait for ever.
    if not limit or used <= 0 or used + prospect.estimate <= limit or prospect.estimate > limit:
        return None
    if prospect.other_models:
        return Foreseen(ErrorKind.RATE_LIMIT, SwitchModel())
    if prospect.waits >= MAX_WAITS:
        return None
    too_many = used + prospect.estimate - limit
    return Foreseen(ErrorKind.RATE_LIMIT, Wait(max(1.0, MINUTE * min(too_many / used, 1.0) / MAX_WAITS)))


def _first_token(prospect: Prospect) -> Foreseen | None:
    usual = prospect.health.first_token_p95
    too_slow = prospect.streaming and usual is not None and usual > prospect.first_token
    return Foreseen(ErrorKind.TIMEOUT, SwitchModel()) if too_slow and prospect.other_models else None
