"""What to do about a failure: one pure function from a failure and what is left to an action.

`RULES` are asked in their order, and the first that has an answer decides:

 1. There is one budget: attempts, time, time-outs and refusals. When it is used up, the call ends. Every
    action costs an attempt and none gives one back, so this ends for any sequence of failures.
 2. What was stopped, or refused by policy after text was shown, ends.
 3. A request that is refused is changed once for each reason: a parameter gets its other name or is left
    out, signed thinking is left out, a history is repaired, an output limit is lowered to the one stated.
 4. A conversation that is too long: a window that the provider states is believed and kept; without one
    nothing is guessed, the conversation is compressed for this request. Three times at most.
 5. An answer that came but is none: text that reached the output limit is continued; thinking that used
    the whole limit gets a larger limit, then less effort; a broken tool call or an empty answer is asked
    for once more.
 6. What is wrong everywhere (a request that no other model would take) ends the call.
 7. What is wrong with a key: the next key; else, where it says when it can be used again, as in 9.
 8. What is wrong with a model, or with asking it this: the next model.
 9. What passes: another key, where it is the rate of this one; else wait exactly as long as told, else full-jitter
    exponential back-off. The next model instead, when the wait is longer than `switch_after`, when it has failed
    often enough in this call, or when waiting has not helped lately. A wait that the run's time does not allow is
    not begun.

After the first visible token the same rules hold, but what would be a wait continues the text that was
shown, from where it broke; two characters, or what was shown together with a tool call in flight, are
withdrawn and start again. A continuation that brings nothing, twice in a row, is given up: the text is kept.

Time and chance are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .actions import (
    Action,
    Compress,
    Continue,
    DisableStreaming,
    DropParameter,
    GiveUp,
    LowerEffort,
    LowerOutputLimit,
    LowerWindow,
    RaiseOutputLimit,
    RenameParameter,
    RepairHistory,
    Restart,
    RotateCredential,
    StripThinking,
    SwitchModel,
    Wait,
)
from .errors import ErrorKind, Failure
from .health import ModelHealth, pays

#: Seconds: the back-off's first bound, and its largest.
BACKOFF_BASE = 0.5
BACKOFF_CAP = 30.0

#: Seconds: who has to wait longer gives its place in the worker back.
LONGEST_WAIT_IN_PLACE = 30.0

#: How often a passing failure is met on one model before the next model is asked: less patience with those
#: that hit everybody at once, or that take long to show.
PATIENCE = 3
LITTLE_PATIENCE = 2
LITTLE_PATIENCE_WITH = frozenset(
    {ErrorKind.OVERLOADED, ErrorKind.CONNECTION, ErrorKind.SERVER_ERROR, ErrorKind.TIMEOUT}
)

#: Streams that broke before any text, after which an answer is asked for in one piece.
CUTS_BEFORE_WHOLE = 2
#: Continuations in a row that brought no new text, after which it is left as it is.
STUCK = 2
#: Characters: less is not gone on with. Where it ends could not be told in what follows.
SHORTEST = 3
#: How often text that reached the output limit is continued.
MAX_LENGTH_CONTINUATIONS = 4
#: How often one conversation is compressed for one model.
MAX_COMPRESSIONS = 3
#: Answers of one model in a row that were none, after which it is not asked again.
MAX_REPEATS = 2

#: Tokens: an answer needs at least so many.
SMALLEST_OUTPUT = 256

#: What a request cannot be without.
ESSENTIAL = frozenset({"model", "messages", "stream", "role", "content"})
#: Parameters that providers know by one of two names.
OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

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

    Times are seconds, sizes tokens. `chance` is drawn anew for each decision, from [0, 1).
    """

    attempts_left: int
    time_left: float
    chance: float = 1.0

    #: What of the answer a person has seen.
    partial: str = ""
    #: Whether a tool call had begun when it broke.
    calling: bool = False
    #: Continuations in a row that brought no new text.
    stuck: int = 0
    #: How often text was continued that had reached the output limit.
    length_continuations: int = 0
    #: Whether the output limit is one that the agent's owner set: then the text is left as it is.
    limit_is_set: bool = False

    other_keys: bool = False
    other_models: bool = False
    streaming: bool = True
    may_disable_streaming: bool = True

    #: Parameters that were left out or got another name already.
    dropped: frozenset[str] = frozenset()
    renamed: frozenset[str] = frozenset()
    has_thinking: bool = False
    repaired: bool = False
    #: The window as far as it is known, and the size of the request by our estimate.
    window: int | None = None
    estimate: int = 0
    compressible: bool = True
    compressions: int = 0
    #: The longest answer that the request allows, and a larger limit, where one can be set.
    output_limit: int | None = None
    larger_limit: int | None = None
    effort_can_be_lowered: bool = False

    #: Passing failures on this model, one after the other.
    in_a_row: int = 1
    #: Of those, streams that broke before any text.
    cuts: int = 0
    #: Answers of this model that were none, one after the other.
    repeats: int = 1
    timeouts: int = 0
    violations: int = 0
    switch_after: float = 20.0
    timeout_limit: int = 3
    violation_limit: int = 1
    health: ModelHealth = field(default_factory=ModelHealth)


