"""What to do about a failure: one pure function from a failure and what is left to an action.

Rules, in words, in the order in which they are asked:

1. After the first visible token an attempt is not repeated: its text is kept, and the call ends.
2. There is one budget: attempts, time, time-outs and refusals. When it is used up, the call ends. Every
   action costs an attempt and none gives one back, so this ends for any sequence of failures.
3. What no other attempt can change (a request that is wrong everywhere) ends the call.
4. What is wrong with a key: the next key, then the next model.
5. What is wrong with a model, or with asking it this: the next model.
6. What passes: wait exactly as long as told, else full-jitter exponential back-off. When that is longer
   than `switch_after`, or has failed often enough, the next model. A wait that the run's time does not
   allow is not begun.

Time and chance are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ErrorKind, Failure

#: Seconds: the back-off's first bound, and its largest.
BACKOFF_BASE = 0.5
BACKOFF_CAP = 30.0

#: How often a passing failure is met on one model before the next model is asked.
PATIENCE = 3

#: Streams that broke before any text, after which an answer is asked for in one piece.
CUTS_BEFORE_WHOLE = 2

OF_THE_KEY = frozenset({ErrorKind.AUTH, ErrorKind.PERMISSION, ErrorKind.BILLING, ErrorKind.QUOTA_EXHAUSTED})
OF_THE_MODEL = frozenset(
    {
        ErrorKind.MODEL_NOT_FOUND,
        ErrorKind.CONTEXT_OVERFLOW,
        ErrorKind.PAYLOAD_TOO_LARGE,
        ErrorKind.UNSUPPORTED_PARAMETER,
        ErrorKind.THINKING_SIGNATURE,
        ErrorKind.CONTENT_POLICY,
        ErrorKind.OUTPUT_TRUNCATED,
        ErrorKind.INVALID_RESPONSE,
    }
)
PASSING = frozenset(
    {
        ErrorKind.RATE_LIMIT,
        ErrorKind.OVERLOADED,
        ErrorKind.SERVER_ERROR,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION,
        ErrorKind.STREAM_INTERRUPTED,
    }
)
#: Nothing helps but another request, or another decision of a person.
WRONG_EVERYWHERE = frozenset({ErrorKind.INVALID_REQUEST, ErrorKind.CANCELLED})


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RotateCredential:
    """Ask again with the next key."""


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Ask the next model of the chain."""


@dataclass(frozen=True, slots=True)
class DisableStreaming:
    """Ask again, at once, for an answer in one piece."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the call. `advice` is a word of `ADVICE`, which the pages turn into a sentence."""

    kind: ErrorKind
    advice: str


Action = Wait | RotateCredential | SwitchModel | DisableStreaming | GiveUp

#: What a person can do about it.
ADVICE: dict[ErrorKind, str] = {
    ErrorKind.AUTH: "check_key",
    ErrorKind.PERMISSION: "check_key",
    ErrorKind.BILLING: "check_billing",
    ErrorKind.QUOTA_EXHAUSTED: "check_billing",
    ErrorKind.RATE_LIMIT: "try_later",
    ErrorKind.OVERLOADED: "try_later",
    ErrorKind.SERVER_ERROR: "try_later",
    ErrorKind.TIMEOUT: "try_later",
    ErrorKind.CONNECTION: "check_address",
    ErrorKind.STREAM_INTERRUPTED: "try_again",
    ErrorKind.CONTEXT_OVERFLOW: "shorten",
    ErrorKind.PAYLOAD_TOO_LARGE: "shorten",
    ErrorKind.CONTENT_POLICY: "rephrase",
    ErrorKind.INVALID_REQUEST: "check_settings",
    ErrorKind.UNSUPPORTED_PARAMETER: "check_settings",
    ErrorKind.MODEL_NOT_FOUND: "check_model",
    ErrorKind.THINKING_SIGNATURE: "new_conversation",
    ErrorKind.OUTPUT_TRUNCATED: "raise_limit",
    ErrorKind.INVALID_RESPONSE: "check_address",
    ErrorKind.CANCELLED: "try_again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryState:
    """What is left, and what has happened. The failure in question is counted already.

    Times are seconds. `chance` is drawn anew for each decision, from [0, 1).
    """

    attempts_left: int
    time_left: float
    chance: float = 1.0
    text_shown: bool = False
    other_keys: bool = False
    other_models: bool = False
    streaming: bool = True
    may_disable_streaming: bool = True
    #: Passing failures on this model, one after the other.
    in_a_row: int = 1
    #: Of those, streams that broke before any text.
    cuts: int = 0
    timeouts: int = 0
    violations: int = 0
    switch_after: float = 20.0
    timeout_limit: int = 3
    violation_limit: int = 1


def decide(failure: Failure, state: RecoveryState) -> Action:
    """Return what to do about `failure`."""
    kind = failure.kind
    if state.text_shown or _is_used_up(kind, state) or kind in WRONG_EVERYWHERE:
        return _give_up(kind)
    if kind in OF_THE_KEY and state.other_keys:
        return RotateCredential()
    if kind in PASSING or (kind is ErrorKind.QUOTA_EXHAUSTED and failure.retry_after is not None):
        return _wait(failure, state)
    return SwitchModel() if state.other_models else _give_up(kind)


def backoff(in_a_row: int, chance: float) -> float:
    """Return the seconds of a full-jitter exponential back-off before the next attempt."""
    bound = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(max(in_a_row, 1), 16))
    return bound * min(max(chance, 0.0), 1.0)


def _is_used_up(kind: ErrorKind, state: RecoveryState) -> bool:
    return (
        state.attempts_left <= 0
        or state.time_left <= 0
        or (kind is ErrorKind.TIMEOUT and state.timeouts >= state.timeout_limit)
        or (kind is ErrorKind.CONTENT_POLICY and state.violations >= state.violation_limit)
    )


def _wait(failure: Failure, state: RecoveryState) -> Action:
    told = failure.retry_after
    if state.streaming and state.may_disable_streaming and state.cuts >= CUTS_BEFORE_WHOLE:
        return DisableStreaming()
    seconds = backoff(state.in_a_row, state.chance) if told is None else told
    too_long = seconds > state.switch_after or seconds >= state.time_left
    if too_long and state.other_keys and failure.kind is ErrorKind.RATE_LIMIT:
        return RotateCredential()
    if state.other_models and (too_long or state.in_a_row >= PATIENCE):
        return SwitchModel()
    return _give_up(failure.kind) if seconds >= state.time_left else Wait(seconds)


def _give_up(kind: ErrorKind) -> GiveUp:
    return GiveUp(kind, ADVICE[kind])