def decide(failure: Failure, state: RecoveryState) -> Action:
    """Return what to do about `failure`."""
    for rule in RULES:
        if (action := rule(failure, state)) is not None:
            return action
    return _give_up(failure)


def backoff(in_a_row: int, chance: float) -> float:
    """Return the seconds of a full-jitter exponential back-off before the next attempt."""
    bound = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(max(in_a_row, 1), 16))
    return bound * min(max(chance, 0.0), 1.0)


# -- the rules ------------------------------------------------------------------------------------


def the_budget(failure: Failure, state: RecoveryState) -> Action | None:
    kind = failure.kind
    used_up = (
        state.attempts_left <= 0
        or state.time_left <= 0
        or (kind is ErrorKind.TIMEOUT and state.timeouts >= state.timeout_limit)
        or (kind is ErrorKind.CONTENT_POLICY and state.violations >= state.violation_limit)
    )
    return _give_up(failure) if used_up else None


def what_ends_at_once(failure: Failure, state: RecoveryState) -> Action | None:
    refused = failure.kind is ErrorKind.CONTENT_POLICY and state.partial
    return _give_up(failure) if refused or failure.kind is ErrorKind.CANCELLED else None


def a_parameter(failure: Failure, state: RecoveryState) -> Action | None:
    """Name it as the provider wants it, once; else leave it out."""
    name = failure.parameter
    if failure.kind is not ErrorKind.UNSUPPORTED_PARAMETER or not name:
        return None
    if name == "stream" and state.streaming:
        return DisableStreaming()
    if name in ESSENTIAL or name in state.dropped:
        return None
    if name not in state.renamed and not failure.conditional:
        other = failure.replacement or OTHER_NAMES.get(name)
        if other and other not in ESSENTIAL | state.dropped | state.renamed:
            return RenameParameter(name, other)
    return DropParameter(name)


def the_thinking(failure: Failure, state: RecoveryState) -> Action | None:
    if failure.kind is not ErrorKind.THINKING_SIGNATURE:
        return None
    if state.has_thinking:
        return StripThinking()
    return None if state.repaired else RepairHistory()


def the_history(failure: Failure, state: RecoveryState) -> Action | None:
    wrong = failure.about_history and failure.kind in (ErrorKind.INVALID_REQUEST, ErrorKind.UNSUPPORTED_PARAMETER)
    return RepairHistory() if wrong and not state.repaired else None


def the_output_limit(failure: Failure, state: RecoveryState) -> Action | None:
    """Ask for no more than the provider says that it gives."""
    stated = failure.output_limit
    if failure.kind in PASSING or not stated or stated < 1:
        return None
    return LowerOutputLimit(stated) if state.output_limit is None or stated < state.output_limit else None


def the_window(failure: Failure, state: RecoveryState) -> Action | None:
    """Believe a stated limit; compress what is too long."""
    is_of_the_window = failure.kind is ErrorKind.INVALID_REQUEST and bool(failure.limit)
    if failure.kind not in (ErrorKind.CONTEXT_OVERFLOW, ErrorKind.PAYLOAD_TOO_LARGE) and not is_of_the_window:
        return None
    if failure.kind is not ErrorKind.PAYLOAD_TOO_LARGE:
        if failure.limit and (state.window is None or failure.limit < state.window):
            return LowerWindow(failure.limit)
        if (limit := failure.limit or state.window) and (room := _room(limit, state)):
            return LowerOutputLimit(room)
    if state.compressible and state.compressions < MAX_COMPRESSIONS:
        return Compress(_target(failure.limit or state.window, state))
    return None


def _room(limit: int, state: RecoveryState) -> int | None:
    """Return what is left for an answer, where less than the request allows would fit."""
    room = limit - state.estimate * 5 // 4
    asks_too_much = state.output_limit is not None and room < state.output_limit
    return room if asks_too_much and room >= SMALLEST_OUTPUT else None


def _target(limit: int | None, state: RecoveryState) -> int:
    # It did not fit, so our estimate is too low or the limit is: half of what was sent, in any case.
    half = max(state.estimate // 2, 1)
    return half if limit is None else max(min(half, limit * 7 // 10), 1)


def an_answer_that_is_none(failure: Failure, state: RecoveryState) -> Action | None:
    if failure.kind is ErrorKind.OUTPUT_TRUNCATED:
        return _truncated(failure, state)
    if failure.kind is ErrorKind.INVALID_RESPONSE and state.repeats < MAX_REPEATS:
        return _again(backoff(state.repeats, state.chance), failure, state)
    return None


def _truncated(failure: Failure, state: RecoveryState) -> Action | None:
    if state.calling or not state.partial:
        # Thinking, or the arguments of a tool call, used the limit up. Who set it would rather pay for less thinking.
        if state.effort_can_be_lowered and state.limit_is_set:
            return LowerEffort()
        if state.larger_limit is not None:
            return RaiseOutputLimit(state.larger_limit)
        return LowerEffort() if state.effort_can_be_lowered else None
    if state.limit_is_set or state.stuck or state.length_continuations >= MAX_LENGTH_CONTINUATIONS:
        return _give_up(failure)
    return Continue(state.partial)


def what_is_wrong_everywhere(failure: Failure, state: RecoveryState) -> Action | None:
    return _give_up(failure) if failure.kind in WRONG_EVERYWHERE else None


def a_key(failure: Failure, state: RecoveryState) -> Action | None:
    if failure.kind not in OF_THE_KEY:
        return None
    if state.other_keys:
        return RotateCredential()
    return None if failure.retry_after is None else _wait(failure, state)


def a_model(failure: Failure, state: RecoveryState) -> Action | None:
    if failure.kind not in OF_THE_MODEL | OF_THE_KEY:
        return None
    return SwitchModel() if state.other_models else _give_up(failure)


def what_passes(failure: Failure, state: RecoveryState) -> Action | None:
    return _wait(failure, state) if failure.kind in PASSING else None


RULES: tuple[Callable[[Failure, RecoveryState], Action | None], ...] = (
    the_budget,
    what_ends_at_once,
    a_parameter,
    the_thinking,
    the_history,
    the_output_limit,
    the_window,
    an_answer_that_is_none,
    what_is_wrong_everywhere,
    a_key,
    a_model,
    what_passes,
)


def _wait(failure: Failure, state: RecoveryState) -> Action:
    if failure.kind is ErrorKind.RATE_LIMIT and state.other_keys:
        return RotateCredential()
    if failure.kind is ErrorKind.STREAM_INTERRUPTED and not state.partial and _should_ask_for_one_piece(state):
        return DisableStreaming()
    told = failure.retry_after
    seconds = backoff(state.in_a_row, state.chance) if told is None else told
    too_long = seconds > state.switch_after or seconds >= state.time_left
    if state.other_models and (too_long or _is_out_of_patience(failure.kind, state)):
        return SwitchModel()
    return _again(seconds, failure, state)


def _should_ask_for_one_piece(state: RecoveryState) -> bool:
    return state.streaming and state.may_disable_streaming and state.cuts >= CUTS_BEFORE_WHOLE


def _is_out_of_patience(kind: ErrorKind, state: RecoveryState) -> bool:
    patience = LITTLE_PATIENCE if kind in LITTLE_PATIENCE_WITH else PATIENCE
    return state.in_a_row >= patience or not pays(state.health, kind.value, "Wait")


def _again(seconds: float, failure: Failure, state: RecoveryState) -> Action:
    """Ask once more after a while: for all of it, or for the rest of what was shown."""
    if seconds >= state.time_left:
        return _give_up(failure)
    if state.partial and (state.calling or len(state.partial) < SHORTEST):
        return Restart(seconds)
    if not state.partial:
        return Wait(seconds)
    if state.stuck >= STUCK or seconds > LONGEST_WAIT_IN_PLACE:
        return _give_up(failure)
    return Continue(state.partial, seconds)


def _give_up(failure: Failure) -> GiveUp:
    return GiveUp(failure.kind, ADVICE[failure.kind])
